//! `model [SIZE]`: see [`leasehold_model`]. Size 0 is that of the tests,
//! with each rule left out in turn. Size 1 has 140 million worlds and takes a
//! quarter of an hour; size 2 takes longer, and stops at 230 million worlds of a scenario,
//! which need 10 GB, whether or not that is all.

use std::process::ExitCode;
use std::time::Instant;

use leasehold_model::{Scenario, large, plantings, scenarios, search};

fn main() -> ExitCode {
    let mut fine = true;
    match std::env::args().nth(1).as_deref() {
        None | Some("0") => {
            for (rule, property, scenario) in plantings() {
                let mut without = scenario.without(rule);
                without.watched = Some(property);
                fine &= !is_fine(&format!("without {rule:?}: "), &without);
            }
            for (scenario, _) in scenarios() {
                fine &= is_fine("", &scenario);
            }
        }
        Some(size @ ("1" | "2")) => {
            for scenario in large(size == "2") {
                fine &= is_fine("", &scenario);
            }
        }
        _ => {
            println!("usage: model [0 | 1 | 2]");
            fine = false;
        }
    }
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Print what is found. What was not looked at is not fine either.
#[allow(clippy::disallowed_methods)] // how long it took, for who waited
fn is_fine(what: &str, scenario: &Scenario) -> bool {
    let start = Instant::now();
    let outcome = search(scenario);
    println!("{what}{}: {outcome}, {} s", scenario.name, start.elapsed().as_secs());
    if let Some((_, trace)) = &outcome.found {
        println!("{trace}");
    }
    outcome.found.is_none() && outcome.exhausted
}
