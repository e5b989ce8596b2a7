//! 6: many clients want the same few locks, in all ways that there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leasehold::{Client, Error, Kind as ErrorKind, Lease, Outcome};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::Failure;
use crate::clock::now;
use crate::plain::{Plain, Statement};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::{Kind, Rig};

const CLIENTS: usize = 32;
const NAMES: usize = 4;
const CALLS: usize = 60_000;
/// Two clients keep so many leases besides, which are renewed many at once.
const KEPT: usize = 200;
const SHORT: Duration = Duration::from_millis(600);

pub(crate) fn run(kind: Kind, report: &mut Report) -> Result<(), Failure> {
    report.section("6. 60000 calls of 32 clients for 4 names; ShedLock's statements");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    for setup in kind.setups() {
        report.section(&format!("  {setup}"));
        let ours = measure(&runtime, &setup.start(), Who::Leasehold)?;
        let theirs = measure(&runtime, &setup.start(), Who::Shedlock)?;
        let mut line = |what, unit, of: fn(&Done) -> f64, goal| {
            let (ours, theirs) = ([of(&ours)], [of(&theirs)]);
            report.line(&Line { what, unit, ours: &ours, theirs: &theirs, goal });
        };
        line("  calls", Unit::PerSecond, |done| done.per_second, Goal::None);
        let unanswered = |done: &Done| done.unanswered;
        line("  renewals that are to be repeated", Unit::Number, unanswered, Goal::None);
        let target = Goal::Own(Target::AtMost(0.0));
        line("  deadlocks in the server", Unit::Number, |done| done.deadlocks, target);
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Who {
    Leasehold,
    Shedlock,
}

/// What all of them have done.
#[derive(Default)]
struct Counts {
    calls: AtomicUsize,
    /// Renewals of locks that others share, and change faster.
    unanswered: AtomicUsize,
}

struct Done {
    per_second: f64,
    unanswered: f64,
    deadlocks: f64,
}

fn measure(runtime: &Runtime, rig: &Rig, who: Who) -> Result<Done, Failure> {
    runtime.block_on(async {
        let counts = Arc::new(Counts::default());
        let (mut tasks, mut kept) = (JoinSet::new(), Vec::new());
        for number in 0..CLIENTS {
            match who {
                Who::Leasehold => {
                    let client = leasehold::connect(&rig.url()).await?;
                    if number < 2 {
                        kept.extend(keep(&client, number).await?);
                    }
                    tasks.spawn(ours(client, number, counts.clone()));
                }
                Who::Shedlock => {
                    tasks.spawn(theirs(Plain::connect(&rig.url()).await?, counts.clone()));
                }
            }
        }
        let began = now();
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        let took = now().since(began);
        if !kept.iter().all(Lease::is_valid) {
            return Err("a lease was lost".into());
        }
        let per_second = counts.calls.load(Ordering::Relaxed) as f64 / took.as_secs_f64();
        let unanswered = counts.unanswered.load(Ordering::Relaxed) as f64;
        Ok(Done { per_second, unanswered, deadlocks: rig.deadlocks()? as f64 })
    })
}

/// Of names between which those of the other one are.
async fn keep(client: &Client, number: usize) -> Result<Vec<Lease>, Error> {
    let mut kept = Vec::new();
    for at in 0..KEPT {
        kept.push(client.lock(format!("kept-{at}-{number}")).ttl(SHORT).acquire().await?);
    }
    Ok(kept)
}

/// One of many who want the same.
async fn ours(client: Client, number: usize, counts: Arc<Counts>) -> Result<(), Failure> {
    let mut turn = number;
    while counts.calls.load(Ordering::Relaxed) < CALLS {
        turn += 1;
        let name = |shift: usize| format!("hot-{}", (turn + shift) % NAMES);
        let lock = client.lock(name(0)).wait(Duration::from_millis(20));
        let asked = match turn % 5 {
            0 | 1 => lock.try_acquire().await.map(|lease| lease.map(Taken::One)),
            2 => lock.acquire().await.map(|lease| Some(Taken::One(lease))),
            3 => lock.shared().try_acquire().await.map(|lease| lease.map(Taken::One)),
            _ => {
                let both = client.locks([name(0), name(1)]);
                both.try_acquire().await.map(|leases| leases.map(Taken::Two))
            }
        };
        counts.calls.fetch_add(1, Ordering::Relaxed);
        match asked {
            Ok(Some(Taken::One(lease))) => {
                match lease.renew().await {
                    // Others changed the row all the time. It is still held.
                    Err(error) if error.outcome() == Outcome::Held => {
                        counts.unanswered.fetch_add(1, Ordering::Relaxed);
                    }
                    renewed => renewed?,
                }
                lease.release().await?;
                counts.calls.fetch_add(2, Ordering::Relaxed);
            }
            Ok(Some(Taken::Two(leases))) => {
                leases.release().await?;
                counts.calls.fetch_add(2, Ordering::Relaxed);
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Timeout => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

enum Taken {
    One(Lease),
    Two(leasehold::Leases),
}

/// Each time as if it had not seen the name before, as a fresh process has not.
async fn theirs(plain: Plain, counts: Arc<Counts>) -> Result<(), Failure> {
    let mut turn = 0;
    while counts.calls.load(Ordering::Relaxed) < CALLS {
        turn += 1;
        let name = format!("hot-{}", turn % NAMES);
        for statement in [Statement::ShedInsert, Statement::ShedTake, Statement::ShedGive] {
            // What fails here is counted by the server.
            drop(plain.execute(statement, &name).await);
            counts.calls.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
