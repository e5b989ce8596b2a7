//! The real engine on virtual time, over a memory server, a quorum of memory
//! nodes, or an etcd cluster in memory, in bad weather.
//!
//! One seed is one made-up history of a few clients, some tasks each, that
//! fight over one or two locks while messages are delayed, lost and doubled,
//! processes stop, and servers restart, lose their data and lose contact. Then
//! the weather clears up, and everything must be as if nothing had been.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use leasehold::runtime::Runtime;
use leasehold::{Client, Error, Lease, Lock, Options};

use crate::world::{Machine, TrueClock, cut_at};

mod calm;
mod cluster;
mod ledger;
mod link;
mod network;
mod node;
mod server;
mod weather;

use ledger::{Kind, Ledger};
use server::Servers;
pub use weather::Faults;
use weather::{Fault, Weather};

const STORM: Duration = Duration::from_secs(15);
const MAX_TTL: Duration = Duration::from_secs(2);
/// After a storm: every ttl has passed, every retry was made.
const SETTLED: Duration = Duration::from_secs(20);

/// Of a name that nobody asks for otherwise.
const PERMITS: Kind = Kind::Permits(2);

const STUCK: Duration = Duration::from_secs(600);

/// Which servers there are in this history: `memory`, `quorum` or `etcd`.
pub fn servers_of(seed: u64) -> &'static str {
    server::Kind::of(seed).part()
}

/// Live through one history; the error says what was broken.
pub fn simulate(seed: u64, faults: &Arc<Faults>) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let history = Box::pin(history(seed, faults.clone()));
        let stuck = TrueClock::start();
        tokio::select! {
            result = history => result,
            () = stuck.sleep(STUCK) => Err(format!("somebody still waits after {STUCK:?}")),
        }
    })
}

/// In which ways the tasks of a history take their locks, besides alone.
#[derive(Clone, Copy)]
struct Habits {
    shares: bool,
    /// Some with a min_hold.
    rests: bool,
}

/// One client of the simulation.
struct Process {
    machine: Arc<Machine>,
    client: Client,
    weather: Arc<Weather>,
}

#[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
async fn history(seed: u64, faults: Arc<Faults>) -> Result<u64, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let truth = TrueClock::start();
    let kind = server::Kind::of(seed);
    let ledger = Ledger::new(kind == server::Kind::JumpingQuorum);
    let weather = Weather::new(truth, faults, ledger.clone(), random.u64(..));
    let servers = Servers::new(kind, &mut random, &weather);
    let mut processes = Vec::new();
    for _ in 0..random.usize(2..=4) {
        let machine = Machine::new(truth, drifting(&mut random), random.u64(..));
        let backend = servers.client(&mut random, &machine).await.map_err(|e| e.to_string())?;
        let client = Options::new().runtime(machine.clone()).open(backend);
        let client = client.map_err(|e| e.to_string())?;
        processes.push(Arc::new(Process { machine, client, weather: weather.clone() }));
    }
    let names: &'static [&'static str] = if random.bool() { &["a"] } else { &["a", "b"] };
    let habits = Habits { shares: servers.share() && random.bool(), rests: !servers.is_quorum() };

    let mut tasks = Vec::new();
    for process in &processes {
        for _ in 0..random.usize(1..=3) {
            let task = process.clone().live(random.fork(), names, habits);
            tasks.push(tokio::spawn(process.machine.within(task)));
        }
    }
    let watch = async {
        loop {
            ledger.look();
            truth.sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        biased;
        () = watch => {}
        () = bad_luck(&mut random, &weather, &servers, &processes) => {}
    }
    weather.calm_down();
    let recovery = servers.settle(&mut random);
    for task in tasks {
        task.await.map_err(|e| e.to_string())?;
    }
    truth.sleep(SETTLED + recovery).await;
    calm::everything_is_free(&servers).await?;
    calm::hand_over_is_prompt(&truth, &servers, &processes).await?;
    calm::what_is_free_can_be_taken(&truth, &servers, &processes).await?;
    calm::nothing_stays_behind(&mut random, &truth, &servers, &processes).await?;
    calm::a_waiter_outlives_its_connection(&truth, &servers, &processes).await?;
    calm::a_lease_spreads(&mut random, &truth, &servers, &processes).await?;
    for process in &processes {
        process.client.close().await;
    }
    calm::everything_is_free(&servers).await?;
    ledger.verdict()?;
    Ok(ledger.grants())
}

fn some_kind(random: &mut fastrand::Rng) -> Kind {
    match random.u32(..6) {
        0 | 1 => Kind::Alone,
        2 => PERMITS,
        _ => Kind::Shared,
    }
}

/// The rate of a clock: two differ by less than the 2 % that the margin allows.
fn drifting(random: &mut fastrand::Rng) -> f64 {
    // Most are as wrong as they may be: that is when it matters.
    let off = [-1.0, 1.0, random.f64() * 2.0 - 1.0];
    1.0 + 0.009 * random.choice(off).unwrap_or_default()
}

fn millis(random: &mut fastrand::Rng, range: Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}

/// Stop and restart things until the storm is over.
async fn bad_luck(
    random: &mut fastrand::Rng,
    weather: &Weather,
    servers: &Servers,
    processes: &[Arc<Process>],
) {
    while weather.truth.elapsed() < STORM {
        weather.truth.sleep(millis(random, 100..servers.lull())).await;
        match random.u32(..4) {
            0 => {
                let machine = processes[random.usize(..processes.len())].machine.clone();
                weather.pause(machine, millis(random, 10..5000)).await;
            }
            _ => servers.misfortune(random).await,
        }
    }
}

impl Process {
    /// What a task does until the storm is over.
    async fn live(
        self: Arc<Self>,
        mut random: fastrand::Rng,
        names: &'static [&'static str],
        habits: Habits,
    ) {
        while self.weather.truth.elapsed() < STORM {
            let mut name = names[random.usize(..names.len())];
            let kind = if habits.shares { some_kind(&mut random) } else { Kind::Alone };
            if kind == PERMITS {
                name = "permits";
            }
            let ttl = Duration::from_millis(random.u64(500..=MAX_TTL.as_millis() as u64));
            let mut lock = self.client.lock(name).ttl(ttl);
            lock = match kind {
                Kind::Alone => lock,
                Kind::Shared => lock.shared(),
                Kind::Permits(permits) => lock.permits(permits),
            };
            if random.u32(..8) == 0 {
                lock = lock.delay(MAX_TTL - ttl);
            }
            let mut min_hold = Duration::ZERO;
            if random.u32(..10) == 0 {
                lock = lock.max_hold(ttl * random.u32(1..4));
            } else if habits.rests && kind == Kind::Alone && ttl.as_millis().is_multiple_of(8) {
                min_hold = ttl * 2;
                lock = lock.min_hold(min_hold);
            }
            let before = self.weather.ledger.highest(name);
            let lease = match self.take(&mut random, lock).await {
                Ok(Some(lease)) => {
                    self.weather.ledger.wakes(&lease, self.weather.truth.elapsed());
                    self.weather.ledger.granted(lease, kind, before)
                }
                Ok(None) => {
                    self.pause(&mut random, 300).await;
                    continue;
                }
                Err(e) if e.kind() == leasehold::Kind::Timeout => continue,
                Err(e) if e.kind() == leasehold::Kind::Unavailable => continue,
                Err(e) => return self.weather.ledger.broken(format!("unexpected: {e:?}")),
            };
            // As much as the clocks of client and server may take from it.
            let rests_until = self.weather.truth.elapsed() + min_hold.mul_f64(0.97);
            if self.hold(&mut random, lease, kind).await && !min_hold.is_zero() {
                self.weather.ledger.rests(name, rests_until);
            }
        }
    }

    async fn take(&self, random: &mut fastrand::Rng, lock: Lock) -> Result<Option<Lease>, Error> {
        match random.u32(..4) {
            0 => lock.try_acquire().await,
            1 => {
                let wait = Duration::from_millis(random.u64(1..3000));
                lock.wait(wait).acquire().await.map(Some)
            }
            2 => match cut_at(random.u32(1..12), lock.acquire()).await {
                Some(result) => result.map(Some),
                None => {
                    self.weather.faults.count(Fault::Cancelled);
                    Ok(None)
                }
            },
            _ => lock.acquire().await.map(Some),
        }
    }

    /// Hold a lease for a while, or until it is lost, and end it some way. Whether the
    /// server has confirmed that it was released.
    async fn hold(&self, random: &mut fastrand::Rng, lease: Arc<Lease>, kind: Kind) -> bool {
        let (name, fence) = (lease.name().to_owned(), lease.fence());
        let work = match random.u32(..8) {
            0 => 10_000,
            1 => 4000,
            _ => 100,
        };
        tokio::select! {
            biased;
            _ = lease.lost() => {}
            () = self.pause(random, work) => self.lost_if_invalid(&lease).await,
        }
        let end = match random.u32(..4) {
            0 => {
                drop(lease);
                None
            }
            1 => {
                let end = cut_at(random.u32(1..4), lease.release()).await;
                if end.is_none() {
                    self.weather.faults.count(Fault::Cancelled);
                }
                end
            }
            _ => Some(lease.release().await),
        };
        self.weather.ledger.given_back(&name, kind, fence);
        matches!(end, Some(Ok(())))
    }

    /// A lease that is over by the clock must have been reported lost, as soon
    /// as the process had a moment to do so.
    async fn lost_if_invalid(&self, lease: &Lease) {
        if lease.is_valid() || lease.loss().is_some() {
            return;
        }
        self.weather.truth.sleep(Duration::from_millis(5)).await;
        if lease.loss().is_none() && !self.machine.is_stopped() {
            self.weather.ledger.broken(format!("over, and nobody was told: {lease:?}"));
        }
    }

    async fn pause(&self, random: &mut fastrand::Rng, millis: u64) {
        self.machine.sleep(Duration::from_millis(random.u64(..millis))).await;
    }
}
