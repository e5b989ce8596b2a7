//! A process that takes locks, and says what it holds.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::{Clock, Instant, SystemClock};
use leasehold::{Client, Error, Kind, Lease, Leases, Run, block_on};
use tokio::runtime::Builder;

use super::registers_in;
use crate::register::{Content, Register};

/// The locks that all fight over. Any kind of claim but a counted one is made of each.
pub(super) const NAMES: [&str; 4] = ["a", "{b}c", ONCE, COUNTED];
/// What is done once per interval,
const ONCE: &str = "once";
const EVERY: Duration = Duration::from_secs(2);
/// and what has permits.
const COUNTED: &str = "counted";
pub(super) const PERMITS: u32 = 3;

/// For each of the locks; those of the permits are the last.
pub(super) const REGISTERS: usize = NAMES.len() - 1 + PERMITS as usize;

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

/// Long enough for most to outlive the death of a leader, and not that one is frozen.
const ZOOKEEPER: Scale = Scale { longest: 2000, at_least: Duration::ZERO };

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Take locks, and use the registers that they protect, until the process is
/// killed; fails on errors that no weather excuses.
pub fn work(url: &str, registers: &Path) -> Result<(), Failure> {
    let client = block_on(connect(url))?;
    let scale = match url.split(':').next() {
        Some("etcd") => ETCD,
        Some("zookeeper") => ZOOKEEPER,
        _ => REDIS,
    };
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (client, post) = (client.clone(), registers.to_owned());
            let registers = registers_in(registers);
            let registers: Vec<_> = registers.iter().map(|path| Register::at(path)).collect();
            std::thread::spawn(move || {
                // Both kinds of those who wait read what comes.
                let work = take_locks(&client, &registers, &post, scale);
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

async fn take_locks(
    client: &Client,
    registers: &[Register],
    post: &Path,
    scale: Scale,
) -> Result<(), Failure> {
    let clock = ThreadRuntime::start()?;
    let mut random = fastrand::Rng::with_seed(clock.random() as u64);
    let mut tried = Tried { client, scale, post, can: Kinds::default() };
    loop {
        let lasting = random.u32(..3);
        let asked = SystemClock.now();
        let taken = match tried.take(&mut random, lasting).await {
            Ok(Some(taken)) => taken,
            Ok(None) => {
                clock.sleep(LOOK).await;
                continue;
            }
            Err(e) if matches!(e.kind(), Kind::Timeout | Kind::Unavailable) => continue,
            Err(e) => return Err(e.into()),
        };
        let Taken { leases, kind, register } = taken;
        let is_once = register == NAMES.len() - 2;
        let lease = leases.first();
        // No lease lasts longer than this from when its grant was asked for.
        let (now, remaining, ttl) = (SystemClock.now(), lease.remaining(), lease.ttl());
        let ttl = ttl.max(scale.at_least);
        let earliest = if remaining.is_zero() { asked } else { asked.max(now + remaining - ttl) };
        let is_shared = kind.starts_with("shared");
        let hold = Hold::begin(leases, &registers[register], earliest, &kind);
        let read = hold.read()?;
        let span = match lasting {
            0 => Duration::from_millis(random.u64(..20)),
            // As long as it lasts: to the end, if it is not renewed.
            1 => Duration::from_secs(5),
            _ => Duration::from_millis(random.u64(100..1500)),
        };
        let deadline = hold.last_for(span, &clock).await;
        if !hold.leases.is_valid() && random.bool() {
            // Work that does not stop when it is told to.
            let longest = if random.bool() { Duration::from_millis(50) } else { ttl };
            let more = longest.mul_f64(random.f64());
            clock.sleep(deadline.since(SystemClock.now()) + more).await;
        }
        // Who shares it only looks.
        if let Some(content) = read.filter(|_| !is_shared) {
            hold.write(&content.plus_one(0))?;
        }
        hold.say("over", "");
        let Hold { number, leases, .. } = hold;
        if is_once {
            leases.succeed();
            if leases.release().await.is_ok() {
                // As much as its server's clock may be faster than ours.
                let rests = earliest + (EVERY * 19 / 20).mul_f64(0.95);
                say(&format!("rests {number} {} {}", now.as_nanos(), rests.as_nanos()));
            }
        } else if tried.can.post && random.u32(..4) == 0 {
            tried.post(number, &leases, &kind).await?;
        } else if random.bool() {
            // Of a lost lease too: that must not hurt whoever holds the lock now.
            drop(leases);
        } else {
            drop(leases.release().await);
        }
    }
}

/// In which ways its backend lets locks be held, for all that is known.
struct Kinds {
    shared: bool,
    counted: bool,
    once: bool,
    post: bool,
}

impl Default for Kinds {
    fn default() -> Self {
        Self { shared: true, counted: true, once: true, post: true }
    }
}

/// What takes locks in every way that there is.
struct Tried<'a> {
    client: &'a Client,
    scale: Scale,
    /// Where tickets are, a file for each.
    post: &'a Path,
    can: Kinds,
}

struct Taken {
    leases: Leases,
    /// As the history has it.
    kind: String,
    /// Of what it protects.
    register: usize,
}

impl Tried<'_> {
    async fn take(
        &mut self,
        random: &mut fastrand::Rng,
        lasting: u32,
    ) -> Result<Option<Taken>, Error> {
        let at = random.usize(..2);
        let ttl = Duration::from_millis(random.u64(400..self.scale.longest));
        let lock = |name: &str, random: &mut fastrand::Rng| {
            let wait = Duration::from_millis(random.u64(50..5000));
            self.client.lock(name).ttl(ttl).wait(wait).auto_renew(lasting != 1)
        };
        let (taken, can) = match random.u32(..10) {
            0 if self.can.counted => {
                let taken = lock(COUNTED, random).permits(PERMITS).acquire().await;
                (taken.map(|lease| counted(lease).into()), &mut self.can.counted)
            }
            1 | 2 if self.can.shared => {
                let taken = lock(NAMES[at], random).shared().acquire().await;
                (taken.map(|lease| Taken::new(lease, "shared", at).into()), &mut self.can.shared)
            }
            3 if self.can.once => {
                let begun = self.client.once(ONCE).every(EVERY).ttl(ttl).begin().await;
                let ran = |run| match run {
                    Run::Ran(leases) => {
                        Some(Taken { leases, kind: "alone".into(), register: NAMES.len() - 2 })
                    }
                    Run::Skipped { .. } => None,
                };
                (begun.map(ran), &mut self.can.once)
            }
            4 if self.can.post => return self.adopt(random).await,
            _ => {
                let lease = lock(NAMES[at], random).acquire().await?;
                return Ok(Some(Taken::new(lease, "alone", at)));
            }
        };
        match taken {
            Err(e) if e.kind() == Kind::Unsupported => {
                *can = false;
                Ok(None)
            }
            taken => taken,
        }
    }

    /// Hand a lease on, to whoever finds it.
    async fn post(&mut self, number: u64, leases: &Leases, kind: &str) -> Result<(), Failure> {
        match leases.into_ticket().await {
            Ok(ticket) => {
                let path = self.post.join(format!("ticket-{}-{number}", std::process::id()));
                let kind = kind.split(' ').next().unwrap_or_default();
                std::fs::write(path, format!("{kind} {}", ticket.as_str()))?;
            }
            Err(e) if e.kind() == Kind::Unsupported => self.can.post = false,
            // It is given back, or was lost.
            Err(_) => {}
        }
        Ok(())
    }

    /// Go on with a lease that somebody has handed on; others may try that, too.
    async fn adopt(&self, random: &mut fastrand::Rng) -> Result<Option<Taken>, Error> {
        let Ok(files) = std::fs::read_dir(self.post) else { return Ok(None) };
        let is_ticket = |path: &PathBuf| {
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ticket"))
        };
        let tickets: Vec<PathBuf> =
            files.filter_map(|file| Some(file.ok()?.path())).filter(is_ticket).collect();
        let Some(path) = random.choice(&tickets) else { return Ok(None) };
        let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
        // Else it is not yet written.
        let Some((kind, ticket)) = text.split_once(' ') else { return Ok(None) };
        let adopted = self.client.adopt(ticket).await;
        drop(std::fs::remove_file(path));
        match adopted {
            Ok(lease) => {
                let at = NAMES.iter().position(|name| *name == lease.name());
                let permit = lease.slot().map(|slot| NAMES.len() - 1 + slot as usize);
                let register = permit.or(at).unwrap_or_default();
                Ok(Some(Taken::new(lease, &format!("{kind} adopted"), register)))
            }
            // It was used or is over, or not wholly written.
            Err(e) if matches!(e.kind(), Kind::Lost | Kind::Invalid) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn counted(lease: Lease) -> Taken {
    let slot = lease.slot().unwrap_or(PERMITS);
    Taken::new(lease, &slot.to_string(), NAMES.len() - 1 + slot as usize)
}

impl Taken {
    fn new(lease: Lease, kind: &str, register: usize) -> Self {
        Self { leases: lease.into(), kind: kind.to_owned(), register }
    }
}

/// A lease, and what is done under it.
struct Hold<'a> {
    /// What it is called in this process.
    number: u64,
    leases: Leases,
    register: &'a Register,
}

impl<'a> Hold<'a> {
    fn begin(leases: Leases, register: &'a Register, earliest: Instant, kind: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let hold = Self { number, leases, register };
        let (fence, name) = (hold.leases.first().fence(), hold.leases.first().name());
        hold.say("held", &format!("{} {fence} {name} {kind}", earliest.as_nanos()));
        hold
    }

    /// Answers the last deadline that was seen.
    async fn last_for(&self, span: Duration, clock: &ThreadRuntime) -> Instant {
        let start = SystemClock.now();
        let mut deadline = start;
        loop {
            let now = SystemClock.now();
            let remaining = self.leases.remaining();
            if !self.leases.is_valid() {
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
        let content = self.register.read(self.leases.first().fence(), std::process::id())?;
        self.accepted(content.is_some());
        Ok(content)
    }

    fn write(&self, content: &Content) -> Result<(), Failure> {
        self.accepted(self.register.write(self.leases.first().fence(), content)?);
        Ok(())
    }

    fn accepted(&self, accepted: bool) {
        // Only somebody who was before us can have been there, while it is ours.
        if !accepted && self.leases.is_valid() {
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
