//! 1: acquire and release, nobody else there.

use std::time::Duration;

use leasehold_tests::servers::Server;
use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::clock::{micros, now};
use crate::contender::{self, Contender, LEASEHOLD, OTHERS};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::{quantile, rounds};

pub(crate) const SLICE: Duration = Duration::from_millis(300);
/// Of [`OTHERS`], in their order.
const AT_MOST: [f64; 2] = [1.25, 1.15];

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("1. acquire + release of a free lock by one task, p50 of a pair");
    measure(report, &[Server::start()], AT_MOST)
}

/// On both kinds of a runtime.
pub(crate) fn measure(
    report: &mut Report,
    servers: &[Server],
    at_most: [f64; 2],
) -> Result<(), Failure> {
    let usual = Builder::new_multi_thread().enable_all().build()?;
    let single = Builder::new_current_thread().enable_all().build()?;
    for (kind, runtime) in [("multi-thread", usual), ("current-thread", single)] {
        let contenders = runtime.block_on(Contender::all(servers))?;
        let times = rounds(contender::COUNT, |which| {
            let pairs = slice(&runtime, &contenders[which], &format!("pair-{which}"))?;
            Ok(quantile(pairs, 0.5))
        })?;
        for ((other, name), bound) in OTHERS.into_iter().zip(at_most) {
            report.line(&Line {
                what: &format!("{kind} runtime; {name}"),
                unit: Unit::Micros,
                ours: &times[LEASEHOLD],
                theirs: &times[other],
                goal: Goal::Ratio(Target::AtMost(bound)),
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
