//! A member whose answers are changed on their way: whatever comes, nobody holds
//! what the cluster has not given, and everybody is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use leasehold::runtime::Runtime;
use leasehold::{Client, Lease};
use leasehold_tests::patience::{LIMIT, now};

use crate::place::{Place, SECOND};

mod protobuf;
mod proxy;

use proxy::Liar;

/// So many clients at a time, in an ordinary run of the tests
const CLIENTS: usize = 6;
/// and in one of many short sessions, as with `LEASEHOLD_SESSIONS=20000`.
const MANY_CLIENTS: usize = 48;

/// One of those who use locks over the liar.
struct User {
    url: String,
    random: Rng,
    /// Who sees what the cluster has.
    direct: Client,
    clock: Arc<dyn Runtime>,
    tally: Arc<Tally>,
    /// How many locks there are.
    names: usize,
    /// How often at most each client uses one.
    uses: u32,
}

/// How long a run goes on.
#[derive(Clone, Copy)]
enum Run {
    Until(std::time::Instant),
    /// So many sessions.
    Sessions(u64),
}

impl Run {
    fn is_over(self, tally: &Tally) -> bool {
        match self {
            Self::Until(end) => now() >= end,
            Self::Sessions(all) => tally.clients.load(Ordering::SeqCst) >= all,
        }
    }
}

#[derive(Default)]
struct Tally {
    /// Those that have connected.
    clients: AtomicU64,
    grants: AtomicU64,
    checks: AtomicU64,
}

impl User {
    async fn live(mut self, run: Run) -> Result<(), String> {
        while !run.is_over(&self.tally) {
            let connected = self.in_time(leasehold::connect(&self.url)).await?;
            let Ok(client) = connected else { continue };
            self.tally.clients.fetch_add(1, Ordering::SeqCst);
            for _ in 0..self.random.u32(1..self.uses) {
                // A session goes on to its end.
                if matches!(run, Run::Sessions(_)) || !run.is_over(&self.tally) {
                    self.use_a_lock(&client).await?;
                }
            }
            self.in_time(client.close()).await?;
        }
        Ok(())
    }

    async fn use_a_lock(&mut self, client: &Client) -> Result<(), String> {
        let name = format!("x{}", self.random.usize(..self.names));
        let lock = client.lock(&name).ttl(2 * SECOND).auto_renew(self.random.bool());
        let lease = match self.random.bool() {
            true => self.in_time(lock.try_acquire()).await?.ok().flatten(),
            false => {
                let wait = Duration::from_millis(self.random.u64(..500));
                self.in_time(lock.wait(wait).acquire()).await?.ok()
            }
        };
        let Some(lease) = lease else { return Ok(()) };
        self.tally.grants.fetch_add(1, Ordering::SeqCst);
        self.check(&name, &lease).await?;
        if self.random.bool() {
            drop(self.in_time(lease.renew()).await?);
            self.clock.sleep(Duration::from_millis(self.random.u64(..200))).await;
            self.check(&name, &lease).await?;
        }
        if self.random.bool() {
            drop(self.in_time(lease.release()).await?);
        }
        Ok(())
    }

    /// What is still valid now was held when the cluster was asked.
    async fn check(&self, name: &str, lease: &Lease) -> Result<(), String> {
        let status = self.in_time(self.direct.status(name)).await?;
        let Ok(status) = status else { return Ok(()) };
        self.tally.checks.fetch_add(1, Ordering::SeqCst);
        let fence = status.filter(|status| status.holder().is_some()).map(|status| status.fence);
        match lease.is_valid() && fence != Some(lease.fence()) {
            true => Err(format!("{lease:?} is not held: the cluster has {fence:?}")),
            false => Ok(()),
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.clock.sleep(LIMIT) => Err(format!("no answer within {LIMIT:?}")),
        }
    }
}

/// A number from the environment.
#[allow(clippy::disallowed_methods)] // a test reads its seed from there
fn set_to<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn nothing_is_granted_by_an_answer_that_is_not_true() {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        usual(panic);
    }));
    let seed = set_to("LEASEHOLD_SEED").unwrap_or_else(|| fastrand::u64(..));
    let (run, clients, uses, lies) = match set_to("LEASEHOLD_SESSIONS") {
        Some(all) => (Run::Sessions(all), MANY_CLIENTS, 8, 40),
        None => (Run::Until(now() + 10 * SECOND), CLIENTS, 40, 20),
    };
    let names = clients * 2 / 3;
    let mut random = Rng::with_seed(seed);
    let place = Place::new();
    let liar = Liar::before(place.cluster.port(0), random.u64(..));
    let url = format!("etcd://127.0.0.1:{}?response_timeout=300ms", liar.port);
    liar.lie(lies);
    let tally = Arc::<Tally>::default();
    let users: Vec<_> = (0..clients)
        .map(|_| {
            let (url, direct, clock) = (url.clone(), place.client(), place.clock());
            let (random, tally) = (random.fork(), tally.clone());
            place.spawn(User { url, random, direct, clock, tally, names, uses }.live(run))
        })
        .collect();
    for user in users {
        while !user.is_finished() {
            place.pass(SECOND / 20);
        }
        let ended = place.wait(user).unwrap();
        assert_eq!(ended, Ok(()), "LEASEHOLD_SEED={seed}");
    }
    let count = |count: &AtomicU64| count.load(Ordering::SeqCst);
    let (counts, clients) = (&liar.counts, count(&tally.clients));
    println!(
        "seed {seed}: {} connections of {clients} clients, {} bytes, {} lies, {} grants, {} checks",
        count(&counts.connections),
        count(&counts.bytes),
        count(&counts.lies),
        count(&tally.grants),
        count(&tally.checks),
    );
    assert!(count(&tally.grants) > 0 && count(&counts.lies) > 0);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "LEASEHOLD_SEED={seed}");
    // And when it says the truth again, all is well.
    liar.lie(0);
    let client = place.client_of(&url);
    for name in 0..names {
        place.wait(client.lock(format!("x{name}")).acquire()).unwrap();
    }
}
