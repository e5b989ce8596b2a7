//! `ls`, `break`, `completions`, and what is shown on a terminal.

use std::io::Write;

use crate::rig::{Rig, until, wait_for};
use crate::terminal::Terminal;

#[test]
fn ls_shows_who_holds_and_who_waits() {
    let rig = Rig::new();
    assert_eq!(rig.call(&["ls"]).stdout, "");
    let script = format!("echo $LEASEHOLD_FENCE > held; {}", wait_for("go"));
    let holder = rig.start(&["n", "--ttl=60s", "--label=importer"], &script);
    let fence: u64 = rig.line("held").parse().unwrap();
    let waiter = rig.start(&["n", "--label=second"], "true");
    rig.waiters(1);

    let locks = rig.locks();
    assert_eq!(locks.as_array().unwrap().len(), 1);
    let lock = &locks[0];
    assert_eq!((lock["name"].as_str(), lock["fence"].as_u64()), (Some("n"), Some(fence)));
    let label = lock["holder"].as_str().unwrap();
    assert!(label.ends_with(&format!(":{} importer", holder.pid())), "{label}");
    assert!(lock["waiters"][0].as_str().unwrap().ends_with(" second"));
    let remaining = lock["remaining_ms"].as_u64().unwrap();
    assert!((1..=60_000).contains(&remaining), "{remaining}");
    assert!(lock["held_for_ms"].as_u64().unwrap() < 60_000);

    let table = rig.call(&["ls"]).stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "HOLDER", "KIND", "FENCE", "HELD", "REMAINING", "WAITERS"]);
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[1][0], lines[1][2]), ("n", "importer"));
    assert_eq!(lines[1][3..5], ["exclusive", &*fence.to_string()]);
    assert_eq!(lines[1].last(), Some(&"1"));

    rig.touch("go");
    assert_eq!((holder.end().code, waiter.end().code), (0, 0));
    assert_eq!(rig.call(&["ls"]).stdout, "");
}

#[test]
fn a_name_with_control_characters_cannot_fool_a_terminal() {
    let rig = Rig::new();
    let script = format!("echo > held; {}", wait_for("go"));
    let holder = rig.start(&["evil\x1b[2J\nname"], &script);
    rig.line("held");
    let table = rig.call(&["ls"]).stdout;
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("evil\\u{1b}[2J\\u{a}name"), "{table}");
    rig.touch("go");
    assert_eq!(holder.end().code, 0);
}

#[test]
fn names_that_look_alike_are_told_apart() {
    let rig = Rig::new();
    let script = format!("echo > held; {}", wait_for("go"));
    // The first looks like "deploy", the label like "gnp.exe".
    let name = "dep\u{200b}loy";
    let holder = rig.start(&[name, "--label", "\u{202e}exe.png\u{2066}"], &script);
    rig.line("held");
    let table = rig.call(&["ls"]).stdout;
    assert!(table.contains("dep\\u{200b}loy"), "{table}");
    assert!(table.contains(" \\u{202e}exe.png\\u{2066} "), "{table}");
    let busy = rig.run(&[name, "--no-wait"], "true").stderr;
    assert!(busy.contains("dep\\u{200b}loy") && busy.contains("\\u{202e}exe"), "{busy}");
    rig.touch("go");
    assert_eq!(holder.end().code, 0);
}

#[test]
fn breaking_what_nobody_holds_is_code_1() {
    let rig = Rig::new();
    let ended = rig.call(&["break", "n", "--yes"]);
    assert_eq!((ended.code, &*ended.stdout), (1, "nobody holds \"n\"\n"));
}

#[test]
fn completions_are_scripts() {
    let rig = Rig::new();
    for shell in ["bash", "zsh", "fish"] {
        let ended = rig.call(&["completions", shell]);
        assert_eq!(ended.code, 0);
        assert!(ended.stdout.contains("leasehold") && ended.stdout.contains("no-wait"));
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let rig = Rig::new();
    for args in [&["--help"][..], &["run", "--help"], &["--version"], &["help", "break"]] {
        let ended = rig.call(args);
        assert_eq!((ended.code, &*ended.stderr), (0, ""));
        assert!(ended.stdout.contains("leasehold"));
    }
    for code in ["64", "69", "75", "79", "126", "127", "128+n"] {
        assert!(rig.call(&["run", "--help"]).stdout.contains(&format!("\n  {code} ")));
    }
}

#[test]
fn a_terminal_shows_whom_we_wait_for_until_granted() {
    let rig = Rig::new();
    let terminal = Terminal::open();
    let script = format!("echo > held; {}", wait_for("go"));
    let holder = rig.start(&["n", "--label=importer"], &script);
    rig.line("held");
    let script = format!("echo > second; {}", wait_for("end"));
    let mut waiter = terminal.start(rig.leasehold(&["run", "n", "--", "sh", "-c", &script]));
    terminal.until_shown("\rleasehold: waiting for \"n\", held by ");
    terminal.until_shown(" importer for ");
    assert!(!terminal.screen.lock().unwrap().ends_with("\r\x1b[K"));
    rig.touch("go");
    assert_eq!(holder.end().code, 0);
    rig.line("second");
    until("erased", || terminal.screen.lock().unwrap().ends_with("\r\x1b[K").then_some(()));
    rig.touch("end");
    assert!(waiter.exit().success());
}

#[test]
fn a_free_lock_shows_nothing_on_a_terminal() {
    let rig = Rig::new();
    let terminal = Terminal::open();
    let mut run = terminal.start(rig.leasehold(&["run", "n", "--", "sh", "-c", "echo end >&2"]));
    terminal.until_shown("end\r\n");
    assert!(run.exit().success());
    assert_eq!(*terminal.screen.lock().unwrap(), "end\r\n");
}

#[test]
fn break_asks_on_a_terminal() {
    let rig = Rig::new();
    let holder = rig.start(&["n", "--label=importer"], "echo > held; exec sleep 60");
    rig.line("held");
    for (answer, code) in [("\n", 1), ("n\n", 1), ("y\n", 0)] {
        let mut terminal = Terminal::open();
        let mut run = terminal.start(rig.leasehold(&["break", "n"]));
        terminal.until_shown("Break \"n\", held by ");
        terminal.until_shown("? [y/N] ");
        terminal.keyboard.write_all(answer.as_bytes()).unwrap();
        assert_eq!(run.exit().code(), Some(code), "{answer:?}");
    }
    assert_eq!(holder.end().code, 79);
}

#[test]
fn ls_shows_who_waits_in_a_circle_and_says_when_nobody_does() {
    let rig = Rig::new();
    let none = rig.call(&["ls", "--deadlocks"]);
    assert_eq!((none.code, &*none.stdout), (0, ""));
    assert!(none.stderr.contains("nobody waits in a circle"), "{none:?}");
    assert_eq!(rig.call(&["ls", "--deadlocks", "--json"]).stdout, "[]\n");

    let client = leasehold::block_on(leasehold::connect(rig.url())).unwrap();
    let held = leasehold::block_on(client.lock("b").acquire()).unwrap();
    let group = rig.start(&["a", "b", "--label=of a group"], "true");
    until("it waits", || rig.locks()[1]["waiters"].get(0).is_some().then_some(()));
    assert_eq!(rig.call(&["ls", "--deadlocks", "--json"]).stdout, "[]\n");

    let waiter = std::thread::spawn({
        let lock = client.lock("a");
        move || leasehold::block_on(async move { lock.acquire().await }).map(drop)
    });
    let circle = until("there is a circle", || {
        let found: serde_json::Value =
            serde_json::from_str(&rig.call(&["ls", "--deadlocks", "--json"]).stdout).unwrap();
        (found != serde_json::json!([])).then_some(found)
    });
    let (own, others) = (std::process::id(), group.pid());
    let waits = circle[0]["waits"].as_array().unwrap();
    let locks: Vec<_> = waits.iter().map(|wait| wait["lock"].as_str().unwrap()).collect();
    assert_eq!(locks, ["a", "b"]);
    assert!(waits[0]["waiter"].as_str().unwrap().ends_with(&format!(":{own}")), "{circle}");
    assert!(waits[0]["holder"].as_str().unwrap().ends_with(&format!(":{others} of a group")));
    let text = rig.call(&["ls", "--deadlocks"]).stdout;
    assert!(text.starts_with("a deadlock, if each of these processes does one thing at a time:\n"));
    assert!(text.contains(&format!(":{own} waits for a, held by ")), "{text}");

    leasehold::block_on(held.release()).unwrap();
    waiter.join().unwrap().unwrap();
    assert_eq!(group.end().code, 0);
}
