//! 5: pairs per second of many tasks, each with a lock of its own, and what they leave behind.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::clock::{now, pause};
use crate::contender::{self, BARE, Contender, LEASEHOLD, SHEDLOCK};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::{Kind, Rig};
use crate::rounds::rounds;

const SLICE: Duration = Duration::from_millis(500);
/// A thousand would take longer than an answer may, where each waits for the disk.
const TASKS: [usize; 2] = [16, 256];
/// Until the server has counted what was done.
const COUNTED: Duration = Duration::from_secs(3);
const OTHERS: [(usize, &str); 2] =
    [(BARE, "bare updates by key"), (SHEDLOCK, "ShedLock's statements")];

pub(crate) fn run(kind: Kind, report: &mut Report) -> Result<(), Failure> {
    report.section("5. pairs per second of many tasks, each with its own lock, one connection");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    for setup in kind.setups() {
        report.section(&format!("  {setup}"));
        let rig = setup.start();
        TASKS.iter().try_for_each(|tasks| measure(report, &runtime, &rig, *tasks))?;
        runtime.block_on(pause(COUNTED));
        if let Some(share) = rig.hot_share()? {
            report.line(&Line {
                what: "  share of changes that left indexes alone",
                unit: Unit::Number,
                ours: &[share],
                theirs: &[],
                goal: Goal::Own(Target::AtLeast(0.99)),
            });
        }
    }
    Ok(())
}

fn measure(report: &mut Report, runtime: &Runtime, rig: &Rig, tasks: usize) -> Result<(), Failure> {
    let contenders = runtime.block_on(Contender::all(rig))?;
    for task in 0..tasks {
        let name = name(tasks, task);
        contenders.iter().try_for_each(|contender| runtime.block_on(contender.prepare(&name)))?;
    }
    let rates = rounds(contender::COUNT, |which| slice(runtime, &contenders[which], tasks))?;
    for (other, name) in OTHERS {
        report.line(&Line {
            what: &format!("  {tasks} tasks; {name}"),
            unit: Unit::PerSecond,
            ours: &rates[LEASEHOLD],
            theirs: &rates[other],
            goal: Goal::None,
        });
    }
    Ok(())
}

fn name(tasks: usize, task: usize) -> String {
    format!("many-{tasks}-{task}")
}

fn slice(runtime: &Runtime, contender: &Contender, tasks: usize) -> Result<f64, Failure> {
    let start = now();
    let end = start + SLICE;
    let work = |task| {
        let (contender, name) = (contender.clone(), name(tasks, task));
        runtime.spawn(async move {
            let mut pairs = 0;
            while now() < end {
                contender.pair(&name).await?;
                pairs += 1;
            }
            Ok::<u32, Failure>(pairs)
        })
    };
    let work: Vec<_> = (0..tasks).map(work).collect();
    let mut pairs = 0;
    for task in work {
        pairs += runtime.block_on(task)??;
    }
    Ok(f64::from(pairs) / now().since(start).as_secs_f64())
}
