//! 3: clients of several processes contend for one lock on three nodes.

use std::time::Duration;

use leasehold_tests::servers::Server;

use super::servers;
use super::votes::{Votes, Watch};
use crate::Failure;
use crate::contender::one_url;
use crate::hand_over::{Aspect, Slice, print, slice};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::rounds;
use crate::worker::{Job, Who};

/// Who contends.
#[derive(Clone, Copy)]
struct Crowd {
    processes: usize,
    /// In each process.
    clients: usize,
    /// Of each client.
    waiters: usize,
    /// Whether it is few enough for a client that polls.
    with_rslock: bool,
}

const CROWDS: [Crowd; 4] = [
    Crowd { processes: 2, clients: 1, waiters: 1, with_rslock: true },
    Crowd { processes: 4, clients: 2, waiters: 1, with_rslock: true },
    Crowd { processes: 4, clients: 8, waiters: 1, with_rslock: false },
    Crowd { processes: 4, clients: 1, waiters: 8, with_rslock: false },
];
/// The hold, and how long a slice must be to give everybody several turns.
const HOLDS: [(Duration, Duration); 2] = [
    (Duration::ZERO, Duration::from_millis(400)),
    (Duration::from_millis(1), Duration::from_millis(700)),
];
/// What clients need to connect to all nodes, more than to one.
const HEAD_START: Duration = Duration::from_millis(700);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("3. one lock on 3 nodes, taken again at once by who released it; rslock");
    let servers = servers(3);
    for (hold, span) in HOLDS {
        for crowd in CROWDS {
            let Crowd { processes, clients, waiters, with_rslock } = crowd;
            report.section(&format!(
                "  {processes} processes, {clients} clients in each, {waiters} waiters of each, \
                 held for {hold:?}"
            ));
            let mut names = 0..;
            let mut one = |who| {
                let name = format!("crowd-{}", names.next().unwrap_or_default());
                let job = Job { who, name, hold, ..crowd.job(&servers) };
                slice(&servers, processes, |start| Job {
                    start: start + HEAD_START,
                    end: start + HEAD_START + span,
                    ..job
                })
            };
            let whos = [Who::Leasehold, Who::Rslock];
            let mut slices = rounds(1 + usize::from(with_rslock), |which| one(whos[which]))?;
            slices.resize_with(whos.len(), Vec::new);
            print(report, aspects(), &slices[0], &slices[1]);
            // Apart, because servers that are watched are slow.
            let watch = Watch::begin(&servers)?;
            one(Who::Leasehold)?;
            print_votes(report, &watch.end(&servers)?);
        }
    }
    Ok(())
}

impl Crowd {
    /// What the processes have in common, whenever they do it.
    fn job(self, servers: &[Server]) -> Job {
        let never = leasehold::time::Instant::from_nanos(0);
        Job {
            who: Who::Leasehold,
            url: one_url(servers),
            name: String::new(),
            clients: self.clients,
            waiters: self.waiters,
            hold: Duration::ZERO,
            start: never,
            end: never,
        }
    }
}

fn aspects() -> Vec<Aspect> {
    let requests: fn(&Slice) -> f64 = |slice| slice.requests;
    vec![
        ("  p50", Unit::Micros, |s| s.turns.p50, Goal::None),
        ("  p99", Unit::Micros, |s| s.turns.p99, Goal::None),
        ("  acquisitions", Unit::PerSecond, |s| s.turns.per_second, Goal::None),
        (
            "  longest wait in fair turns",
            Unit::Number,
            |s| s.turns.longest,
            Goal::Own(Target::AtMost(3.0)),
        ),
        ("  Jain index", Unit::Number, |s| s.turns.jain, Goal::None),
        ("  scripts run by all nodes, each", Unit::Number, requests, Goal::None),
    ]
}

fn print_votes(report: &mut Report, votes: &Votes) {
    let won = Goal::Own(Target::AtLeast(0.9));
    for (what, value, goal) in [
        ("  won of the rounds that got a vote", votes.share_won(), won),
        ("  rounds of votes each", votes.rounds_each(), Goal::None),
    ] {
        report.line(&Line { what, unit: Unit::Number, ours: &[value], theirs: &[], goal });
    }
}
