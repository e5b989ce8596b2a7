//! What signals do, however the command line is installed and wherever it runs.

use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use rustix::process::Signal;

use crate::rig::{Rig, Running, is_dead, until, wait_for};
use crate::terminal::{self, Terminal};
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
        // What it has just started may live a moment longer.
        assert_eq!(rig.run(&["n"], "true").code, 0);
    }
}

/// With a command that has started another, which is out of the kernel's reach when the
/// command line is killed. Answers the other's pid.
fn killed_amid(rig: &Rig, way: &ways::Way, ttl: &str) -> i32 {
    let inner = format!("echo $$ > inner; {}", wait_for("never"));
    let script = format!("sh -c '{inner}'; true");
    let arguments = ["run", "n", "--ttl", ttl, "--", "sh", "-c", &script];
    let mut run = Running::start(way.command(rig, &USUAL, &arguments));
    let inner = rig.pid("inner");
    run.signal(Signal::KILL);
    run.exit();
    inner
}

#[test]
fn killed_it_leaves_the_lock_to_what_still_works_under_it_however_it_is_started() {
    for way in ways::all() {
        let rig = Rig::new();
        let inner = killed_amid(&rig, &way, "1h");
        let next = rig.run(&["n", "--no-wait"], "true");
        assert_eq!(next.code, 75, "{}: {next:?}", way.name);
        // Whoever waits is woken by the end of the last.
        let next = rig.start(&["n"], "true");
        rig.waiters(1);
        send(inner, Signal::KILL);
        assert_eq!(next.end().code, 0, "{}", way.name);
    }
}

#[test]
fn killed_it_leaves_the_lock_for_its_ttl_at_most() {
    let rig = Rig::new();
    let inner = killed_amid(&rig, &ways::plain(), "2s");
    let next = rig.run(&["n"], "true");
    assert_eq!(next.code, 0, "{next:?}");
    assert!(!is_dead(inner));
    send(inner, Signal::KILL);
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

/// All of npm's processes hear it as well. What they do about it is their own matter.
#[test]
fn ctrl_c_on_a_terminal_reaches_the_command_of_npx_once_and_frees_the_lock() {
    let rig = Rig::new();
    let mut terminal = Terminal::open();
    let script = heeds("INT").replace("exit 7", "echo > go");
    let script = script.replace("-e never", "-e go");
    let arguments = ["run", "n", "--", "sh", "-c", &script];
    let mut run = terminal.start(ways::npx().command(&rig, &ON_TERMINAL, &arguments));
    rig.line("ready");
    terminal.keyboard.write_all(b"\x03").unwrap();
    run.exit();
    assert_eq!(rig.run(&["n"], "true").code, 0);
    assert_eq!(rig.line("heard"), "INT");
}

#[test]
fn an_interrupt_that_no_terminal_sent_reaches_the_command_on_one() {
    let rig = Rig::new();
    let terminal = Terminal::open();
    let way = ways::plain();
    let script = heeds("INT");
    let command = way.command(&rig, &ON_TERMINAL, &["run", "n", "--", "sh", "-c", &script]);
    let mut run = terminal.start(command);
    rig.line("ready");
    run.signal(Signal::INT);
    assert_eq!(run.exit().code(), Some(7));
}

/// When its window or connection is closed, only the session's leader is told.
#[test]
fn a_hang_up_reaches_the_command() {
    let rig = Rig::new();
    let (keyboard, end) = terminal::pair();
    let script = heeds("HUP");
    let way = ways::plain();
    let mut command = way.command(&rig, &ON_TERMINAL, &["run", "n", "--", "sh", "-c", &script]);
    command.stdin(end.try_clone().unwrap()).stderr(end).stdout(std::process::Stdio::null());
    let mut run = Running::start_as_is(command);
    rig.line("ready");
    drop(keyboard);
    assert_eq!(run.exit().code(), Some(7));
    assert_eq!(rig.line("heard"), "HUP");
}

/// What a parent has blocked survives exec.
#[test]
fn the_end_of_the_command_is_noticed_where_the_parent_blocks_its_signal() {
    let rig = Rig::new();
    let way = ways::plain();
    let launcher = ["env", "--block-signal=CHLD"];
    let ended = Running::start(way.command(&rig, &launcher, &["run", "n", "--", "true"])).end();
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// As if it were started without us.
#[test]
fn what_is_blocked_and_ignored_is_passed_on_as_it_was() {
    // No shell: those unblock all.
    let look = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"];
    // Without those of the C library, which it sets as it needs them.
    let masks = |command: Command| {
        let ended = Running::start(command).end();
        assert_eq!(ended.code, 0, "{ended:?}");
        let words = ended.stdout.split_whitespace();
        let masks = words.filter_map(|word| u64::from_str_radix(word, 16).ok());
        masks.map(|mask| mask & 0x7fff_ffff).collect::<Vec<_>>()
    };
    for blocked in [&[][..], &["--block-signal=CHLD"], &["--block-signal=TERM,HUP"]] {
        for ignored in [&[][..], &["--ignore-signal=INT,USR1"]] {
            let launcher = [&USUAL, blocked, ignored].concat();
            let rig = Rig::new();
            let mut plain = rig.command(launcher[0]);
            plain.args(&launcher[1..]).args(look);
            let plain = masks(plain);
            assert_eq!((plain.len(), plain[0] == 0), (2, blocked.is_empty()), "{plain:x?}");
            let arguments = [&["run", "n", "--"][..], &look].concat();
            let ours = masks(ways::plain().command(&rig, &launcher, &arguments));
            assert_eq!(ours, plain, "{launcher:?}");
        }
    }
}

#[test]
fn a_signal_ends_the_attempt_to_connect() {
    let rig = Rig::at("redis://127.0.0.1:1?wait=20s".to_owned());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let way = ways::plain();
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
