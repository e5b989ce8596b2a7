//! 1: acquire and release, nobody else there.

use std::time::Duration;

use leasehold_tests::servers::Server;
use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::clock::{micros, now};
use crate::contender::{self, Contender, LEASEHOLD, OTHERS};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::{quantile, rounds};

const SLICE: Duration = Duration::from_millis(300);
/// Of [`OTHERS`], in their order.
const AT_MOST: [f64; 2] = [1.25, 1.15];

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("1. acquire + release of a free lock by one task, p50 of a pair");
    let server = Server::start();
    let usual = Builder::new_multi_thread().enable_all().build()?;
    measure(report, "multi-thread runtime", &usual, &server)?;
    let single = Builder::new_current_thread().enable_all().build()?;
    measure(report, "current-thread runtime", &single, &server)
}

fn measure(
    report: &mut Report,
    kind: &str,
    runtime: &Runtime,
    server: &Server,
) -> Result<(), Failure> {
    let contenders = runtime.block_on(Contender::all(&server.url()))?;
    let times = rounds(contender::COUNT, |which| {
        let slice = slice(contenders[which].clone(), format!("pair-{which}"));
        // Spawned, because that is where a program's work is done.
        runtime.block_on(runtime.spawn(slice))?
    })?;
    for ((other, name), bound) in OTHERS.into_iter().zip(AT_MOST) {
        report.line(&Line {
            what: &format!("{kind}; {name}"),
            unit: Unit::Micros,
            ours: &times[LEASEHOLD],
            theirs: &times[other],
            goal: Goal::Ratio(Target::AtMost(bound)),
        });
    }
    Ok(())
}

async fn slice(mut contender: Contender, name: String) -> Result<f64, Failure> {
    let mut pairs = Vec::with_capacity(16_384);
    let mut before = now();
    let end = before + SLICE;
    while before < end {
        contender.pair(&name).await?;
        let after = now();
        pairs.push(micros(after.since(before)));
        before = after;
    }
    Ok(quantile(pairs, 0.5))
}
