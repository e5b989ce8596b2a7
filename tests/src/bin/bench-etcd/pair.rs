//! 1: acquire and release, nobody else there.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::clock::{micros, now};
use crate::contender::{self, Contender, LEASEHOLD, OTHERS, RAW};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::{Rig, SETUPS};
use crate::rounds::{quantile, rounds};

const SLICE: Duration = Duration::from_millis(300);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("1. acquire + release of a free lock by one task, a pair");
    for setup in SETUPS {
        let rig = setup.start();
        let usual = Builder::new_multi_thread().enable_all().build()?;
        let single = Builder::new_current_thread().enable_all().build()?;
        for (kind, runtime) in [("multi-thread", usual), ("current-thread", single)] {
            report.section(&format!("  {setup}, {kind} runtime"));
            measure(report, &rig, &runtime)?;
        }
    }
    Ok(())
}

fn measure(report: &mut Report, rig: &Rig, runtime: &Runtime) -> Result<(), Failure> {
    let contenders = runtime.block_on(Contender::all(rig))?;
    let mut names = 0..;
    let slices = rounds(contender::COUNT, |which| {
        // What a name has seen before makes it slow; that is workload 5.
        let name = format!("pair-{which}-{}", names.next().unwrap_or_default());
        slice(runtime, &contenders[which], &name)
    })?;
    for (part, quality) in [(0.5, "p50"), (0.99, "p99")] {
        let of = |which: usize| {
            let slices: &Vec<Vec<f64>> = &slices[which];
            slices.iter().map(|pairs| quantile(pairs.clone(), part)).collect::<Vec<_>>()
        };
        for (other, name) in OTHERS {
            report.line(&Line {
                what: &format!("  {quality}; {name}"),
                unit: Unit::Micros,
                ours: &of(LEASEHOLD),
                theirs: &of(other),
                goal: match (other, quality) {
                    (RAW, "p50") => Goal::Ratio(Target::AtMost(1.2)),
                    _ => Goal::None,
                },
            });
        }
    }
    Ok(())
}

/// How long each pair took.
pub(crate) fn slice(
    runtime: &Runtime,
    contender: &Contender,
    name: &str,
) -> Result<Vec<f64>, Failure> {
    let (mut contender, name) = (contender.clone(), name.to_owned());
    // Spawned, because that is where a program's work is done.
    runtime.block_on(runtime.spawn(async move {
        let mut pairs = Vec::with_capacity(16_384);
        let mut before = now();
        let end = before + SLICE;
        while before < end {
            contender.pair(&name).await?;
            let after = now();
            pairs.push(micros(after.since(before)));
            before = after;
        }
        Ok(pairs)
    }))?
}
