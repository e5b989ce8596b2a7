//! 1: acquire and release, nobody else there.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::clock::{micros, now};
use crate::contender::{self, BARE, Contender, LEASEHOLD};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::{Kind, Rig};
use crate::rounds::{quantile, rounds};

pub(crate) const SLICE: Duration = Duration::from_millis(300);
/// Of two changes of a row by its key.
const AT_MOST: f64 = 1.25;
/// In the order of the contenders.
const OTHERS: [&str; contender::COUNT - 1] =
    ["two bare updates by key", "locks of the server, which end with it", "ShedLock's statements"];

pub(crate) fn run(kind: Kind, report: &mut Report) -> Result<(), Failure> {
    report.section("1. acquire + release of a free lock by one task, a pair");
    for setup in kind.setups() {
        let rig = setup.start();
        let usual = Builder::new_multi_thread().enable_all().build()?;
        let single = Builder::new_current_thread().enable_all().build()?;
        for (kind, runtime) in [("multi-thread", usual), ("current-thread", single)] {
            report.section(&format!("  {setup}, {kind} runtime"));
            measure(report, &rig, &runtime, kind)?;
        }
    }
    Ok(())
}

fn measure(report: &mut Report, rig: &Rig, runtime: &Runtime, on: &str) -> Result<(), Failure> {
    let contenders = runtime.block_on(Contender::all(rig))?;
    let name = format!("pair-{on}");
    contenders.iter().try_for_each(|contender| runtime.block_on(contender.prepare(&name)))?;
    let slices =
        rounds(contender::COUNT, |which| timed(runtime, &contenders[which], Work::Pair, &name))?;
    for (part, quality) in [(0.5, "p50"), (0.99, "p99")] {
        let of = |which: usize| {
            let slices: &Vec<Vec<f64>> = &slices[which];
            slices.iter().map(|pairs| quantile(pairs.clone(), part)).collect::<Vec<_>>()
        };
        for (other, name) in (BARE..).zip(OTHERS) {
            report.line(&Line {
                what: &format!("  {quality}; {name}"),
                unit: Unit::Micros,
                ours: &of(LEASEHOLD),
                theirs: &of(other),
                goal: match (other, quality) {
                    (BARE, "p50") => Goal::Ratio(Target::AtMost(AT_MOST)),
                    _ => Goal::None,
                },
            });
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
pub(crate) enum Work {
    Pair,
    /// For what somebody else holds.
    Ask,
}

/// How long each took.
pub(crate) fn timed(
    runtime: &Runtime,
    contender: &Contender,
    work: Work,
    name: &str,
) -> Result<Vec<f64>, Failure> {
    let (contender, name) = (contender.clone(), name.to_owned());
    // Spawned, because that is where a program's work is done.
    runtime.block_on(runtime.spawn(async move {
        let mut times = Vec::with_capacity(16_384);
        let mut before = now();
        let end = before + SLICE;
        while before < end {
            match work {
                Work::Pair => contender.pair(&name).await?,
                Work::Ask => contender.ask(&name).await?,
            }
            let after = now();
            times.push(micros(after.since(before)));
            before = after;
        }
        Ok(times)
    }))?
}
