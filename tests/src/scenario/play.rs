//! All scenarios for one pair of languages, several at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::language::Pair;
use super::place::{Backend, Servers};
use super::script::Scenario;
use super::stage::Stage;
use crate::patience::now;

/// They mostly wait. This many for each pair, if the machine can bear it.
const AT_A_TIME: usize = 8;

/// Each language plays every scenario on every backend with itself. Two languages meet in what a
/// backend stores, which is the core's: they play every third scenario on each backend, others on
/// the next.
const MIXED: usize = 3;

/// When all programs of a scenario take longer to be there, others wait for their turn.
const SLOW: Duration = Duration::from_secs(2);

/// How many are played by all pairs together.
static CROWD: Crowd = Crowd { size: Mutex::new((0, AT_A_TIME)), changed: Condvar::new() };

/// As many as can be played without being slow: on a machine that has much else to do, more
/// at a time would only have each other miss their limits.
struct Crowd {
    /// How many there are, and may be.
    size: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Crowd {
    const LEAST: usize = 2;

    fn enter(&self) {
        let size = self.size.lock().expect("no holder panics");
        let full = |(are, may): &mut (usize, usize)| are >= may;
        self.changed.wait_while(size, full).expect("no holder panics").0 += 1;
    }

    /// The programs are there, after so long.
    fn began(&self, took: Duration) {
        let (_, may) = &mut *self.size.lock().expect("no holder panics");
        *may = if took > SLOW { Self::LEAST.max(*may / 2) } else { (2 * AT_A_TIME).min(*may + 1) };
        self.changed.notify_all();
    }

    fn leave(&self) {
        self.size.lock().expect("no holder panics").0 -= 1;
        self.changed.notify_all();
    }
}

/// Play all scenarios whose file or name has this word in it, on every backend; two languages
/// play a third of that. The program `rust` is the shim in Rust. Answers how many were played.
///
/// # Errors
/// What came out differently, one line each.
pub fn play(scenarios: &[Scenario], pair: Pair, rust: &Path, word: &str) -> Result<usize, String> {
    pair.0.command(rust)?;
    pair.1.command(rust)?;
    let mut todo = Vec::new();
    let mut except = BTreeMap::<String, usize>::new();
    let chosen =
        |scenario: &&Scenario| scenario.name.contains(word) || scenario.file.contains(word);
    for (number, scenario) in scenarios.iter().filter(chosen).enumerate() {
        for (place, backend) in Backend::ALL.into_iter().enumerate() {
            if pair.is_mixed() && (number + place) % MIXED != pair.turn() % MIXED {
                continue;
            }
            match scenario.reason_against(pair, backend) {
                Some(reason) => *except.entry(reason.to_owned()).or_default() += 1,
                None => todo.push((scenario, backend)),
            }
        }
    }
    let (count, begin) = (todo.len(), now());
    let failures = play_all(todo, pair, rust);
    let names = (pair.0.name(), pair.1.name());
    println!("{names:?}: {count} scenarios were played in {:.1?}", begin.elapsed());
    for (reason, times) in except {
        println!("  {times} were not: {reason}");
    }
    if failures.is_empty() { Ok(count) } else { Err(failures.join("\n")) }
}

fn play_all(todo: Vec<(&Scenario, Backend)>, pair: Pair, rust: &Path) -> Vec<String> {
    let servers = Servers::get();
    let todo = Mutex::new(todo.into_iter().rev().collect::<Vec<_>>());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().expect("no holder panics").pop();
                    let Some((scenario, backend)) = next else { return };
                    CROWD.enter();
                    let begin = now();
                    let stage = Stage::new(scenario, pair, backend, servers.clone(), rust);
                    CROWD.began(begin.elapsed());
                    let played = stage.and_then(|mut stage| stage.play());
                    CROWD.leave();
                    if let Err(failure) = played {
                        let place = format!("{}: {}", scenario.file, scenario.name);
                        let failure = format!("{place} on {}, {failure}", backend.name());
                        println!("{failure}");
                        failures.lock().expect("no holder panics").push(failure);
                    }
                }
            });
        }
    });
    failures.into_inner().expect("no holder panics")
}
