//! The rig's clusters of etcd: members that do as real ones, faults that happen.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::servers::{ClientFiles, Etcd, EtcdSettings, EtcdVersion};

/// In vain, and not for long.
const SHORT: &str = "--command-timeout=500ms";

fn three() -> Etcd {
    EtcdSettings::default().members(3).fast_elections().start()
}

fn value(etcd: &Etcd, key: &str) -> String {
    etcd.ctl(&["get", "--print-value-only", key]).trim_end().to_owned()
}

/// Another than this one leads.
fn another_leads(etcd: &Etcd, old: usize) -> usize {
    let other = until(LIMIT, || Some(etcd.leader()).filter(|leader| *leader != old));
    other.expect("another leader")
}

#[test]
fn one_member_stores_and_answers() {
    let etcd = Etcd::start();
    assert_eq!(etcd.url(), format!("etcd://127.0.0.1:{}", etcd.port(0)));
    assert_eq!(etcd.leader(), 0);
    assert_eq!(etcd.ctl(&["put", "k", "v"]), "OK\n");
    assert_eq!(value(&etcd, "k"), "v");
    let pid = etcd.pid(0);
    etcd.restart(0);
    assert_ne!(etcd.pid(0), pid);
    assert_eq!(value(&etcd, "k"), "v");
}

#[test]
fn another_member_leads_when_the_leader_is_killed() {
    let etcd = three();
    etcd.ctl(&["put", "k", "before"]);
    let old = etcd.leader();
    etcd.kill(old);
    another_leads(&etcd, old);
    etcd.ctl(&["put", "k", "after"]);
    etcd.restart(old);
    // It has caught up by itself.
    let endpoint = format!("--endpoints={}", etcd.endpoint(old));
    let seen = etcd.ctl(&["get", "--print-value-only", "--consistency=s", "k", &endpoint]);
    assert_eq!(seen, "after\n");
}

#[test]
fn another_member_leads_when_the_leader_is_frozen() {
    let etcd = three();
    let old = etcd.leader();
    etcd.freeze(old);
    another_leads(&etcd, old);
    etcd.ctl(&["put", "k", "v"]);
    etcd.thaw(old);
    etcd.await_ready(old);
    let endpoint = format!("--endpoints={}", etcd.endpoint(old));
    let seen = etcd.ctl(&["get", "--print-value-only", "--consistency=s", "k", &endpoint]);
    assert_eq!(seen, "v\n");
}

#[test]
fn nothing_is_written_without_a_majority() {
    let etcd = three();
    etcd.ctl(&["put", "k", "v"]);
    etcd.kill(0);
    etcd.kill(1);
    assert!(etcd.try_ctl(&["put", "k", "w", SHORT]).is_err());
    etcd.kill(2);
    // The first finds nobody, and is there nevertheless.
    etcd.revive(2);
    assert!(etcd.try_ctl(&["get", "k", SHORT]).is_err());
    etcd.restart(0);
    let stored = value(&etcd, "k");
    // What was not answered may have been done by the one that was left.
    assert!(["v", "w"].contains(&stored.as_str()), "{stored}");
    etcd.restart(1);
    assert_eq!(value(&etcd, "k"), stored);
}

#[test]
fn a_restart_waits_for_a_port_that_somebody_took() {
    let etcd = Etcd::start();
    etcd.kill(0);
    let somebody = TcpListener::bind(("127.0.0.1", etcd.port(0))).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| etcd.restart(0));
        let taken = || etcd.logs().contains("address already in use").then_some(());
        until(LIMIT, taken).expect("a try in vain");
        drop(somebody);
    });
    etcd.ctl(&["put", "k", "v"]);
}

#[test]
fn members_are_used_by_many_threads() {
    let etcd = three();
    std::thread::scope(|scope| {
        for index in 0..3 {
            let etcd = &etcd;
            scope.spawn(move || {
                etcd.leader();
                etcd.restart(index);
            });
        }
    });
    etcd.ctl(&["put", "k", "v"]);
    assert_eq!(value(&etcd, "k"), "v");
}

#[test]
fn tls_is_for_clients_with_a_certificate() {
    let etcd = EtcdSettings::default().members(3).tls().start();
    assert!(etcd.url().starts_with("etcds://127.0.0.1:"));
    etcd.ctl(&["put", "k", "v"]);
    assert_eq!(value(&etcd, "k"), "v");
    let (files, strangers) = (etcd.client_files(), etcd.strangers_files());
    let healthy = |authority: &ClientFiles, client: Option<&ClientFiles>| {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-quiet", "-verify_return_error", "-CAfile"]);
        openssl.arg(&authority.ca).args(["-connect", &etcd.endpoint(0)]);
        if let Some(client) = client {
            openssl.arg("-cert").arg(&client.cert).arg("-key").arg(&client.key);
        }
        let pipes = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut openssl = pipes.spawn().unwrap();
        // It may have ended already, where one of them does not trust the other.
        drop(openssl.stdin.take().unwrap().write_all(b"GET /health HTTP/1.0\r\n\r\n"));
        let output = openssl.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains(r#""health":"true""#)
    };
    assert!(healthy(&files, Some(&files)));
    assert!(!healthy(&files, None));
    assert!(!healthy(&files, Some(&strangers)));
    assert!(!healthy(&strangers, Some(&files)));
}

#[test]
fn a_user_writes_below_its_prefix() {
    for version in [EtcdVersion::New, EtcdVersion::Old] {
        let settings = EtcdSettings::default().version(version).token_ttl(60);
        let etcd = settings.user("alice", "secret").start();
        let alice = |arguments: &[&str]| etcd.try_ctl_as("alice", "secret", arguments);
        assert_eq!(alice(&["put", "leasehold/k", "v"]).as_deref(), Ok("OK\n"), "{version:?}");
        assert_eq!(alice(&["get", "leasehold/k"]).as_deref(), Ok("leasehold/k\nv\n"));
        for refused in [["put", "k", "v"].as_slice(), &["get", "leasehold"]] {
            let why = alice(refused).unwrap_err();
            assert!(why.contains("permission denied"), "{version:?}: {why}");
        }
        let why = etcd.try_ctl_as("alice", "guess", &["get", "leasehold/k"]).unwrap_err();
        assert!(why.contains("authentication failed"), "{version:?}: {why}");
        etcd.ctl(&["put", "k", "v"]);
        assert_eq!(value(&etcd, "k"), "v", "the rig is let in");
    }
}

#[test]
fn every_member_knows_the_users() {
    let etcd = EtcdSettings::default().members(3).tls().user("alice", "secret").start();
    for index in 0..3 {
        let endpoint = format!("--endpoints={}", etcd.endpoint(index));
        let arguments = ["put", "leasehold/k", "v", &endpoint];
        assert_eq!(etcd.try_ctl_as("alice", "secret", &arguments).as_deref(), Ok("OK\n"));
    }
}

#[test]
fn a_version_is_what_it_says() {
    for (version, number) in [(EtcdVersion::New, "3.5."), (EtcdVersion::Old, "3.4.")] {
        let etcd = EtcdSettings::default().version(version).members(3).fast_elections().start();
        let status = etcd.ctl(&["endpoint", "status"]);
        let versions: Vec<_> = status.lines().filter_map(|line| line.split(", ").nth(2)).collect();
        assert_eq!(versions.len(), 3, "{status}");
        assert!(versions.iter().all(|version| version.starts_with(number)), "{status}");
        etcd.kill(etcd.leader());
        etcd.leader();
    }
}

#[test]
fn leases_may_be_short_where_elections_are() {
    let least = |etcd: &Etcd| {
        let granted = etcd.ctl(&["lease", "grant", "1"]);
        granted.split_once("TTL(").unwrap().1[..1].parse::<u32>().unwrap()
    };
    assert_eq!(least(&EtcdSettings::default().fast_elections().start()), 1);
    assert_eq!(least(&EtcdSettings::default().fsync().start()), 2);
}

#[test]
fn calls_are_those_of_clients() {
    let etcd = EtcdSettings::default().members(3).start();
    etcd.leader();
    assert_eq!(etcd.calls(), [].into());
    etcd.ctl(&["put", "k", "v"]);
    etcd.ctl(&["put", "k", "w"]);
    etcd.ctl(&["get", "k"]);
    let expected = [("Put", 2), ("Range", 1)];
    assert_eq!(etcd.calls(), expected.map(|(method, calls)| (method.to_owned(), calls)).into());
}

#[test]
#[should_panic(expected = "no-such-flag")]
fn a_start_that_fails_says_why() {
    EtcdSettings::default().flag("--no-such-flag").start();
}
