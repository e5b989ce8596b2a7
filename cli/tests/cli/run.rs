//! `run` while all goes well: what the command sees, and the exit codes.

use std::io::Write;

use crate::rig::{Rig, now, until, wait_for};
use rustix::process::Signal;

#[test]
fn the_command_finds_name_and_fence_in_its_environment() {
    let rig = Rig::new();
    let fence = || {
        let ended = rig.run(&["a b/c"], "echo \"$LEASEHOLD_NAME\"; echo $LEASEHOLD_FENCE");
        assert_eq!((ended.code, &*ended.stderr), (0, ""));
        let (name, fence) = ended.stdout.trim_end().split_once('\n').unwrap();
        assert_eq!(name, "a b/c");
        fence.parse::<u64>().unwrap()
    };
    let first = fence();
    assert!(fence() > first);
}

#[test]
fn several_locks_are_held_together_and_their_fences_found_by_name() {
    let rig = Rig::new();
    let own = "echo \"$LEASEHOLD_FENCES $LEASEHOLD_NAME$LEASEHOLD_FENCE$LEASEHOLD_KEY\"";
    let inner = format!("'{}' run b 'a \"c' -- sh -c '{own}; leasehold ls'", "leasehold");
    let inner = inner.replace("leasehold", env!("CARGO_BIN_EXE_leasehold"));
    let ended = rig.run(&["outer"], &inner);
    assert_eq!((ended.code, &*ended.stderr), (0, ""));
    let (fences, rest) = ended.stdout.split_once('\n').unwrap();
    // Nothing is left there of the outer one.
    let fences: serde_json::Value =
        serde_json::from_str(fences.strip_suffix(' ').unwrap()).unwrap();
    assert!(fences["a \"c"].is_u64() && fences["b"].is_u64(), "{fences}");
    assert_eq!(fences.as_object().unwrap().len(), 2);
    assert!(rest.contains("b"), "{rest}");
    assert_eq!(rig.locks(), serde_json::json!([]));

    let holder = rig.start(&["b"], "echo yes > held; sleep 100");
    rig.line("held");
    let busy = rig.call(&["run", "a", "b", "--no-wait", "--", "true"]);
    assert_eq!(busy.code, 75);
    assert!(busy.stderr.starts_with("leasehold: lock \"b\" is busy, held "), "{}", busy.stderr);
    let waited = rig.call(&["run", "a", "b", "--wait=50ms", "--", "true"]);
    assert!(waited.code == 75 && waited.stderr.contains("\"b\""), "{waited:?}");
    holder.signal(Signal::KILL);
    let twice = rig.call(&["run", "a", "b", "a", "--", "true"]);
    assert!(twice.code == 64 && twice.stderr.contains("\"a\" is given twice"), "{twice:?}");
}

#[test]
fn a_run_inside_a_run_sees_its_own_lock() {
    let rig = Rig::new();
    let own = "echo $LEASEHOLD_NAME $LEASEHOLD_FENCE";
    let inner = format!("'{}' run inner -- sh -c '{own}'", env!("CARGO_BIN_EXE_leasehold"));
    let ended = rig.run(&["outer"], &format!("{own}; {inner}; {own}"));
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<(&str, &str)> =
        ended.stdout.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line.0).collect::<Vec<_>>(), ["outer", "inner", "outer"]);
    assert_eq!(lines[0].1, lines[2].1);
    assert_ne!(lines[0].1, lines[1].1);
}

#[test]
fn without_a_url_the_file_is_in_the_users_state_directory() {
    use std::os::unix::fs::PermissionsExt;

    let rig = Rig::new();
    let run = |state: Option<&str>| {
        let mut command = rig.leasehold(&["run", "n", "--", "true"]);
        command.env_remove("LEASEHOLD_URL").env_remove("XDG_STATE_HOME").env("HOME", rig.path(""));
        command.envs(state.map(|state| ("XDG_STATE_HOME", rig.path(state))));
        assert_eq!(crate::rig::Running::start(command).end().code, 0);
    };
    for (state, home) in [(None, ".local/state"), (Some("elsewhere"), "elsewhere")] {
        run(state);
        let dir = rig.path(home).join("leasehold");
        assert!(dir.join("leasehold.db").is_file());
        let mode = std::fs::metadata(dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "nobody else's business");
    }
}

#[test]
fn stdin_and_stderr_are_the_commands() {
    let rig = Rig::new();
    std::fs::write(rig.path("in"), "hello").unwrap();
    let mut command = rig.leasehold(&["run", "n", "--", "sh", "-c", "cat >&2"]);
    command.stdin(std::fs::File::open(rig.path("in")).unwrap());
    assert_eq!(crate::rig::Running::start(command).end().stderr, "hello");
}

#[test]
fn the_exit_code_is_the_commands() {
    let rig = Rig::new();
    for code in [0, 1, 3, 75, 255] {
        let ended = rig.run(&["n"], &format!("exit {code}"));
        assert_eq!((ended.code, &*ended.stderr), (code, ""));
    }
    for signal in [9, 15] {
        assert_eq!(rig.run(&["n"], &format!("kill -{signal} $$")).code, 128 + signal);
    }
}

#[test]
fn a_command_that_cannot_start_is_named_and_leaves_no_lock() {
    let rig = Rig::new();
    rig.touch("plain");
    for (command, code) in [("no-such-command", 127), ("./plain", 126), ("/", 126)] {
        let ended = rig.call(&["run", "n", "--", command]);
        assert_eq!(ended.code, code, "{ended:?}");
        let start = format!("leasehold: cannot run {command:?}: ");
        assert!(ended.stderr.starts_with(&start), "{}", ended.stderr);
    }
    assert_eq!(rig.locks(), serde_json::json!([]));
}

#[test]
fn bad_usage_is_named_with_the_cure() {
    let rig = Rig::new();
    let say = |args: &[&str], words: &[&str]| {
        let ended = rig.call(args);
        assert_eq!((ended.code, &*ended.stdout), (64, ""), "{args:?}: {ended:?}");
        assert!(ended.stderr.starts_with("leasehold: "), "{}", ended.stderr);
        for word in words {
            assert!(ended.stderr.contains(word), "{word:?} is not in {}", ended.stderr);
        }
    };
    say(&[], &["subcommand"]);
    say(&["fly"], &["fly"]);
    say(&["run", "n"], &["COMMAND"]);
    say(&["break", "n", "--name=-x"], &["--name"]);
    say(&["run", "n", "--ttl=soon", "--", "true"], &["soon", "--ttl", "30s"]);
    say(&["run", "n", "--ttl=1ms", "--", "true"], &["1ms", "100ms"]);
    say(&["run", "n", "--ttl=365d", "--", "true"], &["24h"]);
    say(&["run", "n", "--wait=1s", "--no-wait", "--", "true"], &["--no-wait"]);
    say(&["run", "", "--", "true"], &["empty"]);
    say(&["run", "n", "--url=carrier:pigeon", "--", "true"], &["carrier", "sqlite:"]);
    say(&["break", "n"], &["--yes"]);
    say(&["run", "-x", "--", "true"], &["--name=-x"]);
    say(&["ls", "--url="], &["empty", "LEASEHOLD_URL"]);
}

/// As a compose file leaves it whose variable is misspelt.
#[test]
fn an_empty_url_is_not_the_file_of_this_machine() {
    let rig = Rig::at(String::new());
    let ended = rig.call(&["run", "n", "--", "true"]);
    assert_eq!(ended.code, 64, "{ended:?}");
    assert!(ended.stderr.contains("LEASEHOLD_URL"), "{}", ended.stderr);
}

#[test]
fn a_url_that_cannot_be_read_is_not_shown() {
    let rig = Rig::new();
    let urls = [
        "secret",
        "secret@host:6379",
        ":secret@host",
        "redis:://:secret@host",
        "redis://:?secret@host",
    ];
    for url in urls {
        let ended = rig.call(&["ls", "--url", url]);
        assert_eq!(ended.code, 64, "{url}: {ended:?}");
        assert!(!ended.stderr.contains("secret"), "{url}: {}", ended.stderr);
    }
}

#[test]
fn a_name_may_begin_with_a_dash() {
    let rig = Rig::new();
    let ended = rig.run(&["--name=-x"], "echo $LEASEHOLD_NAME");
    assert_eq!((ended.code, &*ended.stdout), (0, "-x\n"), "{ended:?}");
    let script = format!("echo > held; {}", wait_for("never"));
    let mut holder = rig.start(&["--name=--", "--ttl=1h"], &script);
    rig.line("held");
    let broken = rig.call(&["break", "--yes", "--name=--"]);
    assert_eq!(broken.code, 0, "{broken:?}");
    assert_eq!(holder.exit().code(), Some(79));
}

#[test]
fn a_backend_out_of_reach_is_not_a_busy_lock() {
    let rig = Rig::new();
    let url = format!("--url=sqlite:{}", rig.path("missing/locks.db").display());
    for args in [&["run", "n", &url, "--", "true"][..], &["ls", &url], &["break", "n", "-y", &url]]
    {
        let ended = rig.call(args);
        assert_eq!(ended.code, 69, "{ended:?}");
        assert!(ended.stderr.contains("missing/locks.db"), "{}", ended.stderr);
    }
}

#[test]
fn a_busy_lock_is_code_75_and_the_command_is_not_run() {
    let rig = Rig::new();
    let mut holder = rig.start(&["n", "--label", "the first"], "echo > held; exec sleep 60");
    rig.line("held");

    let ended = rig.run(&["n", "--no-wait"], "echo > ran");
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(ended.stderr.contains("the first for "), "{}", ended.stderr);

    let started = now();
    let ended = rig.run(&["n", "--wait=300ms"], "echo > ran");
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(now().since(started).as_millis() >= 300);

    // Kubernetes and systemd take any other code than 0 for a failure.
    for options in [["n", "--no-wait"], ["n", "--wait=0s"]] {
        for code in [0, 3] {
            let busy = format!("--busy-exit={code}");
            let ended = rig.run(&[options[0], options[1], &busy], "echo > ran");
            assert_eq!(ended.code, code, "{ended:?}");
            assert!(ended.stderr.contains("\"n\""), "{ended:?}");
        }
    }
    assert!(holder.is_running() && !rig.has("ran"));
}

#[test]
fn the_next_runs_the_moment_the_first_ends() {
    let rig = Rig::new();
    let script = format!("echo $LEASEHOLD_FENCE > held; {}; echo > done", wait_for("go"));
    let first = rig.start(&["n", "--ttl=60s"], &script);
    let fence: u64 = rig.line("held").parse().unwrap();
    let second = rig.start(&["n"], "cat done && echo $LEASEHOLD_FENCE > second");
    rig.waiters(1);
    let third = rig.start(&["n", "--wait"], "cat second > third");
    rig.waiters(2);
    assert!(!rig.has("second") && !rig.has("third"));
    rig.touch("go");
    for run in [first, second, third] {
        let ended = run.end();
        assert_eq!((ended.code, &*ended.stderr), (0, ""));
    }
    assert!(rig.line("third").parse::<u64>().unwrap() > fence);
    assert_eq!(rig.locks(), serde_json::json!([]));
}

#[cfg(target_os = "linux")] // for env --default-signal
#[test]
fn signals_reach_the_command() {
    let rig = Rig::new();
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ] {
        let script = format!(
            "trap 'echo {name}; exit 7' {name}; echo > ready-{name}; {}",
            wait_for("never")
        );
        // A test runner in the background ignores some of them.
        let mut command = rig.command("env");
        command.args(["--default-signal", env!("CARGO_BIN_EXE_leasehold"), "run", "n"]);
        command.args(["--", "sh", "-c", &script]);
        let run = crate::rig::Running::start(command);
        rig.line(&format!("ready-{name}"));
        run.signal(signal);
        let ended = run.end();
        assert_eq!((ended.code, ended.stdout.trim_end()), (7, name), "{}", ended.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_ignored_stays_ignored() {
    let rig = Rig::new();
    let script =
        format!("trap '' HUP; exec '{}' run n -- sleep 60", env!("CARGO_BIN_EXE_leasehold"));
    let mut command = rig.command("sh");
    command.args(["-c", &script]);
    let run = crate::rig::Running::start(command);
    until("held", || rig.locks()[0]["holder"].as_str().map(|_| ()));
    // As if `nohup` had been there: only the second one ends it.
    run.signal(Signal::HUP);
    run.signal(Signal::TERM);
    assert_eq!(run.end().code, 128 + 15);
}

#[test]
fn a_signal_ends_the_wait_and_leaves_nothing_behind() {
    let rig = Rig::new();
    let script = format!("echo > held; {}", wait_for("go"));
    let holder = rig.start(&["n", "--ttl=60s"], &script);
    rig.line("held");
    let waiter = rig.start(&["n", "--ttl=60s"], "echo > ran");
    rig.waiters(1);
    waiter.signal(Signal::TERM);
    let ended = waiter.end();
    assert_eq!((ended.code, &*ended.stderr), (143, ""));
    assert_eq!(rig.locks()[0]["waiters"], serde_json::json!([]));
    rig.touch("go");
    assert_eq!(holder.end().code, 0);
    assert_eq!(rig.locks(), serde_json::json!([]));
    assert!(!rig.has("ran"));
}

#[test]
fn a_command_that_ends_without_its_lock_is_told_so() {
    let rig = Rig::new();
    // Without its database it was not held to the end, of which only the release hears.
    let ended = rig.run(&["n", "--ttl=60s"], "rm locks.db; exit 5");
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(ended.stderr.contains("not held any more"), "{}", ended.stderr);
    assert_eq!(Rig::new().run(&["n", "--ttl=60s"], "rm locks.db").code, 79);
}

/// Long-running commands would otherwise pile up what they leave behind.
#[cfg(target_os = "linux")]
#[test]
fn orphans_are_collected() {
    let rig = Rig::new();
    let script = "(sh -c 'echo $$ > orphan' &); exec sleep 60";
    let run = rig.start(&["n"], script);
    let proc = format!("/proc/{}", rig.pid("orphan"));
    until("no zombie", || (!std::path::Path::new(&proc).exists()).then_some(()));
    run.signal(Signal::TERM);
    assert_eq!(run.end().code, 143);
}

#[test]
fn a_stderr_that_nobody_reads_keeps_the_command_from_nothing() {
    let rig = Rig::new();
    let first = rig.start(&["n"], &format!("echo > holds; {}", wait_for("go")));
    until("the holder", || rig.has("holds").then_some(()));
    let (_unread, mut full) = std::io::pipe().unwrap();
    // As much as a pipe takes on Linux.
    full.write_all(&[b' '; 65_536]).unwrap();
    let mut busy = rig.leasehold(&["run", "n", "--no-wait", "--", "true"]);
    let mut busy = busy.stderr(full).spawn().unwrap();
    let ended = until("the end", || busy.try_wait().unwrap());
    assert_eq!(ended.code(), Some(75));
    rig.touch("go");
    assert_eq!(first.end().code, 0);
}

#[test]
fn where_descendants_cannot_be_found_nothing_is_run_that_would_have_to_be_stopped() {
    let rig = Rig::at("memory:".to_owned());
    let program = env!("CARGO_BIN_EXE_leasehold");
    let jailed = |way: &[&str], before: &str, options: &str| {
        let script = format!("{before} exec {program} run n {options} -- true");
        rig.command("unshare").args(way).args(["sh", "-c", &script]).output().unwrap()
    };
    // One without /proc, and one in which it is another's.
    let empty = "mount -t tmpfs none /proc;";
    for (way, before) in [(&["--mount"][..], empty), (&["--pid", "--fork"][..], "")] {
        let refused = jailed(way, before, "");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(78), "{way:?}: {said}");
        assert!(said.contains("/proc does not show this process"), "{said}");
        assert_eq!(jailed(way, before, "--on-lost=warn").status.code(), Some(0), "{way:?}");
    }
}
