//! `run --shared` and `--permits`, and what shows several holders.

use serde_json::Value;

use crate::rig::{Rig, wait_for};

/// The value of a field of each holder of the only lock.
fn of_holders(rig: &Rig, field: &str) -> Vec<Value> {
    let holders = rig.locks()[0]["holders"].as_array().unwrap().clone();
    holders.iter().map(|holder| holder[field].clone()).collect()
}

#[test]
fn runs_that_share_a_lock_go_on_together_and_keep_others_out() {
    let rig = Rig::new();
    let script = |name: &str| {
        format!("echo \"$LEASEHOLD_FENCE$LEASEHOLD_SLOT\" > {name}; {}", wait_for("go"))
    };
    let one = rig.start(&["x", "--shared", "--label=one"], &script("first"));
    let fence = rig.line("first");
    let other = rig.start(&["x", "--shared", "--label=other"], &script("second"));
    assert_eq!(rig.line("second"), fence);
    assert_eq!(of_holders(&rig, "mode"), ["shared", "shared"]);
    assert_eq!(of_holders(&rig, "slot"), [Value::Null, Value::Null]);
    let table = rig.call(&["ls"]).stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    let shown = lines[1..].iter().map(|line| (line[0], line[2], line[3]));
    assert_eq!(shown.collect::<Vec<_>>(), [("x", "one", "shared"), ("x", "other", "shared")]);

    let busy = rig.run(&["x", "--no-wait"], "true");
    assert_eq!(busy.code, 75);
    assert!(
        busy.stderr.contains(" one for ") && busy.stderr.ends_with("s and another\n"),
        "{busy:?}"
    );
    // Of a group it is the one that keeps us out.
    let writer = rig.start(&["y"], &script("third"));
    rig.line("third");
    let busy = rig.run(&["x", "y", "--shared", "--no-wait"], "true");
    assert!(busy.code == 75 && busy.stderr.contains("lock \"y\" is busy, held by"), "{busy:?}");
    rig.touch("go");
    for run in [one, other, writer] {
        assert_eq!(run.end().code, 0);
    }
}

#[test]
fn each_of_the_permits_has_a_slot() {
    let rig = Rig::new();
    let run = |name: &str| {
        let own =
            format!("echo $LEASEHOLD_FENCE > fence$LEASEHOLD_SLOT; echo $LEASEHOLD_SLOT > {name}");
        let script = format!("{own}; {}", wait_for("go"));
        rig.start(&["gpu", "--permits=2"], &script)
    };
    let mut runs = vec![run("first")];
    let first = rig.line("first");
    runs.push(run("second"));
    let slots = [first, rig.line("second")];
    assert!(slots == ["0", "1"] || slots == ["1", "0"], "{slots:?}");
    assert_eq!(of_holders(&rig, "slot"), [0, 1]);
    let fences: Vec<u64> = ["fence0", "fence1"].map(|it| rig.line(it).parse().unwrap()).into();
    assert!(fences[0] != fences[1]);
    assert_eq!(of_holders(&rig, "fence"), fences);
    let table = rig.call(&["ls"]).stdout;
    for (slot, fence) in fences.iter().enumerate() {
        assert!(table.contains(&format!("  slot {slot} of 2  {fence}  ")), "{table}");
    }
    let busy = rig.run(&["gpu", "--permits=2", "--no-wait"], "true");
    assert!(busy.code == 75 && busy.stderr.contains(" and another"), "{busy:?}");
    let other = rig.run(&["gpu", "--permits=3", "--no-wait"], "true");
    assert!(other.code == 78 && other.stderr.contains("2 permits"), "{other:?}");
    rig.touch("go");
    for run in runs {
        assert_eq!(run.end().code, 0);
    }
}

#[test]
fn an_inner_run_does_not_find_the_slot_of_the_outer_one() {
    let rig = Rig::new();
    let own = "echo \"$LEASEHOLD_SLOT/$LEASEHOLD_SLOTS\"";
    let inner = |options: &str| {
        format!("'{}' run {options} -- sh -c '{own}'", env!("CARGO_BIN_EXE_leasehold"))
    };
    let script = format!("{own}; {}; {}", inner("inner"), inner("a b --permits=3"));
    let ended = rig.run(&["outer", "--permits=2"], &script);
    assert_eq!((ended.code, &*ended.stderr), (0, ""));
    let said = "0/{\"outer\":0}\n/\n/{\"a\":0,\"b\":0}\n";
    assert_eq!(ended.stdout, said);
}

#[test]
fn permits_that_there_cannot_be_are_bad_usage() {
    let rig = Rig::new();
    for wrong in
        [&["--permits=0"][..], &["--permits=1001"], &["--permits=-1"], &["--permits=2", "--shared"]]
    {
        let ended = rig.run(&[&["x"], wrong].concat(), "true");
        assert_eq!(ended.code, 64, "{wrong:?}: {ended:?}");
    }
}

#[test]
fn a_break_takes_the_lock_from_all_who_share_it_and_says_so() {
    let rig = Rig::new();
    let run = |name: &str| {
        let run = rig.start(&["x", "--shared"], &format!("echo > {name}; exec sleep 100"));
        rig.line(name);
        run
    };
    let runs = [run("one"), run("two"), run("three")];
    let broken = rig.call(&["break", "x", "--yes"]);
    assert!(broken.code == 0 && broken.stdout.ends_with(" and 2 others\n"), "{broken:?}");
    for run in runs {
        assert_eq!(run.end().code, 79);
    }
}
