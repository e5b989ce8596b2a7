//! The command line on a real etcd cluster.

use std::time::Duration;

use crate::rig::{Rig, is_dead, now, until, wait_for};
use leasehold_tests::servers::{EtcdSettings, EtcdVersion};

#[test]
fn a_command_goes_on_while_the_leader_dies() {
    let cluster = EtcdSettings::default().members(3).start();
    let rig = Rig::at(format!("{}?ttl=6s", cluster.url()));
    let script = format!("echo $LEASEHOLD_FENCE $LEASEHOLD_KEY > held; {}", wait_for("go"));
    let holder = rig.start(&["x"], &script);
    let held = rig.line("held");
    let (fence, key) = held.split_once(' ').unwrap();
    let shown = cluster.ctl(&["get", "--prefix", "leasehold/"]);
    let (shown_key, note) = shown.trim().split_once('\n').unwrap();
    assert_eq!(shown_key, key);
    assert!(note.contains(", held since 20"), "{note}");
    cluster.kill(cluster.leader());
    // For longer than the lease would last by itself.
    let killed = now();
    while now().since(killed) < Duration::from_secs(8) {
        let code = rig.run(&["x", "--no-wait"], "true").code;
        // While they elect another, it is broken and not busy.
        assert!(code == 75 || code == 69, "{code}");
    }
    assert_eq!(rig.run(&["x", "--no-wait"], "true").code, 75);
    rig.touch("go");
    assert_eq!(holder.end().code, 0);
    let next = rig.start(&["x"], "echo $LEASEHOLD_FENCE > next");
    assert!(rig.line("next").parse::<u64>().unwrap() > fence.parse().unwrap());
    assert_eq!(next.end().code, 0);
}

#[test]
fn a_command_is_stopped_when_the_majority_is_gone() {
    let cluster = EtcdSettings::default().members(3).start();
    let rig = Rig::at(format!("{}?ttl=3s", cluster.url()));
    let holder = rig.start(&["x"], &format!("echo $$ > pid; {}", wait_for("never")));
    let pid = rig.pid("pid");
    cluster.kill(0);
    cluster.kill(1);
    let killed = now();
    until("the command is stopped", || is_dead(pid).then_some(()));
    assert!(now().since(killed) < Duration::from_secs(3), "{:?}", now().since(killed));
    assert_ne!(holder.end().code, 0);
}

#[test]
fn an_old_version_is_noted_once() {
    let cluster = EtcdSettings::default().version(EtcdVersion::Old).fast_elections().start();
    let rig = Rig::at(cluster.url());
    let ended = rig.run(&["x", "--ttl", "1500ms"], "true");
    assert_eq!(ended.code, 0);
    assert!(ended.stderr.contains("no ttl of 1.5s here; it is 2s"), "{}", ended.stderr);
    let notes = ended.stderr.lines().filter(|line| line.contains("note: etcd 3.4.23")).count();
    assert_eq!(notes, 2, "{}", ended.stderr);
}

#[test]
fn no_wait_at_all_takes_a_free_lock() {
    let cluster = EtcdSettings::default().start();
    let rig = Rig::at(cluster.url());
    for wait in ["--wait=0s", "--wait=1us", "--no-wait"] {
        let ended = rig.run(&["n", wait], "true");
        assert_eq!(ended.code, 0, "{wait}: {ended:?}");
    }
}
