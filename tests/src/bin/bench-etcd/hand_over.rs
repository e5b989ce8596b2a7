//! 2: a lock handed over between clients, beside a raw write that the next one sees
//! by a watch.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::Failure;
use crate::clock::{micros, now};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::{Rig, SETUPS};
use crate::rounds::{quantile, rounds};
use crate::waiter::{Waiter, Who, hand_overs};

const CROWDS: [usize; 2] = [2, 8];
/// The hold, and how long a slice must be to give everybody several turns. Without a
/// hold, who has released asks again while the next one is being served.
const HOLDS: [(Duration, Duration); 2] = [
    (Duration::ZERO, Duration::from_millis(300)),
    (Duration::from_millis(1), Duration::from_millis(400)),
];
const WHOS: [Who; 3] = [Who::Leasehold, Who::Token, Who::Rpc];

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section(
        "2. hand-over between clients, release called to acquire returned; a raw put seen by a \
         watch",
    );
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    for setup in SETUPS {
        let rig = setup.start();
        let mut names = 0..;
        for (hold, span) in HOLDS {
            for waiters in CROWDS {
                report.section(&format!("  {setup}, {waiters} clients, held for {hold:?}"));
                let slices = rounds(WHOS.len(), |which| {
                    let name = format!("turns-{}", names.next().unwrap_or_default());
                    slice(&runtime, &rig, WHOS[which], &name, waiters, (hold, span))
                })?;
                print(report, &slices);
            }
        }
    }
    Ok(())
}

/// What a slice came to.
struct Slice {
    p50: f64,
    p99: f64,
    per_second: f64,
    requests: f64,
}

fn print(report: &mut Report, slices: &[Vec<Slice>]) {
    let [ours, token, rpc] = slices else { return };
    let mut line = |what: &str, unit, theirs: &[Slice], of: fn(&Slice) -> f64, goal| {
        let [ours, theirs] = [ours, theirs].map(|all| all.iter().map(of).collect::<Vec<_>>());
        report.line(&Line { what, unit, ours: &ours, theirs: &theirs, goal });
    };
    let target = Goal::Ratio(Target::AtMost(2.0));
    line("  p50; raw put and watch", Unit::Micros, token, |s| s.p50, target);
    line("  p50; etcd's lock RPC", Unit::Micros, rpc, |s| s.p50, Goal::None);
    line("  p99; raw put and watch", Unit::Micros, token, |s| s.p99, Goal::None);
    line("  p99; etcd's lock RPC", Unit::Micros, rpc, |s| s.p99, Goal::None);
    line("  acquisitions; lock RPC", Unit::PerSecond, rpc, |s| s.per_second, Goal::None);
    line("  requests each; lock RPC", Unit::Number, rpc, |s| s.requests, Goal::None);
}

fn slice(
    runtime: &Runtime,
    rig: &Rig,
    who: Who,
    name: &str,
    waiters: usize,
    (hold, span): (Duration, Duration),
) -> Result<Slice, Failure> {
    let waiters = runtime.block_on(Waiter::all(rig, who, name, waiters))?;
    let before = rig.calls();
    let end = now() + span;
    let turns = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        waiters.into_iter().for_each(|waiter| drop(tasks.spawn(waiter.turns(hold, end))));
        let mut turns = Vec::new();
        while let Some(done) = tasks.join_next().await {
            turns.append(&mut done??);
        }
        Ok::<_, Failure>(turns)
    })?;
    let requests = rig.calls().since(&before).all();
    let each = requests as f64 / turns.len() as f64;
    let (times, span) = hand_overs(turns);
    let times: Vec<f64> = times.into_iter().map(micros).collect();
    Ok(Slice {
        p50: quantile(times.clone(), 0.5),
        p99: quantile(times.clone(), 0.99),
        per_second: times.len() as f64 / span.as_secs_f64(),
        requests: each,
    })
}
