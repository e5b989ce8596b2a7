//! Bugs that were made elsewhere or nearly here, planted into a copy of the core. A
//! simulation, or a run against real servers, that does not catch each of them proves
//! nothing when it passes. All are in one build, and one at a time is awake.

use std::path::Path;
use std::time::Instant;

use crate::Failure;

mod bugs;
mod copy;
mod switch;

use bugs::{BUGS, Bug, MISSED, SOAK_BUGS};
use copy::Copy;

/// More than the test has: some bugs show themselves late.
const SEEDS: &str = "20000";
/// Enough to tell that the copy is healthy while every bug sleeps.
const HEALTHY_SEEDS: &str = "1000";

/// Real weather is not replayed: some of it may miss what the next shows. Each time is
/// longer than the last, for busy machines.
const SOAKS: [&str; 5] = ["10", "20", "40", "40", "40"];

/// All that CI insists on.
pub(crate) fn known_are_caught(root: &Path) -> Result<(), Failure> {
    plant(root, "", BUGS.iter().collect())
}

/// Plant all bugs whose name has `word` in it.
pub(crate) fn all_are_caught(root: &Path, word: &str) -> Result<(), Failure> {
    let all = BUGS.iter().chain(MISSED);
    plant(root, word, all.filter(|bug| bug.name.contains(word)).collect())
}

fn plant(root: &Path, word: &str, simulated: Vec<&Bug>) -> Result<(), Failure> {
    let real = BUGS[..2].iter().map(|bug| ("redis that keeps", bug));
    let real = real.chain(SOAK_BUGS.iter().map(|(part, bug)| (*part, bug)));
    let real: Vec<(&str, &Bug)> = real.filter(|(_, bug)| bug.name.contains(word)).collect();
    let mut planted = simulated.clone();
    for (_, bug) in &real {
        if !planted.iter().any(|other| other.name == bug.name) {
            planted.push(bug);
        }
    }
    let copy = Copy::make(root, &planted)?;
    copy.build()?;
    healthy(&copy)?;
    // What is simulated needs the processors, and what is real waits for most of its time.
    std::thread::scope(|scope| {
        let (near, far) = real.split_at(real.len() / 2);
        let lanes = [near, far].map(|lane| {
            let copy = &copy;
            scope.spawn(move || lane.iter().try_for_each(|(part, bug)| soak(copy, part, bug)))
        });
        let simulated = simulated.iter().try_for_each(|bug| simulation(&copy, bug));
        let real = lanes.map(|lane| lane.join().unwrap_or(Err("a lane panicked".to_owned())));
        real.into_iter().fold(simulated, Result::and)
    })?;
    println!("planted: {} passed, 0 failed", simulated.len() + real.len());
    Ok(())
}

/// Nothing may be caught where nothing is wrong.
fn healthy(copy: &Copy) -> Result<(), Failure> {
    let said = copy.test("simulation", "", &[("LEASEHOLD_SEEDS", HEALTHY_SEEDS)])?;
    let passed = said.contains("test result: ok.");
    if passed { Ok(()) } else { Err(format!("no bug is awake, and the test failed:\n{said}")) }
}

fn simulation(copy: &Copy, bug: &Bug) -> Result<(), Failure> {
    let started = now();
    // Where other servers stand, what is wrong with one kind cannot show.
    let servers = ["memory", "quorum", "etcd"];
    let of_one_kind = |servers: &&&str| bug.file.starts_with(&format!("backend/{servers}"));
    let servers = servers.iter().find(of_one_kind).unwrap_or(&"");
    let variables = [("LEASEHOLD_SEEDS", SEEDS), ("LEASEHOLD_SERVERS", servers)];
    let said = copy.test("simulation", bug.name, &variables)?;
    caught(bug, "seed ", &said, started)
}

fn soak(copy: &Copy, part: &str, bug: &Bug) -> Result<(), Failure> {
    let started = now();
    let mut missed = String::new();
    for seconds in SOAKS {
        let chosen = [("LEASEHOLD_SOAK", part), ("LEASEHOLD_SOAK_SECONDS", seconds)];
        let said = copy.test("soak", bug.name, &chosen)?;
        match caught(bug, "soak: broken", &said, started) {
            Ok(()) => return Ok(()),
            Err(failure) => missed = failure,
        }
    }
    Err(missed)
}

/// It is, if a line of the test's output begins with the sign.
fn caught(bug: &Bug, sign: &str, said: &str, started: Instant) -> Result<(), Failure> {
    let Some(how) = said.lines().find(|line| line.starts_with(sign)) else {
        return Err(format!("a planted bug was missed: {}\n{said}", bug.name));
    };
    println!("caught in {} s: {}: {how}", started.elapsed().as_secs(), bug.name);
    Ok(())
}

#[allow(clippy::disallowed_methods)] // for people who wait
fn now() -> Instant {
    Instant::now()
}
