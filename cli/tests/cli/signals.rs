//! What signals do, however the command line is installed and wherever it runs.

use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use rustix::process::Signal;

use crate::rig::{Rig, Running, is_dead, until, wait_for};
use crate::terminal::Terminal;
use crate::ways;

/// With what a test runner in the background has set to be ignored as it usually is.
const USUAL: [&str; 2] = ["env", "--default-signal"];
/// The first process of its container.
const FIRST: [&str; 7] =
    ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "env", "--default-signal"];
/// As a login shell would, with the terminal as its own.
const ON_TERMINAL: [&str; 5] = ["setsid", "--ctty", "--wait", "env", "--default-signal"];

const SIGNALS: [(&str, Signal); 4] =
    [("INT", Signal::INT), ("TERM", Signal::TERM), ("HUP", Signal::HUP), ("QUIT", Signal::QUIT)];

/// Tells of `signal` once, and ends by SIGTERM, or by it if it is that.
fn heeds(signal: &str) -> String {
    let trap = format!("trap 'echo {signal} >> heard; exit 7' {signal}; trap 'exit 9' TERM");
    let trap = match signal {
        "TERM" => "trap 'echo TERM >> heard; exit 7' TERM".to_owned(),
        _ => trap,
    };
    format!("{trap}; echo $$ > ready; {}", wait_for("never"))
}

/// The process that a launcher which stays has started, as we see it.
fn inside(launcher: i32) -> i32 {
    let children = format!("/proc/{launcher}/task/{launcher}/children");
    until("the process inside", || {
        let children = std::fs::read_to_string(&children).ok()?;
        children.split_whitespace().next()?.parse().ok()
    })
}

fn send(pid: i32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn assert_free(rig: &Rig) {
    let next = rig.run(&["n", "--no-wait"], "true");
    assert_eq!(next.code, 0, "{next:?}");
}

#[test]
fn a_signal_reaches_the_command_however_it_is_started() {
    for way in ways::all() {
        assert!(way.exists(), "{} has no command line", way.name);
        for (name, signal) in SIGNALS {
            for launcher in [&USUAL[..], &FIRST] {
                let rig = Rig::new();
                let script = heeds(name);
                let arguments = ["run", "n", "--", "sh", "-c", &script];
                let run = Running::start(way.command(&rig, launcher, &arguments));
                rig.line("ready");
                let target = if launcher == USUAL { run.pid() } else { inside(run.pid()) };
                send(target, signal);
                let ended = run.end();
                let what = format!("{} {launcher:?} {name}", way.name);
                assert_eq!((ended.code, &*ended.stderr), (7, ""), "{what}");
                assert_eq!(rig.line("heard"), name, "{what}");
                assert_free(&rig);
            }
        }
    }
}

#[test]
fn a_signal_ends_the_wait_however_it_is_started() {
    for way in ways::all() {
        for (name, signal) in SIGNALS {
            for launcher in [&USUAL[..], &FIRST] {
                let rig = Rig::new();
                let holder = rig.start(&["n"], &format!("echo > held; {}", wait_for("go")));
                rig.line("held");
                let arguments = ["run", "n", "--", "true"];
                let run = Running::start(way.command(&rig, launcher, &arguments));
                rig.waiters(1);
                let target = if launcher == USUAL { run.pid() } else { inside(run.pid()) };
                send(target, signal);
                let ended = run.end();
                let code = 128 + signal.as_raw();
                assert_eq!((ended.code, &*ended.stderr), (code, ""), "{} {name}", way.name);
                rig.waiters(0);
                rig.touch("go");
                assert_eq!(holder.end().code, 0);
            }
        }
    }
}

#[test]
fn killed_it_takes_the_command_along_however_it_is_started() {
    for way in ways::all() {
        let rig = Rig::new();
        let script = heeds("TERM");
        let command = way.command(&rig, &USUAL, &["run", "n", "--", "sh", "-c", &script]);
        let mut run = Running::start(command);
        let child = rig.pid("ready");
        run.signal(Signal::KILL);
        run.exit();
        until("the command is dead", || is_dead(child).then_some(()));
        assert_free(&rig);
    }
}

#[test]
fn a_broken_lock_ends_the_command_however_it_is_started() {
    for way in ways::all() {
        let rig = Rig::new();
        let script = format!("trap '' TERM INT; echo $$ > ready; {}", wait_for("never"));
        let command = way.command(&rig, &USUAL, &["run", "n", "--", "sh", "-c", &script]);
        let run = Running::start(command);
        let child = rig.pid("ready");
        assert_eq!(rig.call(&["break", "n", "--yes"]).code, 0);
        let ended = run.end();
        assert_eq!(ended.code, 79, "{}: {ended:?}", way.name);
        assert!(is_dead(child), "{}", way.name);
    }
}

/// Where a terminal interrupts, the whole foreground group has the signal already. Many
/// programs take a second one for impatience.
#[test]
fn ctrl_c_on_a_terminal_reaches_the_command_once_however_it_is_started() {
    for way in ways::all() {
        for (name, key) in [("INT", b"\x03"), ("QUIT", b"\x1c")] {
            let rig = Rig::new();
            let mut terminal = Terminal::open();
            let script = heeds(name).replace("; exit 7", "");
            let arguments = ["run", "n", "--", "sh", "-c", &script];
            let mut run = terminal.start(way.command(&rig, &ON_TERMINAL, &arguments));
            rig.line("ready");
            terminal.keyboard.write_all(key).unwrap();
            assert_eq!(rig.line("heard"), name, "{}", way.name);
            // Passed on after the first, if that was.
            run.signal(Signal::TERM);
            assert_eq!(run.exit().code(), Some(9), "{} {name}", way.name);
            assert_eq!(rig.line("heard"), name, "{}", way.name);
            assert_free(&rig);
        }
    }
}

#[test]
fn an_interrupt_that_no_terminal_sent_reaches_the_command_on_one() {
    let rig = Rig::new();
    let terminal = Terminal::open();
    let way = &ways::all()[0];
    let script = heeds("INT");
    let command = way.command(&rig, &ON_TERMINAL, &["run", "n", "--", "sh", "-c", &script]);
    let mut run = terminal.start(command);
    rig.line("ready");
    run.signal(Signal::INT);
    assert_eq!(run.exit().code(), Some(7));
}

/// What a parent has blocked survives exec.
#[test]
fn the_end_of_the_command_is_noticed_where_the_parent_blocks_its_signal() {
    let rig = Rig::new();
    let way = &ways::all()[0];
    let launcher = ["env", "--block-signal=CHLD"];
    let ended = Running::start(way.command(&rig, &launcher, &["run", "n", "--", "true"])).end();
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn a_signal_ends_the_attempt_to_connect() {
    let rig = Rig::at("redis://127.0.0.1:1?wait=20s".to_owned());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let way = &ways::all()[0];
    let mut command: Command = way.command(&rig, &USUAL, &["run", "n", "--", "true"]);
    command.env("LEASEHOLD_URL", url);
    let run = Running::start(command);
    // It has connected, and is not answered.
    let _silent = listener.accept().unwrap();
    run.signal(Signal::TERM);
    let ended = run.end();
    assert_eq!((ended.code, &*ended.stderr), (143, ""));
}

#[test]
fn arguments_need_not_be_utf_8() {
    for way in ways::all() {
        let rig = Rig::new();
        let file = std::ffi::OsString::from_vec(b"caf\xe9".to_vec());
        let mut command = way.command(&rig, &[], &["run", "n", "--", "touch"]);
        command.arg(&file);
        let ended = Running::start(command).end();
        assert_eq!((ended.code, &*ended.stderr), (0, ""), "{}", way.name);
        assert!(std::fs::exists(rig.path("x").with_file_name(&file)).unwrap(), "{}", way.name);
    }
}
