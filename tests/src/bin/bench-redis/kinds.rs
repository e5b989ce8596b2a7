//! 7: what locks of other kinds cost, beside an exclusive one.

use leasehold::{Client, Lock};
use leasehold_tests::servers::Server;
use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::clock::{micros, now};
use crate::pair::SLICE;
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::{quantile, rounds};

/// A name, the options of its lock, whether somebody else shares it all the time, and
/// the bound.
type Kind = (&'static str, fn(Lock) -> Lock, bool, Goal);

fn kinds() -> [Kind; 4] {
    let at_most = |bound| Goal::Ratio(Target::AtMost(bound));
    [
        ("shared, nobody else there", Lock::shared, false, at_most(1.3)),
        ("shared, beside another reader", Lock::shared, true, at_most(1.3)),
        ("one of four permits", |lock| lock.permits(4), false, Goal::None),
        ("one of four permits, another taken", |lock| lock.permits(4), true, Goal::None),
    ]
}

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("7. a pair of another kind by one task, p50; an exclusive pair");
    let server = Server::start();
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let client = runtime.block_on(leasehold::connect(&server.url()))?;
    let other = runtime.block_on(leasehold::connect(&server.url()))?;
    for (what, kind, is_used, goal) in kinds() {
        let name = what.replace([' ', ','], "-");
        let _held = match is_used {
            true => Some(runtime.block_on(kind(other.lock(&name)).acquire())?),
            false => None,
        };
        let times = rounds(2, |which| {
            let lock = match which {
                0 => kind(client.lock(&name)),
                _ => client.lock("alone"),
            };
            Ok(quantile(slice(&runtime, lock)?, 0.5))
        })?;
        let (ours, theirs) = (&times[0], &times[1]);
        report.line(&Line { what, unit: Unit::Micros, ours, theirs, goal });
    }
    group(report, &runtime, &client)
}

/// Two names at once, beside one.
fn group(report: &mut Report, runtime: &Runtime, client: &Client) -> Result<(), Failure> {
    let times = rounds(2, |which| {
        let names: &[&str] = if which == 0 { &["one", "two"] } else { &["one"] };
        let locks = client.locks(names.iter().copied());
        let pairs = timed(runtime, async move || {
            locks.acquire().await?.release().await?;
            Ok(())
        })?;
        Ok(quantile(pairs, 0.5))
    })?;
    report.line(&Line {
        what: "two names together; one name",
        unit: Unit::Micros,
        ours: &times[0],
        theirs: &times[1],
        goal: Goal::None,
    });
    Ok(())
}

fn slice(runtime: &Runtime, lock: Lock) -> Result<Vec<f64>, Failure> {
    timed(runtime, async move || {
        lock.acquire().await?.release().await?;
        Ok(())
    })
}

/// How long each pair took.
fn timed(
    runtime: &Runtime,
    mut pair: impl AsyncFnMut() -> Result<(), Failure>,
) -> Result<Vec<f64>, Failure> {
    runtime.block_on(async {
        let mut pairs = Vec::with_capacity(16_384);
        let mut before = now();
        let end = before + SLICE;
        while before < end {
            pair().await?;
            let after = now();
            pairs.push(micros(after.since(before)));
            before = after;
        }
        Ok(pairs)
    })
}
