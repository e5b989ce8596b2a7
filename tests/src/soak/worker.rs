//! A process that takes locks, and says what it holds.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::{Clock, Instant, SystemClock};
use leasehold::{Client, Kind, Lease, block_on};
use tokio::runtime::Builder;

use super::registers_in;
use crate::register::{Content, Register};

/// The locks that all fight over.
pub(super) const NAMES: [&str; 2] = ["a", "{b}c"];

const TASKS: usize = 2;
const LOOK: Duration = Duration::from_millis(5);

/// How long leases last.
#[derive(Clone, Copy)]
struct Scale {
    /// In milliseconds, the longest ttl that is asked for.
    longest: u64,
    /// What a lease may last whose ttl is shorter.
    at_least: Duration,
}

const REDIS: Scale = Scale { longest: 1000, at_least: Duration::ZERO };

/// It counts whole seconds; and a lease that is not renewed may begin with two.
const ETCD: Scale = Scale { longest: 3000, at_least: Duration::from_secs(2) };

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Take locks, and use the registers that they protect, until the process is
/// killed; fails on errors that no weather excuses.
pub fn work(url: &str, registers: &Path) -> Result<(), Failure> {
    let client = block_on(connect(url))?;
    let scale = if url.starts_with("etcd") { ETCD } else { REDIS };
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let client = client.clone();
            let registers = registers_in(registers);
            let registers: Vec<_> = registers.iter().map(|path| Register::at(path)).collect();
            std::thread::spawn(move || {
                // Both kinds of those who wait read what comes.
                let work = take_locks(&client, &registers, scale);
                match task % 2 {
                    0 => block_on(work),
                    _ => Builder::new_current_thread().enable_io().build()?.block_on(work),
                }
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

async fn take_locks(client: &Client, registers: &[Register], scale: Scale) -> Result<(), Failure> {
    let clock = ThreadRuntime::start()?;
    let mut random = fastrand::Rng::with_seed(clock.random() as u64);
    loop {
        let at = random.usize(..NAMES.len());
        let (name, lasting) = (NAMES[at], random.u32(..3));
        let ttl = Duration::from_millis(random.u64(400..scale.longest));
        let lock = client
            .lock(name)
            .ttl(ttl)
            .wait(Duration::from_millis(random.u64(50..5000)))
            .auto_renew(lasting != 1);
        let asked = SystemClock.now();
        let lease = match lock.acquire().await {
            Ok(lease) => lease,
            Err(e) if matches!(e.kind(), Kind::Timeout | Kind::Unavailable) => continue,
            Err(e) => return Err(e.into()),
        };
        // No lease lasts longer than this from when its grant was asked for.
        let (now, remaining, ttl) = (SystemClock.now(), lease.remaining(), lease.ttl());
        let ttl = ttl.max(scale.at_least);
        let earliest = if remaining.is_zero() { asked } else { asked.max(now + remaining - ttl) };
        let hold = Hold::begin(lease, &registers[at], earliest, name);
        let read = hold.read()?;
        let span = match lasting {
            0 => Duration::from_millis(random.u64(..20)),
            // As long as it lasts: to the end, if it is not renewed.
            1 => Duration::from_secs(5),
            _ => Duration::from_millis(random.u64(100..1500)),
        };
        let deadline = hold.last_for(span, &clock).await;
        if !hold.lease.is_valid() && random.bool() {
            // Work that does not stop when it is told to.
            let longest = if random.bool() { Duration::from_millis(50) } else { ttl };
            let more = longest.mul_f64(random.f64());
            clock.sleep(deadline.since(SystemClock.now()) + more).await;
        }
        if let Some(content) = read {
            hold.write(&content.plus_one(0))?;
        }
        hold.say("over", "");
        // Of a lost lease too: that must not hurt whoever holds the lock now.
        match random.bool() {
            true => drop(hold.lease),
            false => drop(hold.lease.release().await),
        }
    }
}

/// A lease, and what is done under it.
struct Hold<'a> {
    /// What it is called in this process.
    number: u64,
    lease: Lease,
    register: &'a Register,
}

impl<'a> Hold<'a> {
    fn begin(lease: Lease, register: &'a Register, earliest: Instant, name: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let hold = Self { number, lease, register };
        hold.say("held", &format!("{} {} {name}", earliest.as_nanos(), hold.lease.fence()));
        hold
    }

    /// Answers the last deadline that was seen.
    async fn last_for(&self, span: Duration, clock: &ThreadRuntime) -> Instant {
        let start = SystemClock.now();
        let mut deadline = start;
        loop {
            let now = SystemClock.now();
            let remaining = self.lease.remaining();
            if !self.lease.is_valid() {
                return deadline;
            }
            deadline = now + remaining;
            self.say_at("valid", now, &deadline.as_nanos().to_string());
            if now.since(start) >= span {
                return deadline;
            }
            clock.sleep(LOOK).await;
        }
    }

    fn read(&self) -> Result<Option<Content>, Failure> {
        let content = self.register.read(self.lease.fence(), std::process::id())?;
        self.accepted(content.is_some());
        Ok(content)
    }

    fn write(&self, content: &Content) -> Result<(), Failure> {
        self.accepted(self.register.write(self.lease.fence(), content)?);
        Ok(())
    }

    fn accepted(&self, accepted: bool) {
        // Only somebody who was before us can have been there, while it is ours.
        if !accepted && self.lease.is_valid() {
            self.say("refused", "");
        }
    }

    fn say(&self, what: &str, more: &str) {
        self.say_at(what, SystemClock.now(), more);
    }

    fn say_at(&self, what: &str, time: Instant, more: &str) {
        say(&format!("{what} {} {} {more}", self.number, time.as_nanos()));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens when the run is over.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
