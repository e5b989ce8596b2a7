//! A process that takes locks, and says what it holds.

use std::io::Write;
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::{Clock, Instant, SystemClock};
use leasehold::{Client, Kind, Lease};

/// The locks that all fight over.
pub(super) const NAMES: [&str; 2] = ["a", "{b}c"];

const TASKS: usize = 2;
const LOOK: Duration = Duration::from_millis(5);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Take locks until the process is killed; fails on errors that no weather excuses.
pub fn work(url: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let client = runtime.block_on(connect(url))?;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                runtime.block_on(take_locks(&client))
            })
        })
        .collect();
    for task in tasks {
        task.join().map_err(|_| "a task panicked")??;
    }
    Ok(())
}

async fn connect(url: &str) -> Result<Client, Failure> {
    loop {
        match leasehold::connect(url).await {
            Err(e) if e.kind() == Kind::Unavailable => {}
            result => return Ok(result?),
        }
    }
}

async fn take_locks(client: &Client) -> Result<(), Failure> {
    let clock = ThreadRuntime::start()?;
    let mut random = fastrand::Rng::with_seed(clock.random() as u64);
    loop {
        let name = NAMES[random.usize(..NAMES.len())];
        let lasting = random.u32(..3);
        let lock = client
            .lock(name)
            .ttl(Duration::from_millis(random.u64(300..1000)))
            .wait(Duration::from_millis(random.u64(50..5000)))
            .auto_renew(lasting != 1);
        let lease = match lock.acquire().await {
            Ok(lease) => lease,
            Err(e) if matches!(e.kind(), Kind::Timeout | Kind::Unavailable) => continue,
            Err(e) => return Err(e.into()),
        };
        say(&format!("held {} {} {name}", lease.fence(), SystemClock.now().as_nanos()));
        let hold = match lasting {
            0 => Duration::from_millis(random.u64(..20)),
            // As long as it lasts: to the end, if it is not renewed.
            1 => Duration::from_secs(5),
            _ => Duration::from_millis(random.u64(100..1500)),
        };
        let deadline = hold_for(&lease, hold, &clock).await;
        if !lease.is_valid() && random.bool() {
            // Work that does not stop when it is told to.
            let more = deadline.since(SystemClock.now()) + Duration::from_millis(random.u64(..50));
            clock.sleep(more).await;
        }
        say(&format!("over {} {}", lease.fence(), SystemClock.now().as_nanos()));
        // Of a lost lease too: that must not hurt whoever holds the lock now.
        match random.bool() {
            true => drop(lease),
            false => drop(lease.release().await),
        }
    }
}

/// Answers the last deadline that was seen.
async fn hold_for(lease: &Lease, hold: Duration, clock: &ThreadRuntime) -> Instant {
    let start = SystemClock.now();
    let mut deadline = start;
    loop {
        let now = SystemClock.now();
        let remaining = lease.remaining();
        if !lease.is_valid() {
            return deadline;
        }
        deadline = now + remaining;
        say(&format!("valid {} {} {}", lease.fence(), now.as_nanos(), deadline.as_nanos()));
        if now.since(start) >= hold {
            return deadline;
        }
        clock.sleep(LOOK).await;
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens when the run is over.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
