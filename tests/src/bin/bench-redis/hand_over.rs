//! 3: a lock handed over between waiters of several processes, beside a token
//! that is passed by the server.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leasehold_tests::servers::Server;

use crate::Failure;
use crate::calls::Calls;
use crate::clock::{micros, now};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::{quantile, rounds};
use crate::worker::{Job, Turn, WORD};

/// Processes and waiters in each.
const CROWDS: [(usize, usize); 3] = [(2, 1), (4, 2), (4, 8)];
/// The hold, and how long a slice must be to give everybody several turns.
const HOLDS: [(Duration, Duration); 2] = [
    (Duration::ZERO, Duration::from_millis(350)),
    (Duration::from_millis(1), Duration::from_millis(700)),
];
/// What processes need to start and connect.
const HEAD_START: Duration = Duration::from_millis(120);
pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report
        .section("3. hand-over between processes, release called to acquire returned; BLPOP token");
    let server = Server::start();
    for (hold, span) in HOLDS {
        for (processes, waiters) in CROWDS {
            let mut names = 0..;
            let slices = rounds(2, |which| {
                let name = format!("turns-{}", names.next().unwrap_or_default());
                slice(&server, processes, |start| Job {
                    leasehold: which == 0,
                    url: server.url(),
                    name,
                    waiters,
                    hold,
                    start,
                    end: start + span,
                })
            })?;
            let all = processes * waiters;
            report.section(&format!("  {all} waiters in {processes} processes, held for {hold:?}"));
            print(report, &slices[0], &slices[1]);
        }
    }
    Ok(())
}

/// What a slice came to.
struct Slice {
    p50: f64,
    p99: f64,
    per_second: f64,
    jain: f64,
    requests: f64,
    commands: f64,
}

type Aspect = (&'static str, Unit, fn(&Slice) -> f64, Goal);

fn print(report: &mut Report, leasehold: &[Slice], token: &[Slice]) {
    let aspects: [Aspect; 6] = [
        ("  p50", Unit::Micros, |s| s.p50, Goal::Ratio(Target::AtMost(1.3))),
        ("  p99", Unit::Micros, |s| s.p99, Goal::None),
        ("  acquisitions", Unit::PerSecond, |s| s.per_second, Goal::None),
        ("  Jain index", Unit::Number, |s| s.jain, Goal::Own(Target::AtLeast(0.99))),
        ("  client requests each", Unit::Number, |s| s.requests, Goal::Own(Target::AtMost(3.0))),
        ("  all server commands each", Unit::Number, |s| s.commands, Goal::None),
    ];
    for (what, unit, of, goal) in aspects {
        let [ours, theirs] = [leasehold, token].map(|all| all.iter().map(of).collect::<Vec<_>>());
        report.line(&Line { what, unit, ours: &ours, theirs: &theirs, goal });
    }
}

fn slice(
    server: &Server,
    processes: usize,
    job: impl FnOnce(leasehold::time::Instant) -> Job,
) -> Result<Slice, Failure> {
    let job = job(now() + HEAD_START);
    if !job.leasehold {
        server.command(&["RPUSH", &job.name, "token"]);
    }
    let before = Calls::of(server);
    let children: Vec<Child> = (0..processes)
        .map(|_| {
            let program = std::env::current_exe()?;
            let mut command = Command::new(program);
            command.arg(WORD).args(job.words()).stdout(Stdio::piped()).spawn()
        })
        .collect::<Result<_, _>>()?;
    let mut turns = Vec::new();
    for (number, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("a worker failed: {}", output.status).into());
        }
        for line in String::from_utf8(output.stdout)?.lines() {
            let turn = Turn::parse(line)?;
            turns.push(Turn { waiter: number * job.waiters + turn.waiter, ..turn });
        }
    }
    let calls = Calls::of(server).since(&before);
    server.command(&["DEL", &job.name]);
    Ok(evaluate(turns, processes * job.waiters, &calls))
}

fn evaluate(mut turns: Vec<Turn>, waiters: usize, calls: &Calls) -> Slice {
    turns.sort_by_key(|turn| turn.acquired);
    let hand_over =
        |two: &[Turn]| Duration::from_nanos(two[1].acquired.saturating_sub(two[0].releasing));
    let times: Vec<f64> = turns.windows(2).map(|two| micros(hand_over(two))).collect();
    let span = match (turns.first(), turns.last()) {
        (Some(first), Some(last)) => Duration::from_nanos(last.acquired - first.acquired),
        _ => Duration::ZERO,
    };
    let mut counts = vec![0.0; waiters];
    turns.iter().for_each(|turn| counts[turn.waiter] += 1.0);
    let each = |number: u64| number as f64 / turns.len() as f64;
    Slice {
        p50: quantile(times.clone(), 0.5),
        p99: quantile(times.clone(), 0.99),
        per_second: times.len() as f64 / span.as_secs_f64(),
        jain: jain(&counts),
        requests: each(calls.requests()),
        commands: each(calls.all()),
    }
}

/// 1 when all have the same, 1/n when one has everything.
fn jain(counts: &[f64]) -> f64 {
    let sum: f64 = counts.iter().sum();
    let squares: f64 = counts.iter().map(|count| count * count).sum();
    sum * sum / (counts.len() as f64 * squares)
}
