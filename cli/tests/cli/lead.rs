//! `lead` and `leader`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::rig::{Ended, Rig, Running, is_dead, now, until, wait_for};
use leasehold_tests::servers::Server;
use rustix::process::Signal;

fn lead(rig: &Rig, options: &[&str], script: &str) -> Running {
    // A test runner in the background ignores some signals.
    let mut command = rig.command("env");
    command.args(["--default-signal", env!("CARGO_BIN_EXE_leasehold"), "lead", "x"]);
    command.args(options).args(["--", "sh", "-c", script]);
    Running::start(command)
}

fn leader(rig: &Rig, options: &[&str]) -> Ended {
    rig.call(&[&["leader", "x"], options].concat())
}

#[track_caller]
fn until_shown(rig: &Rig, value: &str) {
    until(value, || (leader(rig, &[]).stdout.trim_end() == value).then_some(()));
}

#[test]
fn a_command_runs_while_it_leads_and_its_code_is_passed_on() {
    let rig = Rig::new();
    let nobody = leader(&rig, &[]);
    assert_eq!((nobody.code, &*nobody.stdout, &*nobody.stderr), (1, "", ""));
    let nobody = leader(&rig, &["--json"]);
    assert_eq!((nobody.code, &*nobody.stdout), (1, "null\n"));
    let own = "echo \"$LEASEHOLD_NAME/$LEASEHOLD_FENCE\" > held";
    let script = format!("{own}; {}; exit 7", wait_for("go"));
    let run = lead(&rig, &["--value=10.0.0.7:8080"], &script);
    let held = rig.line("held");
    let shown = leader(&rig, &[]);
    assert_eq!((shown.code, &*shown.stdout), (0, "10.0.0.7:8080\n"));
    let json: serde_json::Value = serde_json::from_str(&leader(&rig, &["--json"]).stdout).unwrap();
    assert_eq!(json["value"], "10.0.0.7:8080");
    assert_eq!(format!("x/{}", json["term"]), held);
    assert!(json["remaining_ms"].as_u64().unwrap() <= 10_000);
    let who = format!(":{} 10.0.0.7:8080", run.pid());
    assert!(json["holder"].as_str().unwrap().ends_with(&who), "{json}");
    rig.touch("go");
    let ended = run.end();
    assert_eq!((ended.code, &*ended.stderr), (7, ""));
    assert_eq!(leader(&rig, &[]).code, 1);
}

#[test]
fn who_shows_nothing_is_named_by_its_host_and_process() {
    let rig = Rig::new();
    let run = lead(&rig, &["--url", &format!("{}?label=importer", rig.url())], "exec sleep 60");
    let shown = until("a leader", || Some(leader(&rig, &[])).filter(|shown| shown.code == 0));
    assert!(shown.stdout.ends_with(&format!(":{}\n", run.pid())), "{shown:?}");
}

#[test]
fn after_a_loss_the_command_is_stopped_and_started_again_in_another_term() {
    let rig = Rig::new();
    let script = "echo $$ > pid$LEASEHOLD_FENCE; echo $LEASEHOLD_FENCE > term; exec sleep 60";
    let run = lead(&rig, &["--value=a"], script);
    let mut term: u64 = rig.line("term").parse().unwrap();
    for _ in 0..2 {
        let pid = rig.pid(&format!("pid{term}"));
        assert_eq!(rig.call(&["break", "x", "--yes"]).code, 0);
        let next = until("another term", || {
            let next: u64 = rig.line("term").parse().ok()?;
            (next > term).then_some(next)
        });
        assert!(is_dead(pid), "the command of the term before");
        term = next;
    }
    until_shown(&rig, "a");
    run.signal(Signal::TERM);
    let ended = run.end();
    assert_eq!(ended.code, 128 + 15);
    assert_eq!(ended.stderr.matches("lost the lease").count(), 2, "{ended:?}");
    assert_eq!(leader(&rig, &[]).code, 1, "it has resigned");
}

#[test]
fn a_signal_ends_the_command_and_the_lead_or_the_campaign() {
    let rig = Rig::new();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let script =
            "echo $$ > pid; trap 'rm pid; exit 3' INT TERM HUP; while :; do sleep 0.01; done";
        let leads = lead(&rig, &["--value=a"], script);
        rig.pid("pid");
        let campaigns = lead(&rig, &["--value=b"], "true");
        rig.waiters(1);
        campaigns.signal(signal);
        assert_eq!(campaigns.end().code, 128 + signal.as_raw());
        leads.signal(signal);
        assert_eq!(leads.end().code, 3);
        assert!(!rig.has("pid"));
        assert_eq!(leader(&rig, &[]).code, 1);
    }
}

#[test]
fn a_command_that_was_told_to_end_is_not_started_again_after_a_loss() {
    let rig = Rig::new();
    let script = format!("trap 'echo > told' TERM; echo $$ > pid; {}", wait_for("never"));
    let run = lead(&rig, &["--ttl=1h"], &script);
    rig.pid("pid");
    run.signal(Signal::TERM);
    rig.line("told");
    assert_eq!(rig.call(&["break", "x", "--yes"]).code, 0);
    assert_eq!(run.end().code, 128 + 15);
}

#[test]
fn those_who_follow_are_told_of_each_leader_and_of_nobody() {
    let rig = Rig::new();
    let mut command = rig.leasehold(&["leader", "x", "--follow"]);
    let mut follows = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follows.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!(next(), "");
    for value in ["a", "b"] {
        let run = lead(&rig, &["--value", value], "exec sleep 60");
        assert_eq!(next(), value);
        run.signal(Signal::TERM);
        assert_eq!(next(), "");
        assert_eq!(run.end().code, 128 + 15);
    }
    // Who does not read any more is not told.
    drop(lines);
    let run = lead(&rig, &["--value=c"], "exec sleep 60");
    assert_eq!(until("its end", || follows.try_wait().unwrap()).code(), Some(0));
    drop(run);
}

#[test]
fn a_leader_that_is_killed_is_followed_within_its_ttl_and_a_second() {
    let server = Server::start();
    let rig = Rig::at(server.url());
    let script = "echo $LEASEHOLD_FENCE > leads$0; exec sleep 60";
    let run = |name: &str| {
        let args = ["lead", "x", "--ttl=2s", "--value", name, "--", "sh", "-c", script, name];
        Running::start(rig.leasehold(&args))
    };
    let first = run("a");
    let term: u64 = rig.line("leadsa").parse().unwrap();
    let second = run("b");
    rig.waiters(1);
    first.signal(Signal::KILL);
    let killed = now();
    let next: u64 = rig.line("leadsb").parse().unwrap();
    let took = now().since(killed);
    println!("fail-over after kill -9 with a ttl of 2 s: {took:?}");
    assert!(next > term);
    // Beside others on a busy machine.
    assert!(took < Duration::from_secs(2 + 1 + 3), "{took:?}");
    until_shown(&rig, "b");
    drop(second);
}
