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

/// A launcher that has heard it, too, and passes it on.
#[test]
fn ctrl_c_reaches_the_command_once_though_a_launcher_passes_it_on() {
    let rig = Rig::new();
    let mut terminal = Terminal::open();
    // The command would not tell two from one while it has not heeded the first.
    let launch = r"
import os, signal, subprocess, sys, time
def pass_on(*_):
    while not os.path.exists('heard'): time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    open('passed', 'w').write('on\n')
signal.signal(signal.SIGINT, pass_on)
run = subprocess.Popen(sys.argv[1:])
sys.exit(run.wait())";
    let launcher = [&ON_TERMINAL[..], &["python3", "-c", launch]].concat();
    let script = heeds("INT").replace("; exit 7", "");
    let arguments = ["run", "n", "--", "sh", "-c", &script];
    let mut run = terminal.start(ways::plain().command(&rig, &launcher, &arguments));
    rig.line("ready");
    terminal.keyboard.write_all(b"\x03").unwrap();
    assert_eq!((rig.line("passed"), rig.line("heard")), ("on".to_owned(), "INT".to_owned()));
    // Passed on after the second, if that was.
    send(inside(run.pid()), Signal::TERM);
    assert_eq!(run.exit().code(), Some(9));
    assert_eq!(rig.line("heard"), "INT");
}

/// One that is sent right after it is not taken for that.
#[test]
fn an_interrupt_right_after_that_of_the_terminal_reaches_the_command() {
    let rig = Rig::new();
    let mut terminal = Terminal::open();
    let script = heeds("INT").replace("; exit 7", "; [ $(wc -l < heard) -lt 2 ] || exit 7");
    let arguments = ["run", "n", "--", "sh", "-c", &script];
    let mut run = terminal.start(ways::plain().command(&rig, &ON_TERMINAL, &arguments));
    rig.line("ready");
    terminal.keyboard.write_all(b"\x03").unwrap();
    assert_eq!(rig.line("heard"), "INT");
    // While it has not read the first, the kernel makes one of both.
    until("the first is read", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid())).ok()?;
        status.contains("ShdPnd:\t0000000000000000").then_some(())
    });
    run.signal(Signal::INT);
    assert_eq!(run.exit().code(), Some(7));
}

/// What npm does about a signal that it alone is sent is its own matter, and the shell's
/// that it starts: it ends, at once or with the command, which does not hear of it. But
/// the lock is the command's.
#[test]
fn whatever_ends_npx_the_lock_is_the_commands_to_its_end() {
    for signal in SIGNALS.map(|(_, signal)| signal).into_iter().chain([Signal::KILL]) {
        let rig = Rig::new();
        let script = format!("echo $$ > ready; {}", wait_for("go"));
        let arguments = ["run", "n", "--", "sh", "-c", &script];
        let mut run = Running::start(ways::npx().command(&rig, &USUAL, &arguments));
        let child = rig.pid("ready");
        run.signal(signal);
        if signal != Signal::INT {
            run.exit();
        }
        match rig.run(&["n", "--no-wait"], "true").code {
            75 => {}
            code => assert_eq!((code, is_dead(child)), (0, true), "{signal:?}"),
        }
        rig.touch("go");
        assert_eq!(rig.run(&["n"], "true").code, 0);
        assert!(is_dead(child), "{signal:?}");
        run.exit();
    }
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
    // No shell: those unblock some, and heed others.
    let look = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"];
    // Without those of the C library, which it sets as it needs them.
    let masks = |command: Command| {
        let ended = Running::start(command).end();
        assert_eq!(ended.code, 0, "{ended:?}");
        let words = ended.stdout.split_whitespace();
        let masks = words.filter_map(|word| u64::from_str_radix(word, 16).ok());
        let masks = masks.map(|mask| mask & !(0b11 << 31)).collect::<Vec<_>>();
        (masks[0], masks[1])
    };
    let bit = |signal: Signal| 1 << (signal.as_raw() - 1);
    for way in ways::all() {
        // What stands before the program has changed these, and does not know them any more.
        let changed = match way.name {
            "python -m" => bit(Signal::PIPE) | bit(Signal::XFSZ),
            "npm" => bit(Signal::CHILD),
            _ => 0,
        };
        for blocked in [&[][..], &["--block-signal"], &["--block-signal=TERM,HUP"]] {
            let ignored = [&[][..], &["--ignore-signal"], &["--ignore-signal=PIPE"]];
            for ignored in ignored.into_iter().chain([&["--ignore-signal=CHLD,INT"][..]]) {
                let launcher = [&USUAL, blocked, ignored].concat();
                let rig = Rig::new();
                let mut plain = rig.command(launcher[0]);
                plain.args(&launcher[1..]).args(look);
                let plain = masks(plain);
                let empty = (plain.0 == 0, plain.1 == 0);
                assert_eq!(empty, (blocked.is_empty(), ignored.is_empty()), "{plain:x?}");
                let arguments = [&["run", "n", "--"][..], &look].concat();
                let ours = masks(way.command(&rig, &launcher, &arguments));
                let what = format!("{} {launcher:?}: {ours:x?} of {plain:x?}", way.name);
                assert_eq!(ours, (plain.0, plain.1 & !changed), "{what}");
            }
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
