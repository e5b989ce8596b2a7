//! `run --every`, `--slot` and `--min-hold`.

use leasehold_tests::servers::Server;

use crate::rig::{Rig, wait_for};

const EVERY: &str = "--every=1h";

#[test]
fn a_command_is_run_once_per_interval_and_skipped_with_0() {
    let rig = Rig::new();
    let run = |options: &[&str], script: &str| rig.run(&[&["nightly"], options].concat(), script);
    assert_eq!(run(&[EVERY], "echo ran > first").code, 0);
    assert_eq!(rig.line("first"), "ran");
    let skipped = run(&[EVERY], "echo ran > second");
    assert_eq!(skipped.code, 0);
    let says = "leasehold: skipped: it was run before; try again in 56m";
    assert!(skipped.stderr.starts_with(says), "{skipped:?}");
    assert!(!rig.path("second").exists());
    assert_eq!(run(&[EVERY, "--busy-exit=3"], "true").code, 3);
    let shown = &rig.locks()[0]["holders"][0];
    assert_eq!(shown["resting"], true);
    assert!(rig.call(&["ls"]).stdout.contains("resting"));
    let busy = run(&["--no-wait"], "true");
    assert!(busy.code == 75 && busy.stderr.contains("resting for another 56m"), "{busy:?}");
    assert_eq!(rig.call(&["break", "nightly", "--yes"]).code, 0);
    assert_eq!(run(&[EVERY], "echo ran > third").code, 0);
    assert_eq!(rig.line("third"), "ran");
}

#[test]
fn a_command_that_fails_is_run_again_at_once() {
    let rig = Rig::new();
    assert_eq!(rig.run(&["nightly", EVERY], "exit 4").code, 4);
    assert!(rig.locks().as_array().unwrap().is_empty());
    assert_eq!(rig.run(&["nightly", EVERY], "kill -TERM $$").code, 128 + 15);
    assert_eq!(rig.run(&["nightly", EVERY], "echo ran > it").code, 0);
    assert_eq!(rig.line("it"), "ran");
}

#[test]
fn a_slot_is_run_once() {
    let rig = Rig::new();
    let run = |slot: &str| rig.run(&["nightly", "--slot", slot], "echo \"$LEASEHOLD_NAME\" > it");
    assert_eq!(run("2026-11-27").code, 0);
    assert_eq!(rig.line("it"), "nightly@2026-11-27");
    assert!(run("2026-11-27").stderr.contains("try again in 6days 23h"));
    assert_eq!(run("2026-11-28").code, 0);
    assert_eq!(rig.locks().as_array().unwrap().len(), 2);
}

#[test]
fn a_lock_stays_taken_for_its_min_hold() {
    let rig = Rig::new();
    assert_eq!(rig.run(&["x", "y", "--min-hold=1h"], "true").code, 0);
    for name in ["x", "y"] {
        let busy = rig.run(&[name, "--no-wait"], "true");
        assert!(busy.code == 75 && busy.stderr.contains("resting for another 59m"), "{busy:?}");
    }
}

#[test]
fn what_cannot_be_done_once_is_bad_usage() {
    let rig = Rig::new();
    for wrong in [
        &["x", "y", EVERY][..],
        &["x", EVERY, "--wait"],
        &["x", EVERY, "--shared"],
        &["x", EVERY, "--min-hold=1s"],
        &["x", "--every=1ms"],
        &["x", "--slot=a@b"],
        &["x", "--min-hold=401d"],
    ] {
        let refused = rig.run(wrong, "true");
        assert!(refused.code == 64 && !refused.stderr.is_empty(), "{wrong:?}: {refused:?}");
    }
}

#[test]
fn a_success_that_the_server_did_not_hear_of_may_run_again_and_says_so() {
    let server = Server::start();
    let rig = Rig::at(server.url());
    let script = format!("echo > begun; {}", wait_for("go"));
    let run = rig.start(&["nightly", "--ttl=60s", EVERY], &script);
    rig.line("begun");
    server.freeze();
    rig.touch("go");
    let ended = run.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let says = "it may be run again before its interval is over";
    assert!(ended.stderr.contains(says), "{}", ended.stderr);
}
