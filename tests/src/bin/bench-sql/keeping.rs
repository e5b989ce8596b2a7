//! 3: a thousand leases of one client are kept, beside a thousand rows that are changed one by
//! one.

use std::time::Duration;

use leasehold::Lease;
use tokio::runtime::Builder;

use crate::Failure;
use crate::clock::{now, pause, pause_until};
use crate::plain::{Plain, Statement};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::{Kind, Rig};

const LEASES: usize = 1000;
const TTL: Duration = Duration::from_secs(10);
const TICKS: u32 = 6;

pub(crate) fn run(kind: Kind, report: &mut Report) -> Result<(), Failure> {
    report.section("3. 1000 leases of one client with a ttl of 10 s for 20 s; 1000 bare updates");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    for setup in kind.setups() {
        report.section(&format!("  {setup}"));
        // One after the other, because a disk is shared.
        let ours = runtime.block_on(ours(&setup.counting()))?;
        let theirs = runtime.block_on(theirs(&setup.counting()))?;
        let mut line = |what: &str, of: fn(&Used) -> f64, goal| {
            let (ours, theirs) = ([of(&ours)], [of(&theirs)]);
            report.line(&Line { what, unit: Unit::Number, ours: &ours, theirs: &theirs, goal });
        };
        let target = Goal::Own(Target::AtMost(2.0));
        line("  statements in a third of the ttl", |used| used.statements, target);
        line("  kB of the server's log, the same", |used| used.logged / 1e3, Goal::None);
    }
    Ok(())
}

/// In a third of the ttl.
struct Used {
    statements: f64,
    logged: f64,
}

impl Used {
    async fn of(
        rig: &Rig,
        work: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Self, Failure> {
        let before = (rig.statements()?, rig.logged()?);
        work.await?;
        let after = (rig.statements()?, rig.logged()?);
        let per_tick = |count: u64| count as f64 / f64::from(TICKS);
        Ok(Self { statements: per_tick(after.0 - before.0), logged: per_tick(after.1 - before.1) })
    }
}

async fn ours(rig: &Rig) -> Result<Used, Failure> {
    let client = leasehold::connect(&rig.url()).await?;
    let mut leases = Vec::new();
    for number in 0..LEASES {
        leases.push(client.lock(format!("kept-{number}")).ttl(TTL).acquire().await?);
    }
    // Past what acquiring them has caused.
    pause(TTL / 2).await;
    let kept = async {
        pause(TTL / 3 * TICKS).await;
        Ok(())
    };
    let used = Used::of(rig, kept).await?;
    match leases.iter().all(Lease::is_valid) {
        true => Ok(used),
        false => Err("a lease was lost".into()),
    }
}

async fn theirs(rig: &Rig) -> Result<Used, Failure> {
    let plain = Plain::connect(&rig.url()).await?;
    for number in 0..LEASES {
        plain.execute(Statement::Insert, &format!("kept-{number}")).await?;
    }
    let kept = async {
        let mut tick = now();
        for _ in 0..TICKS {
            for number in 0..LEASES {
                plain.execute(Statement::Take, &format!("kept-{number}")).await?;
            }
            tick = tick + TTL / 3;
            pause_until(tick).await;
        }
        Ok(())
    };
    Used::of(rig, kept).await
}
