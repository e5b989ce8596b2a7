//! What many leases and many waiters of a client cost its other locks.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::Memory;
use leasehold::time::SystemClock;
use leasehold::{Client, Lease, Options};
use leasehold_tests::bench::rounds::{median, quantile, rounds};
use leasehold_tests::patience::pause;
use leasehold_tests::servers::Server;
use tokio::runtime::Runtime;

use super::{Clock, Failure, hand_over_times, since};

const TURNS: usize = 300;
/// They ask at the same time, so that it does not take for ever.
const ASKING: usize = 64;
const TTL: Duration = Duration::from_secs(10);
/// So long that none is renewed while it is looked at.
const HOUR: Duration = Duration::from_secs(3600);

/// Whose other leases there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    /// Of another client of the same server, in the same process.
    Anothers,
}

struct Crowd {
    what: &'static str,
    many: usize,
    whose: Whose,
    ttl: Duration,
}

const fn crowd(what: &'static str, many: usize, whose: Whose, ttl: Duration) -> Crowd {
    Crowd { what, many, whose, ttl }
}

const CROWDS: [Crowd; 5] = [
    crowd("nothing else", 0, Whose::Ours, TTL),
    crowd("10 000 leases", 10_000, Whose::Ours, TTL),
    crowd("100 000 leases", 100_000, Whose::Ours, TTL),
    crowd("100 000 that are not renewed", 100_000, Whose::Ours, HOUR),
    crowd("100 000 of another client", 100_000, Whose::Anothers, TTL),
];

/// What was measured of one crowd in one round.
struct Slice {
    p50: f64,
    p99: f64,
    /// Of the client's threads while nothing but renewals goes on, in ms a second.
    cpu: f64,
}

/// A server that clients are opened on.
enum Backend {
    Memory,
    Redis(Server),
}

impl Backend {
    fn clients(&self, runtime: &Runtime) -> Result<[Client; 2], Failure> {
        match self {
            Self::Memory => {
                let server = Memory::new(Arc::new(SystemClock));
                Ok([open(&server)?, open(&server)?])
            }
            Self::Redis(server) => runtime.block_on(async {
                let url = server.url();
                Ok([leasehold::connect(&url).await?, leasehold::connect(&url).await?])
            }),
        }
    }
}

/// The hand-over of a lock beside leases of the same client, in memory or on Redis.
pub(super) fn beside_leases(on_redis: bool) -> Result<(), Failure> {
    let (name, backend) = match on_redis {
        true => ("redis", Backend::Redis(Server::start())),
        false => ("memory", Backend::Memory),
    };
    println!("{name}: hand-over between 2 tasks of one client, which holds");
    println!(
        "{:32} {:>9} {:>9} {:>22} {:>12}",
        "", "p50", "p99", "p50 to that of none", "renewing"
    );
    let measured = rounds(CROWDS.len(), |which| Ok(slice(&backend, &CROWDS[which])?))
        .map_err(|e| e.to_string())?;
    for (crowd, slices) in CROWDS.iter().zip(&measured) {
        let all = |of: fn(&Slice) -> f64| slices.iter().map(of).collect::<Vec<_>>();
        let (p50, p99, cpu) = (all(|s| s.p50), all(|s| s.p99), all(|s| s.cpu));
        let ratios: Vec<f64> = p50.iter().zip(&measured[0]).map(|(p, none)| p / none.p50).collect();
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| quantile(ratios.clone(), part));
        println!(
            "  {:<30} {:>6.1} µs {:>6.1} µs {middle:>8.3} ({low:.3} to {high:.3}) {:>5.1} ms/s",
            crowd.what,
            median(&p50),
            median(&p99),
            median(&cpu),
        );
    }
    Ok(())
}

fn slice(backend: &Backend, crowd: &Crowd) -> Result<Slice, String> {
    measure(backend, crowd).map_err(|e| e.to_string())
}

fn measure(backend: &Backend, crowd: &Crowd) -> Result<Slice, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let [client, another] = backend.clients(&runtime)?;
    let owner = if crowd.whose == Whose::Ours { &client } else { &another };
    let leases = hold(&runtime, owner, crowd)?;
    // By then the renewals have begun, and soon all have been renewed once.
    pause(TTL / 3);
    let before = cpu();
    pause(TTL / 3);
    let cpu = (cpu() - before).as_secs_f64() * 1e3 / (TTL / 3).as_secs_f64();
    let times = hand_over_times(&mut super::hand_overs(&client, 2, TURNS)?);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    let lost = leases.iter().filter(|lease| !lease.is_valid()).count();
    if lost > 0 {
        println!("  {}: {lost} leases were lost", crowd.what);
    }
    let slice = Slice { p50: at(0.5), p99: at(0.99), cpu };
    runtime.block_on(async {
        client.close().await;
        another.close().await;
    });
    drop(leases);
    Ok(slice)
}

fn hold(runtime: &Runtime, client: &Client, crowd: &Crowd) -> Result<Vec<Lease>, Failure> {
    let tasks = (0..ASKING).map(|part| {
        let (client, ttl, many) = (client.clone(), crowd.ttl, crowd.many);
        runtime.spawn(async move {
            let mut leases = Vec::new();
            for number in (part..many).step_by(ASKING) {
                leases.push(client.lock(format!("held/{number}")).ttl(ttl).acquire().await?);
            }
            Ok::<_, leasehold::Error>(leases)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut leases = Vec::new();
    for task in tasks {
        leases.extend(runtime.block_on(task)??);
    }
    Ok(leases)
}

/// Processor time of the threads of this process.
fn cpu() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let used = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(used.sum())
}

/// The same beside others who wait, who then all go away.
pub(super) fn beside_waiters() -> Result<(), Failure> {
    for many in [0, 10_000, 100_000] {
        println!("memory: hand-over between 2 tasks of one client with {many} other waiters");
        let server = Memory::new(Arc::new(SystemClock));
        let (client, other) = (open(&server)?, open(&server)?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
        let held = runtime.block_on(other.lock("crowded").acquire())?;
        let wait = |_| {
            let lock = client.lock("crowded");
            runtime.spawn(async move { drop(lock.acquire().await) })
        };
        let waiters: Vec<_> = (0..many).map(wait).collect();
        // Each has been polled when a task that was spawned after them has.
        runtime.block_on(async { runtime.spawn(async {}).await })?;
        super::print_latencies("memory", &mut super::hand_overs(&client, 2, TURNS)?);
        let start = SystemClock.now();
        waiters.iter().for_each(tokio::task::JoinHandle::abort);
        runtime.block_on(async {
            for waiter in waiters {
                drop(waiter.await);
            }
        });
        println!("  all of them cancelled in {:.1?}", since(start));
        runtime.block_on(async {
            held.release().await?;
            client.close().await;
            Ok::<_, leasehold::Error>(())
        })?;
    }
    Ok(())
}

fn open(server: &Memory) -> Result<Client, leasehold::Error> {
    Options::new().open(Arc::new(server.client()))
}
