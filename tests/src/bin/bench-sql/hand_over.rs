//! 4: a lock handed over between processes, beside a raw notification, and a lock of the server.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Failure;
use crate::clock::now;
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::{Kind, Rig};
use crate::rounds::rounds;
use crate::turns::{Turn, Turns};
use crate::worker::{Job, WORD, Who};

/// Processes and waiters in each.
const CROWDS: [(usize, usize); 2] = [(2, 1), (4, 2)];
const HOLDS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(1)];
/// What processes need to start and connect.
const HEAD_START: Duration = Duration::from_millis(700);

pub(crate) fn run(kind: Kind, report: &mut Report) -> Result<(), Failure> {
    report.section("4. hand-over between processes, release called to acquire returned");
    let (whos, span): (&[_], _) = match kind {
        Kind::Postgres => (
            &[
                (Who::Leasehold, ""),
                (Who::Token, "raw NOTIFY"),
                (Who::Row, "two bare updates and NOTIFY"),
                (Who::Advisory, "lock of the server"),
            ],
            Duration::from_millis(400),
        ),
        // Nobody is woken: the next one asks.
        Kind::Mysql => (
            &[(Who::Leasehold, ""), (Who::Advisory, "lock of the server")],
            Duration::from_millis(1500),
        ),
    };
    for setup in kind.setups() {
        let rig = setup.start();
        // The table is there.
        drop(leasehold::block_on(leasehold::connect(&rig.url()))?);
        let mut names = 0..;
        for (hold, crowd) in HOLDS.into_iter().flat_map(|hold| CROWDS.map(|crowd| (hold, crowd))) {
            let waiters = crowd.0 * crowd.1;
            let title = format!("{waiters} waiters in {} processes, held for {hold:?}", crowd.0);
            report.section(&format!("  {setup}, {title}"));
            let slices = rounds(whos.len(), |which| {
                let name = format!("turns_{}", names.next().unwrap_or_default());
                slice(&rig, whos[which].0, name, crowd, hold, span)
            })?;
            print(report, whos, &slices);
        }
    }
    Ok(())
}

fn print(report: &mut Report, whos: &[(Who, &str)], slices: &[Vec<Turns>]) {
    for (quality, of) in [("p50", (|turns| turns.p50) as fn(&Turns) -> f64), ("p99", |t| t.p99)] {
        for (other, (who, name)) in whos.iter().enumerate().skip(1) {
            let [ours, theirs] =
                [&slices[0], &slices[other]].map(|all| all.iter().map(of).collect::<Vec<_>>());
            report.line(&Line {
                what: &format!("  {quality}; {name}"),
                unit: Unit::Micros,
                ours: &ours,
                theirs: &theirs,
                goal: match (who, quality) {
                    (Who::Token, "p50") => Goal::Ratio(Target::AtMost(2.0)),
                    _ => Goal::None,
                },
            });
        }
    }
    let fair: Vec<f64> = slices[0].iter().map(|turns| turns.jain).collect();
    let unit = Unit::Number;
    report.line(&Line { what: "  Jain index", unit, ours: &fair, theirs: &[], goal: Goal::None });
}

fn slice(
    rig: &Rig,
    who: Who,
    name: String,
    (processes, waiters): (usize, usize),
    hold: Duration,
    span: Duration,
) -> Result<Turns, Failure> {
    let (start, all) = (now() + HEAD_START, processes * waiters);
    let end = start + span;
    let job = Job { who, url: rig.url(), name, waiters, first: 0, all, hold, start, end };
    let start = |first: usize| {
        let job = Job { first, ..job.clone() };
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(WORD).args(job.words()).stdout(Stdio::piped()).spawn()
    };
    let firsts = (0..all).step_by(waiters);
    let children: Vec<(usize, Child)> =
        firsts.map(|first| Ok((first, start(first)?))).collect::<Result<_, std::io::Error>>()?;
    let mut turns = Vec::new();
    for (first, child) in children {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("a worker failed: {}", output.status).into());
        }
        for line in String::from_utf8(output.stdout)?.lines() {
            turns.push(Turn::parse(line, first)?);
        }
    }
    Ok(Turns::of(turns, all))
}
