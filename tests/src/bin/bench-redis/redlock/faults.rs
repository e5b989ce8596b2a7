//! 2: two of five nodes are gone, beside the same client on five that are well.

use std::time::Duration;

use leasehold_tests::servers::Server;
use tokio::runtime::{Builder, Runtime};

use super::servers;
use crate::Failure;
use crate::clock::{micros, now};
use crate::contender::{Contender, LEASEHOLD, OTHERS};
use crate::pair::slice;
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::{quantile, rounds};

/// How long the beginning of a fault is looked at.
const BEGINNING: Duration = Duration::from_secs(3);
const FAULTS: [Fault; 2] = [("refuse connections", Server::kill), ("hang", Server::freeze)];

/// What a server does then, and how it is made to.
type Fault = (&'static str, fn(&Server));

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("2. acquire + release on 5 nodes, 2 of which fail; other: all 5 are well");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let (rslock, _) = OTHERS[1];
    measure(report, &runtime, LEASEHOLD, "leasehold", || Goal::Ratio(Target::AtMost(2.0)))?;
    measure(report, &runtime, rslock, "rslock", || Goal::None)
}

fn measure(
    report: &mut Report,
    runtime: &Runtime,
    who: usize,
    name: &str,
    goal: impl Fn() -> Goal,
) -> Result<(), Failure> {
    let rigs = [servers(5), servers(5), servers(5)];
    let mut clients = Vec::new();
    for rig in &rigs {
        let all = runtime.block_on(Contender::all(rig))?;
        slice(runtime, &all[who], "warm")?;
        clients.push(all[who].clone());
    }
    for ((fault, strike), (rig, client)) in FAULTS.into_iter().zip(rigs.iter().zip(&clients)) {
        rig[..2].iter().for_each(strike);
        let (first, longest) = begin(runtime, client)?;
        for (what, time) in [("first pair", first), ("longest pair in 3 s", longest)] {
            let what = format!("{name}, 2 {fault}: {what}");
            let (unit, ours) = (Unit::Micros, &[time]);
            report.line(&Line { what: &what, unit, ours, theirs: &[], goal: Goal::None });
        }
    }
    let slices = rounds(clients.len(), |which| slice(runtime, &clients[which], "pair"))?;
    for (part, quality) in [(0.5, "p50"), (0.99, "p99"), (1.0, "longest")] {
        let of = |which: usize| {
            let slices: &Vec<Vec<f64>> = &slices[which];
            slices.iter().map(|pairs| quantile(pairs.clone(), part)).collect::<Vec<_>>()
        };
        for (which, (fault, _)) in FAULTS.into_iter().enumerate() {
            report.line(&Line {
                what: &format!("{name}, 2 {fault}: {quality}"),
                unit: Unit::Micros,
                ours: &of(which),
                theirs: &of(FAULTS.len()),
                goal: if quality == "p99" { goal() } else { Goal::None },
            });
        }
    }
    Ok(())
}

/// The first pair that meets a fault, and the longest until the client should
/// know how to live with it.
fn begin(runtime: &Runtime, client: &Contender) -> Result<(f64, f64), Failure> {
    let mut client = client.clone();
    runtime.block_on(runtime.spawn(async move {
        let (mut first, mut longest) = (None, 0_f64);
        let end = now() + BEGINNING;
        while now() < end {
            let before = now();
            client.pair("begin").await?;
            let time = micros(now().since(before));
            first.get_or_insert(time);
            longest = longest.max(time);
        }
        Ok((first.unwrap_or_default(), longest))
    }))?
}
