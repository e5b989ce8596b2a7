//! `cargo xtask bench local`: the backends that need no server, beside a bare
//! SQLite loop in the same run. Times are this machine's; the ratios travel.
//! `bench crowd [redis]`, `bench waiters` and `bench dead [redlock]`: what many
//! leases, many waiters and many dead waiters cost the others.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::{Clock, SystemClock};
use leasehold::{Client, Lease};
use rusqlite::Connection;

#[path = "bench/crowd.rs"]
mod crowd;
#[path = "bench/dead.rs"]
mod dead;

type Failure = Box<dyn std::error::Error>;

const ROUNDS: usize = 9;
const PAIRS: u32 = 2000;
const TURNS: usize = 400;
/// Longer than a hand-over takes, so that the next waiter stands in the line.
const HELD: Duration = Duration::from_millis(2);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["crowd"] => return crowd::beside_leases(false).and_then(|()| crowd::beside_waiters()),
        ["crowd", "redis"] => return crowd::beside_leases(true),
        ["waiters"] => return crowd::beside_waiters(),
        ["dead", ref nodes @ ..] => return dead::in_line(nodes == ["redlock"]),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    if let [database, turns] = &arguments[..] {
        return runtime.block_on(take_turns(database, turns.parse()?));
    }
    let dir = tempfile::tempdir()?;
    runtime.block_on(uncontended(dir.path()))?;
    runtime.block_on(handed_over_inside(dir.path()))?;
    handed_over_between(dir.path())?;
    crowd::beside_leases(false)?;
    crowd::beside_waiters()
}

fn since(start: leasehold::time::Instant) -> Duration {
    SystemClock.now().since(start)
}

/// Acquire and release, nobody else there; one round of each in turn.
async fn uncontended(dir: &Path) -> Result<(), Failure> {
    let memory = leasehold::connect("memory:").await?;
    let sqlite = leasehold::connect(&format!("sqlite:{}/pair.db", dir.display())).await?;
    let bare = bare(&dir.join("bare.db"))?;
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..=ROUNDS {
        let times = [two_transactions(&bare)?, pair(&memory).await?, pair(&sqlite).await?];
        rounds.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
    }
    // The first round warms up.
    let [floor, memory, sqlite] = rounds.map(|mut all| median(all.split_off(1)));
    println!("uncontended acquire + release, median of {ROUNDS} rounds of {PAIRS}");
    println!("  memory                             {memory:>10.1?}");
    println!("  sqlite                             {sqlite:>10.1?}");
    println!("  floor: 2 bare SQLite transactions  {floor:>10.1?}");
    println!(
        "  sqlite / floor                     {:>10.2}",
        sqlite.as_secs_f64() / floor.as_secs_f64()
    );
    Ok(())
}

/// As `leasehold` opens its database, but with SQLite's own checkpoints.
fn bare(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         CREATE TABLE floor (id INTEGER PRIMARY KEY, value INTEGER);
         INSERT INTO floor VALUES (1, 0)",
    )?;
    Ok(db)
}

fn two_transactions(db: &Connection) -> rusqlite::Result<Duration> {
    let start = SystemClock.now();
    for _ in 0..2 * PAIRS {
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        db.prepare_cached("UPDATE floor SET value = value + 1 WHERE id = 1")?.execute([])?;
        db.prepare_cached("COMMIT")?.execute([])?;
    }
    Ok(since(start) / PAIRS)
}

async fn pair(client: &Client) -> Result<Duration, leasehold::Error> {
    let lock = client.lock("pair");
    let start = SystemClock.now();
    for _ in 0..PAIRS {
        lock.acquire().await?.release().await?;
    }
    Ok(since(start) / PAIRS)
}

/// From the call of release to the next holder's return, 8 tasks of one client.
async fn handed_over_inside(dir: &Path) -> Result<(), Failure> {
    println!("hand-over between 8 tasks of one process, {TURNS} turns each");
    for url in ["memory:".to_owned(), format!("sqlite:{}/inside.db", dir.display())] {
        let client = leasehold::connect(&url).await?;
        let backend = client.backend().split(':').next().unwrap_or_default().to_owned();
        let mut turns = hand_overs(&client, 8, TURNS)?;
        print_latencies(&backend, &mut turns);
    }
    Ok(())
}

/// The turns of so many tasks, each on a thread of its own.
fn hand_overs(client: &Client, tasks: usize, count: usize) -> Result<Vec<Turn>, Failure> {
    let task = |_| {
        let client = client.clone();
        std::thread::spawn(move || {
            let built = tokio::runtime::Builder::new_current_thread().build()?;
            Ok::<_, std::io::Error>(built.block_on(turns(&client, count)))
        })
    };
    let tasks: Vec<_> = (0..tasks).map(task).collect();
    let mut turns = Vec::new();
    for task in tasks {
        turns.extend(task.join().map_err(|_| "a task panicked")???);
    }
    Ok(turns)
}

/// The same between processes, which share nothing but the file.
fn handed_over_between(dir: &Path) -> Result<(), Failure> {
    for count in [2, 8] {
        println!("hand-over between {count} processes, {TURNS} turns each");
        let database: PathBuf = dir.join(format!("between-{count}.db"));
        let start = || {
            Command::new(std::env::current_exe()?)
                .arg(&database)
                .arg(TURNS.to_string())
                .stdout(Stdio::piped())
                .spawn()
        };
        let children = (0..count).map(|_| start()).collect::<std::io::Result<Vec<_>>>()?;
        let mut turns = Vec::new();
        for child in children {
            let said = String::from_utf8(child.wait_with_output()?.stdout)?;
            turns.extend(said.lines().map(Turn::parse).collect::<Result<Vec<_>, _>>()?);
        }
        print_latencies("sqlite", &mut turns);
    }
    Ok(())
}

/// One process of the above.
async fn take_turns(database: &str, count: usize) -> Result<(), Failure> {
    let client = leasehold::connect(&format!("sqlite:{database}")).await?;
    for turn in turns(&client, count).await? {
        println!("{} {} {}", turn.fence, turn.acquired, turn.releasing);
    }
    client.close().await;
    Ok(())
}

struct Turn {
    fence: u64,
    acquired: u64,
    releasing: u64,
}

impl Turn {
    fn parse(line: &str) -> Result<Self, Failure> {
        let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [fence, acquired, releasing] = numbers[..] else { return Err("a broken turn".into()) };
        Ok(Self { fence, acquired, releasing })
    }
}

async fn turns(client: &Client, count: usize) -> Result<Vec<Turn>, leasehold::Error> {
    let clock = ThreadRuntime::start()?;
    let lock = client.lock("turns");
    let mut turns = Vec::with_capacity(count);
    for _ in 0..count {
        let lease: Lease = lock.acquire().await?;
        let acquired = SystemClock.now().as_nanos();
        clock.sleep(HELD).await;
        let releasing = SystemClock.now().as_nanos();
        lease.release().await?;
        turns.push(Turn { fence: lease.fence(), acquired, releasing });
    }
    Ok(turns)
}

fn print_latencies(what: &str, turns: &mut [Turn]) {
    let all = hand_over_times(turns);
    let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize];
    println!("  {what:<8} p50 {:>9.1?}   p99 {:>9.1?}   max {:>9.1?}", at(0.5), at(0.99), at(1.0));
}

/// The shortest first.
fn hand_over_times(turns: &mut [Turn]) -> Vec<Duration> {
    turns.sort_by_key(|turn| turn.fence);
    let hand_over =
        |two: &[Turn]| Duration::from_nanos(two[1].acquired.saturating_sub(two[0].releasing));
    let mut all: Vec<Duration> = turns.windows(2).map(hand_over).collect();
    all.sort();
    all
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}
