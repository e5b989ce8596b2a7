//! 3: a lock handed over between waiters of several processes, beside a token
//! that is passed by the server.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leasehold_tests::servers::Server;

use crate::Failure;
use crate::calls::Calls;
use crate::clock::now;
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::rounds;
use crate::turns::{Turn, Turns};
use crate::worker::{Job, WORD, Who};

/// Processes and waiters in each.
const CROWDS: [(usize, usize); 3] = [(2, 1), (4, 2), (4, 8)];
/// The hold, and how long a slice must be to give everybody several turns.
const HOLDS: [(Duration, Duration); 2] = [
    (Duration::ZERO, Duration::from_millis(350)),
    (Duration::from_millis(1), Duration::from_millis(700)),
];
/// What processes need to start and connect.
const HEAD_START: Duration = Duration::from_millis(400);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report
        .section("3. hand-over between processes, release called to acquire returned; BLPOP token");
    let servers = [Server::start()];
    for (hold, span) in HOLDS {
        for (processes, waiters) in CROWDS {
            let mut names = 0..;
            let slices = rounds(2, |which| {
                let name = format!("turns-{}", names.next().unwrap_or_default());
                slice(&servers, processes, |start| Job {
                    who: [Who::Leasehold, Who::Token][which],
                    url: servers[0].url(),
                    name,
                    clients: 1,
                    waiters,
                    hold,
                    start,
                    end: start + span,
                })
            })?;
            let all = processes * waiters;
            report.section(&format!("  {all} waiters in {processes} processes, held for {hold:?}"));
            print(report, aspects(), &slices[0], &slices[1]);
        }
    }
    Ok(())
}

fn aspects() -> Vec<Aspect> {
    vec![
        ("  p50", Unit::Micros, |s| s.turns.p50, Goal::Ratio(Target::AtMost(1.3))),
        ("  p99", Unit::Micros, |s| s.turns.p99, Goal::None),
        ("  acquisitions", Unit::PerSecond, |s| s.turns.per_second, Goal::None),
        ("  Jain index", Unit::Number, |s| s.turns.jain, Goal::Own(Target::AtLeast(0.99))),
        ("  client requests each", Unit::Number, |s| s.requests, Goal::Own(Target::AtMost(3.0))),
        ("  all server commands each", Unit::Number, |s| s.commands, Goal::None),
    ]
}

/// What a slice came to.
pub(crate) struct Slice {
    pub(crate) turns: Turns,
    /// Of the servers, for each turn.
    pub(crate) requests: f64,
    pub(crate) commands: f64,
}

pub(crate) type Aspect = (&'static str, Unit, fn(&Slice) -> f64, Goal);

pub(crate) fn print(report: &mut Report, aspects: Vec<Aspect>, ours: &[Slice], theirs: &[Slice]) {
    for (what, unit, of, goal) in aspects {
        let [ours, theirs] = [ours, theirs].map(|all| all.iter().map(of).collect::<Vec<_>>());
        report.line(&Line { what, unit, ours: &ours, theirs: &theirs, goal });
    }
}

/// `servers`: whose commands count.
pub(crate) fn slice(
    servers: &[Server],
    processes: usize,
    job: impl FnOnce(leasehold::time::Instant) -> Job,
) -> Result<Slice, Failure> {
    let job = job(now() + HEAD_START);
    if job.who == Who::Token {
        servers[0].command(&["RPUSH", &job.name, "token"]);
    }
    let before = Calls::of_all(servers);
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
        let first = number * job.clients * job.waiters;
        for line in String::from_utf8(output.stdout)?.lines() {
            turns.push(Turn::parse(line, first)?);
        }
    }
    let calls = Calls::of_all(servers).since(&before);
    for server in servers {
        server.command(&["DEL", &job.name]);
    }
    let turns = Turns::of(turns, processes * job.clients * job.waiters);
    let each = |number: u64| number as f64 / turns.count as f64;
    let (requests, commands) = (each(calls.requests()), each(calls.all()));
    Ok(Slice { turns, requests, commands })
}
