//! The real engine on virtual time, over a memory server in bad weather.
//!
//! One seed is one made-up history of a few clients, some tasks each, that
//! fight over one or two locks while messages are delayed, lost and doubled,
//! processes stop, and the server restarts. Then the weather clears up, and
//! everything must be as if nothing had been.

use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::Memory;
use leasehold::runtime::Runtime;
use leasehold::{Client, Error, Kind, Lease, Lock, Options};

use crate::world::{Machine, ServerClock, TrueClock, cut_at};

mod ledger;
mod network;

use ledger::Ledger;
pub use network::Faults;
use network::{Fault, Network, Weather, pause_process};

const STORM: Duration = Duration::from_secs(15);
const MAX_TTL: Duration = Duration::from_secs(2);
/// After a storm: every ttl has passed, every retry was made.
const SETTLED: Duration = Duration::from_secs(20);

const STUCK: Duration = Duration::from_secs(600);

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
    let ledger = Arc::new(Ledger::default());
    let weather = Weather::new(truth, faults, ledger.clone(), random.u64(..));
    let clock = ServerClock::new(truth);
    // Half of the servers wake the first of a line, half make it the holder.
    let server = match seed % 2 {
        0 => Memory::new(clock.clone()),
        _ => Memory::granting(clock.clone(), Duration::from_secs(1)),
    };
    let processes: Vec<Arc<Process>> = (0..random.usize(2..=4))
        .map(|_| {
            // Two clocks differ by less than the 2 % that the margin allows.
            let rate = 1.0 + (random.f64() - 0.5) * 0.018;
            let machine = Machine::new(truth, rate, random.u64(..));
            let options = Options::new().runtime(machine.clone());
            let client = options.open(Network::new(&server, &machine, &weather));
            let client = client.map_err(|e| e.to_string())?;
            Ok(Arc::new(Process { machine, client, weather: weather.clone() }))
        })
        .collect::<Result<_, String>>()?;
    let names: &'static [&'static str] = if random.bool() { &["a"] } else { &["a", "b"] };

    let mut tasks = Vec::new();
    for process in &processes {
        for _ in 0..random.usize(1..=3) {
            let task = process.clone().live(random.fork(), names);
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
        () = bad_luck(&mut random, &weather, &server, &clock, &processes) => {}
    }
    weather.calm_down();
    for task in tasks {
        task.await.map_err(|e| e.to_string())?;
    }
    truth.sleep(SETTLED).await;
    everything_is_free(&server, names).await?;
    hand_over_is_prompt(&truth, &processes).await?;
    nothing_stays_behind(&mut random, &truth, &server, &processes).await?;
    for process in &processes {
        process.client.close().await;
    }
    everything_is_free(&server, names).await?;
    ledger.verdict()?;
    Ok(ledger.grants())
}

/// Stop and restart things until the storm is over.
async fn bad_luck(
    random: &mut fastrand::Rng,
    weather: &Arc<Weather>,
    server: &Memory,
    clock: &ServerClock,
    processes: &[Arc<Process>],
) {
    while weather.truth.elapsed() < STORM {
        weather.truth.sleep(Duration::from_millis(random.u64(100..4000))).await;
        match random.u32(..4) {
            0 => weather.restart(server, Duration::from_millis(random.u64(10..3000))).await,
            1 => {
                let machine = processes[random.usize(..processes.len())].machine.clone();
                let pause = Duration::from_millis(random.u64(10..5000));
                pause_process(weather.clone(), machine, pause).await;
            }
            2 => {
                weather.faults.count(Fault::WallJump);
                clock.jump(random.i64(-10_000_000..10_000_000));
            }
            _ => {}
        }
    }
}

async fn everything_is_free(server: &Memory, names: &[&str]) -> Result<(), String> {
    use leasehold::backend::Backend;
    let left = server.client().inspect(None).await.map_err(|e| e.to_string())?;
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("of {names:?} these are not free long after the storm: {left:?}")),
    }
}

/// In calm weather a lock goes from hand to hand within a few messages; a lost
/// wake-up would cost a re-check, some hundred times as long.
#[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
async fn hand_over_is_prompt(truth: &TrueClock, all: &[Arc<Process>]) -> Result<(), String> {
    const ROUNDS: u32 = 3;
    let started = truth.elapsed();
    let mut tasks = Vec::new();
    let waiters = all.len() * 2;
    for process in all.iter().chain(all) {
        let lock = process.client.lock("calm").ttl(MAX_TTL);
        let truth = *truth;
        tasks.push(tokio::spawn(process.machine.within(async move {
            for _ in 0..ROUNDS {
                let lease = lock.acquire().await?;
                truth.sleep(Duration::from_millis(5)).await;
                lease.release().await?;
            }
            Ok::<_, Error>(())
        })));
    }
    for task in tasks {
        task.await.map_err(|e| e.to_string())?.map_err(|e| format!("in calm weather: {e}"))?;
    }
    let turns = ROUNDS * waiters as u32;
    let took = truth.elapsed() - started;
    // Hold, release, wake, claim: 5 + 2 + 1 + 2 ms.
    if took > Duration::from_millis(15) * turns {
        return Err(format!("{turns} turns in calm weather took {took:?}: a wake-up was lost"));
    }
    Ok(())
}

/// In calm weather, acquires that are cancelled at any await point leave
/// nothing behind after two round trips, neither a lease nor a place.
async fn nothing_stays_behind(
    random: &mut fastrand::Rng,
    truth: &TrueClock,
    server: &Memory,
    all: &[Arc<Process>],
) -> Result<(), String> {
    for polls in 1..6 {
        let process = &all[random.usize(..all.len())];
        let lock = process.client.lock("cancelled").ttl(MAX_TTL);
        let acquire = process.machine.within(async move { lock.acquire().await });
        drop(cut_at(polls, acquire).await);
        truth.sleep(Duration::from_millis(6)).await;
        everything_is_free(server, &["cancelled"]).await?;
    }
    Ok(())
}

impl Process {
    /// What a task does until the storm is over.
    async fn live(self: Arc<Self>, mut random: fastrand::Rng, names: &'static [&'static str]) {
        while self.weather.truth.elapsed() < STORM {
            let name = names[random.usize(..names.len())];
            let ttl = Duration::from_millis(random.u64(500..=MAX_TTL.as_millis() as u64));
            let mut lock = self.client.lock(name).ttl(ttl);
            if random.u32(..10) == 0 {
                lock = lock.max_hold(ttl * random.u32(1..4));
            }
            let lease = match self.take(&mut random, lock).await {
                Ok(Some(lease)) => self.weather.ledger.granted(lease),
                Ok(None) => {
                    self.pause(&mut random, 300).await;
                    continue;
                }
                Err(e) if matches!(e.kind(), Kind::Timeout | Kind::Unavailable) => continue,
                Err(e) => return self.weather.ledger.broken(format!("unexpected: {e:?}")),
            };
            self.hold(&mut random, lease).await;
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

    /// Hold a lease for a while, or until it is lost, and end it some way.
    async fn hold(&self, random: &mut fastrand::Rng, lease: Arc<Lease>) {
        let (name, fence) = (lease.name().to_owned(), lease.fence());
        let work = if random.u32(..4) == 0 { 4000 } else { 100 };
        tokio::select! {
            biased;
            _ = lease.lost() => {}
            () = self.pause(random, work) => self.lost_if_invalid(&lease).await,
        }
        match random.u32(..4) {
            0 => drop(lease),
            1 => {
                let end = cut_at(random.u32(1..4), lease.release()).await;
                if end.is_none() {
                    self.weather.faults.count(Fault::Cancelled);
                }
            }
            _ => drop(lease.release().await),
        }
        self.weather.ledger.given_back(&name, fence);
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
