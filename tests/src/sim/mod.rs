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

use leasehold::Options;

use crate::world::{Machine, TrueClock};

mod calm;
mod cluster;
mod election;
mod held;
mod kinds;
mod ledger;
mod link;
mod network;
mod node;
mod process;
mod server;
mod weather;

use ledger::Ledger;
use process::{Habits, Process};
use server::Servers;
pub use weather::Faults;
use weather::Weather;

const STORM: Duration = Duration::from_secs(15);
const MAX_TTL: Duration = Duration::from_secs(2);
/// After a storm: every ttl has passed, every retry was made.
const SETTLED: Duration = Duration::from_secs(20);

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

#[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
async fn history(seed: u64, faults: Arc<Faults>) -> Result<u64, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let truth = TrueClock::start();
    let kind = server::Kind::of(seed);
    let ledger = Ledger::new(kind == server::Kind::JumpingQuorum, kind.part() == "quorum");
    let weather = Weather::new(truth, faults, ledger.clone(), random.u64(..));
    let servers = Servers::new(kind, &mut random, &weather);
    let mut processes = Vec::new();
    let mut habits = Habits::default();
    for _ in 0..random.usize(2..=4) {
        let machine = Machine::new(truth, drifting(&mut random), random.u64(..));
        let backend = servers.client(&mut random, &machine).await.map_err(|e| e.to_string())?;
        habits = Habits::with(&*backend);
        let client = Options::new().runtime(machine.clone()).open(backend);
        let client = client.map_err(|e| e.to_string())?;
        processes.push(Arc::new(Process { machine, client, weather: weather.clone() }));
    }
    let names: &'static [&'static str] = if random.bool() { &["a"] } else { &["a", "b"] };
    let shares = habits.shares && !servers.is_quorum();
    let habits = habits.some(&mut random);

    let mut tasks = Vec::new();
    for process in &processes {
        if habits.leads {
            let task = process.clone().look_on();
            tasks.push(tokio::spawn(process.machine.within(task)));
        }
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
    if shares {
        calm::a_writer_is_not_passed(&truth, &processes).await?;
    }
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
