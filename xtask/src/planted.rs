//! Bugs that were made elsewhere or nearly here, planted into a copy of the core. A
//! simulation, or a run against real servers, that does not catch each of them proves
//! nothing when it passes. All are in one build, and one at a time is awake.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::Failure;

mod bugs;
mod copy;
mod rules;
mod switch;

use bugs::{BUGS, Bug, SOAK_BUGS};
use copy::{Built, Copy};
use rules::{RULES, Rule};

/// More than the test has: some bugs show themselves late.
const SEEDS: &str = "20000";
/// Enough to tell that the copy is healthy while every bug sleeps.
const HEALTHY_SEEDS: &str = "1000";

/// How many rules are tested at once.
const LANES: usize = 3;

/// How often one that was missed is tested again.
const ALONE: u32 = 3;

/// Real weather is not replayed: some of it may miss what the next shows. Each time is
/// longer than the last, for busy machines.
const SOAKS: [&str; 5] = ["10", "20", "40", "40", "40"];

/// Plant all bugs whose name has one of the words in it, or whose test is in the file of
/// that name; without a word all.
pub(crate) fn are_caught(root: &Path, words: &[&str]) -> Result<(), Failure> {
    let has_word = |bug: &Bug| words.is_empty() || words.iter().any(|word| bug.name.contains(word));
    plant(root, |bug, tests| has_word(bug) || words.contains(&tests))
}

/// Plant every third bug: another third with another commit, so that each run is short and no
/// bug stays unplanted for long.
pub(crate) fn a_third_is_caught(root: &Path) -> Result<(), Failure> {
    let mut git = Command::new("git");
    let commit = git.args(["rev-parse", "HEAD"]).current_dir(root).output();
    let commit = commit.map_err(|e| format!("git could not be started: {e}"))?.stdout;
    let sum = |text: &[u8]| text.iter().map(|byte| usize::from(*byte)).sum::<usize>();
    let third = sum(&commit) % 3;
    println!("planted: third {} of 3, by the commit; all: cargo xtask planted", third + 1);
    plant(root, |bug, _| sum(bug.name.as_bytes()) % 3 == third)
}

/// Plant the bugs that are meant, by themselves and the name of the tests that catch them.
fn plant(root: &Path, is_meant: impl Fn(&Bug, &str) -> bool) -> Result<(), Failure> {
    let simulated: Vec<&Bug> = BUGS.iter().filter(|bug| is_meant(bug, "simulation")).collect();
    let real: Vec<&(&str, Bug)> =
        SOAK_BUGS.iter().filter(|(_, bug)| is_meant(bug, "soak")).collect();
    let all = RULES.iter().flat_map(|(tests, rules)| rules.iter().map(move |rule| (*tests, rule)));
    let rules: Vec<(&str, &Rule)> =
        all.filter(|(tests, rule)| is_meant(&rule.bug, tests)).collect();
    let mut planted = simulated.clone();
    planted.extend(real.iter().map(|real| &real.1));
    planted.extend(rules.iter().map(|(_, rule)| &rule.bug));
    let copy = Copy::make(root, &planted)?.build()?;
    // Real weather shows more when nothing else is going on.
    each(&real, |(part, bug)| soak(&copy, part, bug))?;
    // What is simulated needs the processors, and the rules wait for most of their time.
    let (begun, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let lane = || {
        while let Some(rule) = rules.get(begun.fetch_add(1, Ordering::Relaxed)) {
            if tested(&copy, rule).is_err() {
                println!("missed beside others: {}", rule.1.bug.name);
                missed.lock().expect("no holder panics").push(rule);
            }
        }
    };
    let simulated = std::thread::scope(|scope| {
        (0..LANES).for_each(|_| drop(scope.spawn(lane)));
        healthy(&copy).and_then(|()| each(&simulated, |bug| simulation(&copy, bug)))
    });
    // A few tests can tell a bug from a busy machine only when nothing else is going on.
    let missed = missed.into_inner().expect("no holder panics");
    let alone = each(&missed, |rule| again(&copy, rule));
    crate::all_of([simulated, alone])?;
    println!("planted: {} passed, 0 failed", planted.len());
    Ok(())
}

/// Plant all of them, also after one that was missed.
fn each<B>(bugs: &[&B], check: impl Fn(&B) -> Result<(), Failure>) -> Result<(), Failure> {
    crate::all_of(bugs.iter().map(|bug| check(bug)))
}

/// Nothing may be caught where nothing is wrong.
fn healthy(copy: &Built) -> Result<(), Failure> {
    let said = copy.test("simulation", "", &[("LEASEHOLD_SEEDS", HEALTHY_SEEDS)])?;
    let passed = said.contains("test result: ok.");
    if passed { Ok(()) } else { Err(format!("no bug is awake, and the test failed:\n{said}")) }
}

fn simulation(copy: &Built, bug: &Bug) -> Result<(), Failure> {
    let started = now();
    // Where other servers stand, what is wrong with one kind cannot show.
    let servers = ["memory", "quorum", "etcd"];
    let of_one_kind = |servers: &&&str| bug.file.starts_with(&format!("backend/{servers}"));
    let servers = servers.iter().find(of_one_kind).unwrap_or(&"");
    let variables = [("LEASEHOLD_SEEDS", SEEDS), ("LEASEHOLD_SERVERS", servers)];
    let said = copy.test("simulation", bug.name, &variables)?;
    caught(bug, "seed ", &said, started)
}

fn soak(copy: &Built, part: &str, bug: &Bug) -> Result<(), Failure> {
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

/// The rule's own test passes without the bug, which the whole suite has shown.
fn tested(copy: &Built, (tests, rule): &(&str, &Rule)) -> Result<(), Failure> {
    let started = now();
    let said = copy.test_by_name(tests, rule.test, rule.bug.name)?;
    if said.contains("running 0 tests") || !said.contains("running ") {
        return Err(format!("{}: there is no test {}\n{said}", rule.bug.name, rule.test));
    }
    let panicked = said.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    let how = match said.contains("test result: ") {
        true => panicked.filter(|_| said.contains("test result: FAILED")),
        false => Some("the test does not end"),
    };
    let Some(how) = how else {
        return Err(format!("a planted bug was missed: {}\n{said}", rule.bug.name));
    };
    if how.contains(" is not here; ") {
        return Err(format!("{}: its test could not be run: {how}", rule.bug.name));
    }
    println!("caught in {} s: {}: {how}", started.elapsed().as_secs(), rule.bug.name);
    Ok(())
}

/// The same for one that was missed while others were tested.
fn again(copy: &Built, rule: &(&str, &Rule)) -> Result<(), Failure> {
    let mut done = tested(copy, rule);
    for _ in 1..ALONE {
        done = done.or_else(|_| tested(copy, rule));
    }
    done
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Found in seconds, and not at the end of a long run.
    #[test]
    fn the_healthy_text_of_every_bug_stands_where_it_can_be_planted() {
        let rules = RULES.iter().flat_map(|(_, rules)| rules.iter()).map(|rule| &rule.bug);
        let real = SOAK_BUGS.iter().map(|(_, bug)| bug);
        let all: Vec<&Bug> = BUGS.iter().chain(real).chain(rules).collect();
        Copy::changed(crate::root(), &all).expect("every text is found");
    }
}
