//! 2: pairs per second of many tasks, each with a lock of its own.

use std::time::Duration;

use leasehold_tests::servers::Server;
use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::clock::now;
use crate::contender::{self, Contender, LEASEHOLD, OTHERS};
use crate::raw::Raw;
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::rounds;

const SLICE: Duration = Duration::from_millis(500);
const TASKS: [usize; 2] = [64, 1000];
/// Of what the server does when the same scripts come in long pipelines.
const AT_LEAST: f64 = 0.7;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("2. pairs per second of many tasks, each with its own lock, one client");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let servers = [Server::start()];
    let contenders = runtime.block_on(Contender::all(&servers))?;
    for tasks in TASKS {
        // The pipeline does not depend on the tasks, and takes its time.
        let raw = match Some(&tasks) == TASKS.last() {
            true => Some(runtime.block_on(Raw::record())?),
            false => None,
        };
        let rates = rounds(contender::COUNT + usize::from(raw.is_some()), |which| {
            match (contenders.get(which), &raw) {
                (Some(contender), _) => slice(&runtime, contender, which, tasks),
                (None, Some(raw)) => raw.pairs_per_second(),
                (None, None) => Err("there are no more contenders".into()),
            }
        })?;
        let mut line = |what: &str, other: usize, goal| {
            let (ours, theirs) = (&rates[LEASEHOLD], &rates[other]);
            let what = format!("{tasks} tasks; {what}");
            report.line(&Line { what: &what, unit: Unit::PerSecond, ours, theirs, goal });
        };
        for (other, name) in OTHERS {
            line(name, other, Goal::None);
        }
        if raw.is_some() {
            let goal = Goal::Ratio(Target::AtLeast(AT_LEAST));
            line("same scripts, redis-benchmark", contender::COUNT, goal);
        }
    }
    Ok(())
}

fn slice(
    runtime: &Runtime,
    contender: &Contender,
    which: usize,
    tasks: usize,
) -> Result<f64, Failure> {
    let start = now();
    let end = start + SLICE;
    let tasks: Vec<_> = (0..tasks)
        .map(|task| {
            let mut contender = contender.clone();
            runtime.spawn(async move {
                let name = format!("many-{which}-{task}");
                let mut pairs = 0;
                while now() < end {
                    contender.pair(&name).await?;
                    pairs += 1;
                }
                Ok::<u32, Failure>(pairs)
            })
        })
        .collect();
    let mut pairs = 0;
    for task in tasks {
        pairs += runtime.block_on(task)??;
    }
    Ok(f64::from(pairs) / now().since(start).as_secs_f64())
}
