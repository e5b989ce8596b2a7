//! 4: a hundred clients wait for a lock that another one holds, and are served one
//! after the other.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::Failure;
use crate::clock::{micros, now, pause};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::{Rig, SETUPS};
use crate::waiter::{Waiter, Who, hand_overs};

const WAITERS: usize = 100;
const TIMES: usize = 3;
const SPAN: Duration = Duration::from_secs(5);
/// Until all stand in the line.
const SETTLED: Duration = Duration::from_secs(2);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("4. 100 clients wait 5 s for a lock, then are served; etcd's lock RPC");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    for setup in SETUPS {
        report.section(&format!("  {setup}"));
        let rig = setup.start();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for time in 0..TIMES {
            ours.push(serve(&runtime, &rig, Who::Leasehold, &format!("ours-{time}"))?);
            theirs.push(serve(&runtime, &rig, Who::Rpc, &format!("theirs-{time}"))?);
        }
        print(report, &ours, &theirs);
    }
    Ok(())
}

/// What it took.
struct Served {
    waiting: f64,
    keep_alives: f64,
    /// Beyond what the others would have sent anyway.
    txns_each: f64,
    requests_each: f64,
    hand_over: f64,
    span: f64,
}

fn print(report: &mut Report, ours: &[Served], theirs: &[Served]) {
    let mut line = |what: &str, unit, theirs: &[Served], of: fn(&Served) -> f64, goal| {
        let [ours, theirs] = [ours, theirs].map(|all| all.iter().map(of).collect::<Vec<_>>());
        report.line(&Line { what, unit, ours: &ours, theirs: &theirs, goal });
    };
    line("  requests while nothing happens", Unit::PerSecond, &[], |s| s.waiting, Goal::None);
    line("  of them keep-alives", Unit::PerSecond, &[], |s| s.keep_alives, Goal::None);
    // The release, and the look of the one that it wakes.
    let target = Goal::Own(Target::AtMost(2.1));
    line("  transactions for a hand-over", Unit::Number, &[], |s| s.txns_each, target);
    line("  all requests for a hand-over", Unit::Number, theirs, |s| s.requests_each, Goal::None);
    line("  p50 of a hand-over", Unit::Micros, theirs, |s| s.hand_over, Goal::None);
    line("  until all were served", Unit::Millis, theirs, |s| s.span, Goal::None);
}

fn serve(runtime: &Runtime, rig: &Rig, who: Who, name: &str) -> Result<Served, Failure> {
    runtime.block_on(async {
        let mut waiters = Waiter::all(rig, who, name, WAITERS + 1).await?;
        let mut holder = waiters.pop().ok_or("nobody holds it")?;
        holder.take().await?;
        let mut tasks = JoinSet::new();
        for mut waiter in waiters {
            // It stays, because closing its connection is work too.
            tasks.spawn(
                async move { Ok::<_, Failure>((waiter.turn(Duration::ZERO).await?, waiter)) },
            );
        }
        pause(SETTLED).await;
        let (before, began) = (rig.calls(), now());
        pause(SPAN).await;
        let (idle, waited) = (rig.calls().since(&before), now().since(began));
        let (before, began) = (rig.calls(), now());
        holder.give().await?;
        let (mut turns, mut stay) = (Vec::new(), Vec::new());
        while let Some(done) = tasks.join_next().await {
            let (turn, waiter) = done??;
            turns.push(turn);
            stay.push(waiter);
        }
        let (busy, took) = (rig.calls().since(&before), now().since(began));
        let (times, span) = hand_overs(turns);
        let times: Vec<f64> = times.into_iter().map(micros).collect();
        let rate = |calls: u64| calls as f64 / waited.as_secs_f64();
        // Of those who are still waiting, which are half of them on average.
        let each = |busy: u64, idle: u64| {
            (busy as f64 - rate(idle) * took.as_secs_f64() / 2.0) / WAITERS as f64
        };
        Ok(Served {
            waiting: rate(idle.all()),
            keep_alives: rate(idle.of("LeaseKeepAlive")),
            txns_each: each(busy.of("Txn"), idle.of("Txn")),
            requests_each: each(busy.all(), idle.all()),
            hand_over: crate::rounds::median(&times),
            span: span.as_secs_f64() * 1e3,
        })
    })
}
