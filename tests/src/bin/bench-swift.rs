//! `cargo xtask bench swift`: the Swift package beside the crate, on one Redis and in one
//! run. Times are this machine's; the ratios travel.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leasehold::Lock;
use leasehold::time::Instant;
use leasehold_tests::bench::clock::{micros, now, pause_until};
use leasehold_tests::bench::report::{Goal, Line, Report, Target, Unit};
use leasehold_tests::bench::rounds::{quantile, rounds};
use leasehold_tests::bench::{Failure, measure};
use leasehold_tests::servers::Server;

const SLICE: Duration = Duration::from_millis(400);
/// What processes need to start and connect.
const HEAD_START: Duration = Duration::from_millis(400);
/// Processes and waiters in each.
const CROWDS: [(usize, usize); 2] = [(2, 1), (4, 2)];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [work @ ("pair" | "turns"), url, name, ref rest @ ..] => take_part(work, url, name, rest),
        [_] => measure(&[pair, hand_over], &[]),
        _ => Err("it takes the path of its program in Swift; see `cargo xtask bench swift`".into()),
    }
}

/// The programs that are compared.
fn programs() -> Result<[PathBuf; 2], Failure> {
    let swift = std::env::args().nth(1).ok_or("the program in Swift")?;
    Ok([swift.into(), std::env::current_exe()?])
}

fn start(program: &Path, words: &[String]) -> Result<Child, Failure> {
    Ok(Command::new(program).args(words).stdout(Stdio::piped()).spawn()?)
}

fn said(child: Child) -> Result<Vec<Vec<u64>>, Failure> {
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("a program failed: {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let numbers = |line: &str| line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>();
    let lines = text.lines().filter(|line| !line.is_empty());
    Ok(lines.map(numbers).collect::<Result<_, _>>()?)
}

fn pair(report: &mut Report) -> Result<(), Failure> {
    report.section("1. acquire + release of a free lock by one task, p50 of a pair; Rust");
    let (server, programs) = (Server::start(), programs()?);
    let times = rounds(2, |which| {
        let name = format!("pair-{which}");
        let words = ["pair".to_owned(), server.url(), name, SLICE.as_nanos().to_string()];
        let said = said(start(&programs[which], &words)?)?;
        let median = said.first().and_then(|line| line.first()).ok_or("no time was measured")?;
        Ok(micros(Duration::from_nanos(*median)))
    })?;
    report.line(&Line {
        what: "Swift",
        unit: Unit::Micros,
        ours: &times[0],
        theirs: &times[1],
        goal: Goal::Ratio(Target::AtMost(2.0)),
    });
    Ok(())
}

fn hand_over(report: &mut Report) -> Result<(), Failure> {
    report.section("2. hand-over between processes, release called to acquire returned; Rust");
    let (server, programs) = (Server::start(), programs()?);
    let mut names = 0..;
    for (processes, waiters) in CROWDS {
        let times = rounds(2, |which| {
            let start_at = now() + HEAD_START;
            let name = format!("turns-{}", names.next().unwrap_or_default());
            let (from, to) = (start_at.as_nanos(), (start_at + SLICE).as_nanos());
            let words = ["turns".to_owned(), server.url(), name, waiters.to_string()];
            let words = [&words[..], &[from.to_string(), to.to_string()]].concat();
            let all = (0..processes).map(|_| start(&programs[which], &words));
            let all = all.collect::<Result<Vec<_>, _>>()?;
            let mut turns: Vec<Vec<u64>> = Vec::new();
            for child in all {
                turns.extend(said(child)?);
            }
            // Acquired, and the release called.
            turns.sort();
            let times = turns.windows(2).map(|two| two[1][0].saturating_sub(two[0][1]));
            Ok(quantile(times.map(|nanos| micros(Duration::from_nanos(nanos))).collect(), 0.5))
        })?;
        report.line(&Line {
            what: &format!("Swift, {processes} processes with {waiters} waiters each"),
            unit: Unit::Micros,
            ours: &times[0],
            theirs: &times[1],
            goal: Goal::None,
        });
    }
    Ok(())
}

/// The Rust side; it is told the same as the one in Swift, and says the same.
#[tokio::main]
async fn take_part(work: &str, url: &str, name: &str, rest: &[&str]) -> Result<(), Failure> {
    let client = leasehold::connect(url).await?;
    let (lock, runtime) = (client.lock(name), tokio::runtime::Handle::current());
    match (work, rest) {
        ("pair", [span]) => {
            let end = now() + Duration::from_nanos(span.parse()?);
            // Spawned, because that is where a program's work is done.
            println!("{:.0}", quantile(runtime.spawn(pairs(lock, end)).await??, 0.5));
        }
        ("turns", [waiters, from, to]) => {
            let (from, to) = (Instant::from_nanos(from.parse()?), Instant::from_nanos(to.parse()?));
            let tasks = (0..waiters.parse()?).map(|_| runtime.spawn(turns(lock.clone(), from, to)));
            for task in tasks.collect::<Vec<_>>() {
                print!("{}", task.await??);
            }
        }
        _ => return Err("a broken request".into()),
    }
    client.close().await;
    Ok(())
}

async fn pairs(lock: Lock, end: Instant) -> Result<Vec<f64>, leasehold::Error> {
    let (mut times, mut before) = (Vec::new(), now());
    while before < end {
        lock.acquire().await?.release().await?;
        let after = now();
        times.push(after.since(before).as_nanos() as f64);
        before = after;
    }
    Ok(times)
}

async fn turns(lock: Lock, from: Instant, to: Instant) -> Result<String, leasehold::Error> {
    pause_until(from).await;
    let mut said = String::new();
    while now() < to {
        let lease = lock.acquire().await?;
        let (acquired, releasing) = (now(), now());
        lease.release().await?;
        said += &format!("{} {}\n", acquired.as_nanos(), releasing.as_nanos());
    }
    Ok(said)
}
