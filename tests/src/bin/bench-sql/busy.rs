//! 2: asking for a lock that somebody else holds.

use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::contender::{self, BARE, Contender, LEASEHOLD};
use crate::pair::{SLICE, Work, timed};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::{Kind, Rig};
use crate::rounds::{quantile, rounds};

const AT_MOST: f64 = 1.2;
const NAME: &str = "busy";
/// In the order of the contenders.
const OTHERS: [&str; contender::COUNT - 1] =
    ["SELECT by key", "locks of the server", "ShedLock's statement"];

pub(crate) fn run(kind: Kind, report: &mut Report) -> Result<(), Failure> {
    report.section("2. try_acquire of a lock that another client holds, p50");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    for setup in kind.setups() {
        report.section(&format!("  {setup}"));
        measure(report, &runtime, &setup.start())?;
    }
    Ok(())
}

fn measure(report: &mut Report, runtime: &Runtime, rig: &Rig) -> Result<(), Failure> {
    let contenders = runtime.block_on(Contender::all(rig))?;
    let holders = runtime.block_on(Contender::all(rig))?;
    holders.iter().try_for_each(|holder| runtime.block_on(holder.prepare(NAME)))?;
    let _held = runtime.block_on(holders[LEASEHOLD].hold(NAME))?;
    let ask = |which: usize| timed(runtime, &contenders[which], Work::Ask, NAME);
    let times = rounds(contender::COUNT, |which| {
        if which != LEASEHOLD {
            // For ten seconds.
            runtime.block_on(holders[which].hold(NAME))?;
        }
        Ok(quantile(ask(which)?, 0.5))
    })?;
    for (other, name) in (BARE..).zip(OTHERS) {
        report.line(&Line {
            what: &format!("  {name}"),
            unit: Unit::Micros,
            ours: &times[LEASEHOLD],
            theirs: &times[other],
            goal: match other {
                BARE => Goal::Ratio(Target::AtMost(AT_MOST)),
                _ => Goal::None,
            },
        });
    }
    // The server may write something for itself meanwhile.
    let logged = rounds(1, |_| {
        let before = rig.logged()?;
        ask(LEASEHOLD)?;
        Ok((rig.logged()? - before) as f64)
    })?;
    report.line(&Line {
        what: &format!("  bytes in the server's log, of all in {SLICE:?}"),
        unit: Unit::Number,
        ours: &logged[0],
        theirs: &[],
        goal: Goal::Own(Target::AtMost(0.0)),
    });
    Ok(())
}
