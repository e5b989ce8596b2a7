//! `run` when the lease is lost, or `leasehold` itself is killed: nothing goes
//! on working without the lock.

use std::time::Duration;

use crate::rig::{Rig, is_dead, now, until, wait_for};
#[cfg(target_os = "linux")]
use rustix::process::Signal;

/// Ignores SIGTERM, leaves its pid, and lives for a minute without help.
fn stubborn(pid: &str) -> String {
    format!("trap \"\" TERM; echo $$ > {pid}; {}", wait_for("never"))
}

fn break_lock(rig: &Rig) {
    let ended = rig.call(&["break", "n", "--yes"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("broke \"n\", held by "), "{}", ended.stdout);
}

/// Somebody else may be at work already, however long the ttl is.
#[test]
fn a_broken_lock_leaves_the_command_no_time() {
    let rig = Rig::new();
    let run = rig.start(&["n", "--ttl=1h"], &stubborn("child"));
    let child = rig.pid("child");
    break_lock(&rig);
    // The patience before an end that is still to come would be three minutes.
    let ended = run.end();
    assert_eq!(ended.code, 79, "{ended:?}");
    assert!(ended.stderr.contains("leasehold: lost the lease"), "{}", ended.stderr);
    assert!(is_dead(child));
    assert_eq!(rig.locks(), serde_json::json!([]));
}

#[cfg(target_os = "linux")]
#[test]
fn descendants_that_ignore_sigterm_are_killed() {
    let rig = Rig::new();
    // A child that stays, a grandchild, and one of a parent that ends by SIGTERM.
    let grandchild = stubborn("grandchild");
    let heir = stubborn("heir");
    let script = format!(
        "sh -c '{grandchild}; true' & sh -c 'sh -c \"{}\" & exec sleep 60' & {}",
        heir.replace('"', "\\\"").replace('$', "\\$"),
        stubborn("child"),
    );
    let mut run = rig.start(&["n", "--ttl=2s"], &script);
    let pids = ["child", "grandchild", "heir"].map(|name| rig.pid(name));
    assert!(!pids.iter().any(|pid| is_dead(*pid)));
    break_lock(&rig);
    assert_eq!(run.exit().code(), Some(79));
    for pid in pids {
        assert!(is_dead(pid), "{pid} of {pids:?} outlived leasehold");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_daemon_that_left_its_parents_and_session_is_stopped_too() {
    let rig = Rig::new();
    // Both its parents are gone before the lease is lost.
    let script = format!(
        "(setsid sh -c '{}' > /dev/null 2>&1 &); {}",
        stubborn("daemon"),
        "echo > left; exec sleep 60"
    );
    let mut run = rig.start(&["n", "--ttl=2s"], &script);
    let daemon = rig.pid("daemon");
    rig.line("left");
    break_lock(&rig);
    assert_eq!(run.exit().code(), Some(79));
    assert!(is_dead(daemon));
}

/// What an outer shell had started before it became `leasehold` is not ours.
#[cfg(target_os = "linux")]
#[test]
fn a_neighbour_is_left_alone() {
    let rig = Rig::new();
    let neighbour = format!("echo $$ > neighbour; {}", wait_for("go"));
    let exec = format!("exec '{}' run n --ttl=2s", env!("CARGO_BIN_EXE_leasehold"));
    let script =
        format!("sh -c '{neighbour}' > /dev/null 2>&1 & {exec} -- sh -c '{}'", stubborn("child"));
    let mut command = rig.command("sh");
    command.args(["-c", &script]);
    let mut run = crate::rig::Running::start(command);
    let (neighbour, child) = (rig.pid("neighbour"), rig.pid("child"));
    break_lock(&rig);
    assert_eq!(run.exit().code(), Some(79));
    assert!(is_dead(child) && !is_dead(neighbour));
    rig.touch("go");
    until("the neighbour ends", || is_dead(neighbour).then_some(()));
}

#[test]
fn cut_off_from_the_backend_the_command_is_dead_before_the_lease_ends() {
    let rig = Rig::new();
    let ttl = Duration::from_secs(8);
    let mut run = rig.start(&["n", "--ttl=8s"], &stubborn("child"));
    let child = rig.pid("child");
    let cut = now();
    std::fs::remove_file(rig.path("locks.db")).unwrap();
    until("the command is dead", || is_dead(child).then_some(()));
    // Nothing was renewed after the cut, so no lease outlasts it by more.
    let took = now().since(cut);
    assert!(took < ttl, "dead only after {took:?}");
    assert_eq!(run.exit().code(), Some(79));
}

#[test]
fn max_hold_ends_the_command() {
    let rig = Rig::new();
    let started = now();
    let ended = rig.run(&["n", "--max-hold=2s", "--ttl=60s"], "trap '' TERM; sleep 60; sleep 60");
    assert_eq!(ended.code, 79, "{ended:?}");
    assert!(ended.stderr.contains("max_hold"), "{}", ended.stderr);
    // Within the 10 % before, not those of the ttl.
    assert!(now().since(started) > Duration::from_millis(1700));
}

#[test]
fn a_command_has_time_to_end_by_itself_before_the_lease_ends() {
    let rig = Rig::new();
    let script = format!("trap 'echo > told; exit 0' TERM; {}", wait_for("never"));
    let ended = rig.run(&["n", "--max-hold=4s", "--ttl=60s"], &script);
    assert_eq!(ended.code, 79, "{ended:?}");
    assert!(rig.has("told"));
}

#[test]
fn on_lost_warn_lets_the_command_go_on() {
    let rig = Rig::new();
    let script = format!("echo > held; {}; exit 3", wait_for("go"));
    let run = rig.start(&["n", "--on-lost=warn"], &script);
    rig.line("held");
    break_lock(&rig);
    // The next one holds it: the first lease is over.
    assert_eq!(rig.run(&["n"], "true").code, 0);
    rig.touch("go");
    let ended = run.end();
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("lost the lease"), "{}", ended.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn stopped_for_longer_than_the_ttl_it_ends_the_command() {
    let rig = Rig::new();
    let run = rig.start(&["n", "--ttl=500ms"], &stubborn("child"));
    let child = rig.pid("child");
    run.stop_between_transactions();
    // Granted to the next, so the lease has ended.
    assert_eq!(rig.run(&["n"], "true").code, 0);
    assert!(!is_dead(child));
    run.signal(Signal::CONT);
    let ended = run.end();
    assert_eq!(ended.code, 79, "{ended:?}");
    assert!(is_dead(child));
}

#[cfg(target_os = "linux")]
#[test]
fn killed_itself_it_takes_the_command_along_and_the_next_is_not_kept_waiting() {
    let rig = Rig::new();
    let mut run = rig.start(&["n", "--ttl=10m"], &stubborn("child"));
    let child = rig.pid("child");
    let next = rig.start(&["n"], "echo > next");
    rig.waiters(1);
    run.signal(Signal::KILL);
    run.exit();
    until("the command is dead", || is_dead(child).then_some(()));
    // The ttl would be longer than the patience of this.
    rig.line("next");
    assert_eq!(next.end().code, 0);
}
