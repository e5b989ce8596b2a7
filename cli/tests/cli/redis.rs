//! The command line on a real Redis server.

use std::time::Duration;

use crate::rig::{Rig, is_dead, now, until, wait_for};
use crate::terminal::Terminal;
use leasehold_tests::proxy::Proxy;
use leasehold_tests::servers::{Server, Settings};
use rustix::process::Signal;

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

/// Run a command, have something happen to the server, and see the command dead in
/// time, and told why.
fn cut_off(script: &str, why: &str, cut: impl FnOnce(&Server, &Proxy) -> Option<Duration>) {
    let server = Server::start();
    let proxy = Proxy::before(server.port());
    let rig = Rig::at(proxy.url());
    let run = rig.start(&["n", "--ttl=2s"], script);
    let child = rig.pid("child");
    let started = now();
    // Nothing is renewed afterwards, so the lease does not last longer than that.
    let lasts = cut(&server, &proxy).unwrap_or(TTL);
    until("the command is dead", || is_dead(child).then_some(()));
    let took = now().since(started);
    assert!(took < lasts, "dead after {took:?} of {lasts:?}");
    let ended = run.end();
    assert_eq!(ended.code, 79);
    // Not only that it could not be renewed.
    let said = ended.stderr.split_once("in time: ").map_or("", |(_, said)| said);
    assert!(said.contains(why), "{}", ended.stderr);
}

const OBEDIENT: &str = "echo $$ > child; exec sleep 60";

#[test]
fn a_frozen_server_ends_the_command_before_the_lease() {
    cut_off(OBEDIENT, "is the server alive", |server, _| {
        server.freeze();
        None
    });
}

#[test]
fn a_killed_server_ends_the_command_before_the_lease() {
    cut_off(OBEDIENT, "redis://127.0.0.1:", |server, _| {
        server.kill();
        None
    });
}

#[test]
fn cut_off_from_a_server_a_command_that_ignores_sigterm_is_dead_before_the_lease_ends() {
    let stubborn = format!("trap '' TERM; echo $$ > child; {}", wait_for("never"));
    cut_off(&stubborn, "is the server alive", |server, proxy| {
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

#[test]
fn a_server_that_comes_up_late_is_waited_for() {
    let server = Server::start();
    let proxy = Proxy::before(server.port());
    for (options, late) in [(&["n", "--wait=20s"][..], 3), (&["n"], 1), (&["n", "--every=1h"], 1)] {
        proxy.refuse(true);
        let mut run = Rig::at(proxy.url()).start(options, "exit 3");
        let began = now();
        until("the server is late", || {
            (now().since(began) > Duration::from_secs(late)).then_some(())
        });
        assert!(run.is_running(), "{options:?}");
        proxy.refuse(false);
        assert_eq!(run.end().code, 3, "{options:?}");
    }
    proxy.refuse(true);
    for options in [&["n", "--no-wait"][..], &["n", "--wait=1s"]] {
        let ended = Rig::at(proxy.url()).run(options, "true");
        assert_eq!(ended.code, 69, "{ended:?}");
    }
}

#[test]
fn what_no_patience_mends_is_said_at_once() {
    let server = Settings::default().password("open-sesame").start();
    let began = now();
    let url = format!("redis://:wrong@127.0.0.1:{}", server.port());
    let refused = Rig::at(url).run(&["n", "--wait=60s"], "true");
    assert_eq!(refused.code, 78, "{refused:?}");
    assert!(now().since(began) < Duration::from_secs(20));
}

#[test]
fn no_wait_at_all_takes_a_free_lock() {
    let server = Server::start();
    let rig = Rig::at(server.url());
    for wait in ["--wait=0s", "--wait=1us", "--no-wait"] {
        let ended = rig.run(&["n", wait], "true");
        assert_eq!(ended.code, 0, "{wait}: {ended:?}");
    }
    let holder = rig.start(&["n"], &format!("echo > held; {}", wait_for("go")));
    rig.line("held");
    for wait in ["--wait=0s", "--wait=1us", "--no-wait"] {
        assert_eq!(rig.run(&["n", wait], "true").code, 75, "{wait}");
    }
    rig.touch("go");
    assert_eq!(holder.end().code, 0);
}

/// Of whoever waits at a prompt, and of a supervisor's log.
#[test]
fn a_signal_while_the_server_hangs_is_not_met_with_silence() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let server = Server::start();
        let rig = Rig::at(server.url());
        let start = |script: &str| {
            let terminal = Terminal::open();
            // A test runner in the background ignores some of them.
            let mut command = rig.command("env");
            command.args(["--default-signal", env!("CARGO_BIN_EXE_leasehold"), "run", "n"]);
            command.args(["--ttl=60s", "--", "sh", "-c", script]);
            (terminal.start(command), terminal)
        };
        let script = format!("echo $$ > child; {}", wait_for("go"));
        let (mut holder, of_holder) = start(&script);
        let child = rig.pid("child");
        let (mut waiter, of_waiter) = start("true");
        rig.waiters(1);
        server.freeze();
        rig.touch("go");
        until("the command has ended", || is_dead(child).then_some(()));
        for (run, terminal) in [(&holder, &of_holder), (&waiter, &of_waiter)] {
            run.signal(signal);
            terminal.until_shown("a signal ends that");
            run.signal(signal);
        }
        assert_eq!(holder.exit().code(), Some(0));
        assert_eq!(waiter.exit().code(), Some(128 + signal.as_raw()));
    }
}

/// To connect is no waiting for a busy lock: a healthy server may take its time.
#[test]
fn a_server_that_hangs_is_given_up_after_its_connect_timeout_however_short_the_wait() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for scheme in ["redis", "etcd"] {
        let rig = Rig::at(format!("{scheme}://{address}?connect_timeout=500ms"));
        for wait in ["--no-wait", "--wait=0s", "--wait=50ms"] {
            let started = now();
            let ended = rig.run(&["n", wait], "true");
            assert_eq!(ended.code, 69, "{scheme} {wait}: {ended:?}");
            assert!(ended.stderr.contains("connect_timeout"), "{scheme} {wait}: {ended:?}");
            let took = now().since(started);
            assert!(took < Duration::from_secs(5), "{scheme} {wait}: {took:?}");
        }
    }
    let help = Rig::new().call(&["run", "--help"]).stdout;
    assert!(help.contains("connect_timeout"), "{help}");
}

#[test]
fn a_command_that_ended_well_without_the_lock_is_no_success() {
    let server = Server::start();
    let rig = Rig::at(server.url());
    let ends = [("exit 0", "terminate", 79), ("exit 3", "terminate", 3), ("exit 0", "warn", 0)];
    for (number, (end, on_lost, code)) in ends.into_iter().enumerate() {
        let (held, go) = (format!("held{number}"), format!("go{number}"));
        let script = format!("echo > {held}; {}; {end}", wait_for(&go));
        let on_lost = format!("--on-lost={on_lost}");
        let run = rig.start(&["n", "--ttl=60s", &on_lost], &script);
        rig.line(&held);
        server.command(&["FLUSHALL"]);
        let other = rig.run(&["n", "--no-wait"], "true");
        assert_eq!(other.code, 0, "it is free: {other:?}");
        rig.touch(&go);
        let ended = run.end();
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.stderr.contains("not under the lock"), "{}", ended.stderr);
    }
}
