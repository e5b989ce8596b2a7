//! 1: acquire and release, nobody else there.

use std::time::Duration;

use leasehold::Client;
use leasehold_tests::servers::Server;
use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::clock::{micros, now};
use crate::contender::{self, Blocking, Contender, LEASEHOLD, OTHERS};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::{quantile, rounds};

pub(crate) const SLICE: Duration = Duration::from_millis(300);
/// Of [`OTHERS`], in their order.
const AT_MOST: [f64; 2] = [1.2, 1.1];
const IN_A_THREAD: f64 = 1.3;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("1. acquire + release of a free lock by one task, p50 of a pair");
    let server = [Server::start()];
    measure(report, &server, AT_MOST)?;
    in_a_thread(report, &server[0])
}

/// Without a runtime, beside a connection that blocks.
fn in_a_thread(report: &mut Report, server: &Server) -> Result<(), Failure> {
    let ours = leasehold::block_on(leasehold::connect(&server.url()))?;
    let mut theirs = Blocking::connect(&server.url())?;
    let times = rounds(2, |which| {
        let name = format!("pair-thread-{which}");
        let pairs = match which {
            0 => by_thread(&ours, &name)?,
            _ => slice_of(|| theirs.pair(&name))?,
        };
        Ok(quantile(pairs, 0.5))
    })?;
    report.line(&Line {
        what: "a thread without a runtime; plain redis crate, which blocks",
        unit: Unit::Micros,
        ours: &times[0],
        theirs: &times[1],
        goal: Goal::Ratio(Target::AtMost(IN_A_THREAD)),
    });
    Ok(())
}

pub(crate) fn by_thread(client: &Client, name: &str) -> Result<Vec<f64>, Failure> {
    slice_of(|| {
        let pair = async { client.lock(name).acquire().await?.release().await };
        Ok(leasehold::block_on(pair)?)
    })
}

/// How long each pair took.
pub(crate) fn slice_of(mut pair: impl FnMut() -> Result<(), Failure>) -> Result<Vec<f64>, Failure> {
    let mut pairs = Vec::with_capacity(16_384);
    let mut before = now();
    let end = before + SLICE;
    while before < end {
        pair()?;
        let after = now();
        pairs.push(micros(after.since(before)));
        before = after;
    }
    Ok(pairs)
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
