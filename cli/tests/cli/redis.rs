//! The command line on a real Redis server.

use std::time::Duration;

use crate::rig::{Rig, is_dead, now, until, wait_for};
use leasehold_tests::proxy::Proxy;
use leasehold_tests::servers::{Server, Settings};

const TTL: Duration = Duration::from_secs(2);

#[test]
fn a_command_runs_under_a_lock_that_others_see_and_wait_for() {
    let server = Server::start();
    let rig = Rig::at(server.url());
    let script = format!("echo $LEASEHOLD_FENCE > held; {}", wait_for("go"));
    let holder = rig.start(&["n", "--ttl=60s", "--label=importer"], &script);
    let fence: u64 = rig.line("held").parse().unwrap();
    assert_eq!(rig.run(&["n", "--no-wait"], "true").code, 75);
    let waiter = rig.start(&["n"], "echo $LEASEHOLD_FENCE > next");
    rig.waiters(1);
    let locks = rig.locks();
    assert_eq!((locks[0]["name"].as_str(), locks[0]["fence"].as_u64()), (Some("n"), Some(fence)));
    let label = locks[0]["holder"].as_str().unwrap();
    assert!(label.ends_with(&format!(":{} importer", holder.pid())), "{label}");
    let table = rig.call(&["ls"]).stdout;
    assert!(table.lines().nth(1).unwrap().starts_with("n "), "{table}");
    rig.touch("go");
    assert!(rig.line("next").parse::<u64>().unwrap() > fence);
    assert_eq!((holder.end().code, waiter.end().code), (0, 0));
    assert_eq!(rig.locks(), serde_json::json!([]));
}

#[test]
fn a_broken_lock_ends_the_command() {
    let server = Server::start();
    let rig = Rig::at(server.url());
    let mut run = rig.start(&["n", "--ttl=60s"], "echo $$ > child; exec sleep 60");
    let child = rig.pid("child");
    let ended = rig.call(&["break", "n", "--yes"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("broke \"n\", held by "), "{}", ended.stdout);
    assert_eq!(run.exit().code(), Some(79));
    assert!(is_dead(child));
    assert_eq!(rig.call(&["break", "n", "--yes"]).code, 1);
}

/// Run a command, have something happen to the server, and answer when the
/// command was dead and by when it had to be.
fn cut_off(script: &str, cut: impl FnOnce(&Server, &Proxy) -> Option<Duration>) {
    let server = Server::start();
    let proxy = Proxy::before(server.port());
    let rig = Rig::at(proxy.url());
    let mut run = rig.start(&["n", "--ttl=2s"], script);
    let child = rig.pid("child");
    let started = now();
    // Nothing is renewed afterwards, so the lease does not last longer than that.
    let lasts = cut(&server, &proxy).unwrap_or(TTL);
    until("the command is dead", || is_dead(child).then_some(()));
    let took = now().since(started);
    assert!(took < lasts, "dead after {took:?} of {lasts:?}");
    assert_eq!(run.exit().code(), Some(79));
}

const OBEDIENT: &str = "echo $$ > child; exec sleep 60";

#[test]
fn a_frozen_server_ends_the_command_before_the_lease() {
    cut_off(OBEDIENT, |server, _| {
        server.freeze();
        None
    });
}

#[test]
fn a_killed_server_ends_the_command_before_the_lease() {
    cut_off(OBEDIENT, |server, _| {
        server.kill();
        None
    });
}

#[test]
fn cut_off_from_a_server_a_command_that_ignores_sigterm_is_dead_before_the_lease_ends() {
    let stubborn = format!("trap '' TERM; echo $$ > child; {}", wait_for("never"));
    cut_off(&stubborn, |server, proxy| {
        proxy.stall_upstream(true);
        // The server itself says how long the last renewal lasts.
        let left = server.command(&["PTTL", "leasehold:n"]).as_int().unwrap();
        Some(Duration::from_millis(u64::try_from(left).unwrap()))
    });
}

#[test]
fn a_server_that_comes_back_in_time_ends_nothing() {
    let server = Server::start();
    let rig = Rig::at(server.url());
    let script = format!("echo > held; {}; exit 3", wait_for("go"));
    let run = rig.start(&["n", "--ttl=20s"], &script);
    rig.line("held");
    server.freeze();
    until("two seconds have passed", {
        let frozen = now();
        move || (now().since(frozen) > TTL).then_some(())
    });
    server.thaw();
    rig.touch("go");
    let ended = run.end();
    assert_eq!((ended.code, &*ended.stderr), (3, ""));
    assert_eq!(rig.locks(), serde_json::json!([]));
}

#[test]
fn what_keeps_it_from_a_server_is_said_by_code_and_message() {
    let server = Settings::default().password("open-sesame").start();
    let port = server.port();
    for args in [&["ls"][..], &["run", "n", "--", "true"], &["break", "n", "--yes"]] {
        let call = |login: &str| Rig::at(format!("redis://{login}127.0.0.1:{port}")).call(args);
        for (login, word) in [(":wrong-word@", "password"), ("", "redis://:password@host")] {
            let ended = call(login);
            assert_eq!((ended.code, &*ended.stdout), (78, ""), "{ended:?}");
            assert!(ended.stderr.contains(word), "{}", ended.stderr);
            assert!(!ended.stderr.contains("wrong-word"), "{}", ended.stderr);
        }
    }
    server.freeze();
    let frozen = Rig::at(server.url()).call(&["run", "n", "--", "true"]);
    server.kill();
    let dead = Rig::at(server.url()).call(&["run", "n", "--", "true"]);
    for (ended, word) in [(frozen, "is it alive"), (dead, "is the server running")] {
        assert_eq!(ended.code, 69, "{ended:?}");
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
        assert!(ended.stderr.contains(&server.url()), "{}", ended.stderr);
    }
}
