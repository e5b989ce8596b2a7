//! 5: acquire and release of a lock that has been held many times before. etcd keeps
//! what was deleted until it is compacted, which nobody does here.

use tokio::runtime::Builder;

use crate::Failure;
use crate::contender::{Contender, LEASEHOLD, RAW};
use crate::pair::slice;
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::Setup;
use crate::rounds::quantile;

const STEPS: [usize; 4] = [0, 1_000, 10_000, 50_000];

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("5. acquire + release of a lock after many others of the same name, p50");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let rig = Setup { members: 1, fsync: false }.start();
    let contenders = runtime.block_on(Contender::all(&rig))?;
    let mut done = [0; 2];
    let (mut first, mut last) = (None, 0.0);
    for step in STEPS {
        let mut medians = [0.0; 2];
        for (index, which) in [LEASEHOLD, RAW].into_iter().enumerate() {
            while done[index] < step {
                done[index] += slice(&runtime, &contenders[which], &format!("old-{which}"))?.len();
            }
            let pairs = slice(&runtime, &contenders[which], &format!("old-{which}"))?;
            done[index] += pairs.len();
            medians[index] = quantile(pairs, 0.5);
        }
        report.line(&Line {
            what: &format!("after {step}; two raw transactions"),
            unit: Unit::Micros,
            ours: &medians[..1],
            theirs: &medians[1..],
            goal: Goal::None,
        });
        last = medians[LEASEHOLD];
        first.get_or_insert(last);
    }
    report.line(&Line {
        what: "after all; leasehold before",
        unit: Unit::Micros,
        ours: &[last],
        theirs: &[first.unwrap_or_default()],
        goal: Goal::Ratio(Target::AtMost(1.2)),
    });
    Ok(())
}
