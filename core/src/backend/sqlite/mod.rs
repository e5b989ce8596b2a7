//! The embedded backend: a file, and a socket for each client beside it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::record::{Address, Now, Record, Rest, Retired};
use super::{
    Answer, Backend, Claim, Heir, Held, Mode, Released, Renewal, Status, Transferred, Wake,
};
use crate::error::Error;
use crate::name::{LockName, Owner};
use crate::runtime::Runtime;
use crate::time::{Clock, SystemClock};

mod access;
mod bell;
mod bells;
mod chores;
mod disk;
mod file;
mod fork;
mod here;
mod lane;
mod living;
mod rows;
mod store;
mod world;

use bell::Bell;
use chores::Chores;
use file::Failure;
use lane::Lane;
use living::{OUTLIVES, outlive};
use store::Store;
use world::World;

/// The embedded backend: a file, and real locks between the processes of one
/// machine.
///
/// Each request is one short transaction; no file lock is held between
/// requests. Leases expire by the machine's boot-time clock, so the wall clock
/// may jump; a restart of the machine ends them all. Clients wake each other,
/// and know each other dead, by sockets in the directory `<file>-bells`: the
/// locks of a process that died are free at once, unless a child that it
/// forked, or that inherits the [proof of life](crate::Lease::proof_of_life),
/// lives on; then they are free when their ttl has passed. A forked
/// child cannot use it if the parent did before the fork: that is refused.
pub struct Sqlite {
    world: Arc<World>,
    // Until the world is over.
    store: Mutex<Option<Store>>,
    renewals: Lane,
    chores: Chores,
    bell: Bell,
    // Claims are made in the caller's future and never outlive it, so that
    // what this process retired is all there is to know.
    retired: Arc<Mutex<Retired>>,
    runtime: Arc<dyn Runtime>,
    untidied: AtomicU32,
    tidying: Arc<AtomicBool>,
    description: String,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Broken(error) | Failure::Occupied(error) => error,
            Failure::Busy => Error::unavailable(
                "the database is kept locked by another process, perhaps a stopped one",
            ),
        }
    }
}

impl Sqlite {
    /// How long a request goes on while others keep the database locked; the
    /// engine asks again, and needs to hear of it.
    const REQUEST: Duration = Duration::from_secs(2);
    /// Nobody asks again for a connect: as long as the engine bears an outage.
    const CONNECT: Duration = Duration::from_secs(10);
    /// How often the table is looked through for what is old.
    const COMMITS_PER_TIDYING: u32 = 1000;
    /// From which size on the log is moved into the database more often than that,
    const LONG_LOG: u64 = 1 << 20;
    /// but not more often than this: others may be about to do it.
    const COMMITS_PER_LOOK: u32 = 100;
    /// How many sockets a client that comes looks at for those of the dead.
    const SOCKETS_PER_SWEEP: usize = 64;

    /// Open or create the database at `path`; its directory must exist.
    ///
    /// `runtime` must run its tasks on Tokio with I/O enabled, as the default does.
    pub async fn open(path: &Path, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let description = format!("sqlite:{}", path.display());
        let address = runtime.random() as u64 & !OUTLIVES;
        let entry = patiently(&*runtime, Self::CONNECT, || World::enter(path, address)).await?;
        let world = Arc::new(entry.world);
        let second = patiently(&*runtime, Self::CONNECT, || world.open()).await?;
        let chores = Chores::of(world.clone());
        chores.later(move |store| {
            // Failing costs space, not safety; the next client does it again.
            drop(store.forget_old(now()));
            drop(store.checkpoint());
            sweep(store, address as usize);
        });
        Ok(Self {
            store: Mutex::new(Some(Store::new(entry.database, world.clone()))),
            renewals: Lane::start(Store::new(second, world.clone()))?,
            chores,
            bell: Bell::of(world.clone(), entry.listener),
            world,
            retired: Arc::default(),
            runtime,
            untidied: AtomicU32::new(0),
            tidying: Arc::default(),
            description,
        })
    }

    /// One transaction in the caller's own future: it takes less time than
    /// going to another thread would, and does not wait for the disk.
    async fn request<T>(
        &self,
        mut work: impl FnMut(&Store) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let work = || match &*self.store() {
            Some(store) => work(store),
            None => Err(self.world.refusal()),
        };
        let answer = patiently(&*self.runtime, Self::REQUEST, work).await?;
        self.count_commit();
        Ok(answer)
    }

    /// Now and then, see to it that neither the log nor the table grows for ever.
    fn count_commit(&self) {
        let commits = self.untidied.fetch_add(1, Ordering::Relaxed) + 1;
        let is_long = self.world.log_size() > Self::LONG_LOG && commits >= Self::COMMITS_PER_LOOK;
        if !is_long && commits < Self::COMMITS_PER_TIDYING
            || self.tidying.swap(true, Ordering::Relaxed)
        {
            return;
        }
        self.untidied.store(0, Ordering::Relaxed);
        let tidying = self.tidying.clone();
        self.chores.later(move |store| {
            // Failing costs space, not safety; it is done again.
            drop(store.forget_old(now()));
            drop(store.checkpoint());
            tidying.store(false, Ordering::Relaxed);
        });
    }

    /// Ring the first of the line that is alive, if the lock is free.
    async fn wake_next(&self, name: &LockName, mut next: Option<u64>) -> Result<(), Error> {
        while let Some(client) = next.filter(|client| !self.world.bells().ring(*client, name)) {
            let bury = |record: &mut Record| {
                record.bury(client);
                next_client(record)
            };
            next = self.request(|store| store.change(name, bury)).await?;
        }
        Ok(())
    }

    fn is_retired(&self, claim: &Claim) -> bool {
        lock(&self.retired).contains(claim.owner)
    }

    fn store(&self) -> MutexGuard<'_, Option<Store>> {
        lock(&self.store)
    }
}

/// Repeat `work` while other connections are in their transactions, which take
/// some 50 µs each. Waits as a future does, never in a system call.
async fn patiently<T>(
    runtime: &dyn Runtime,
    patience: Duration,
    mut work: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Error> {
    let started = runtime.now();
    let mut pause = Duration::from_micros(500);
    let mut turns = 0..10;
    loop {
        match work() {
            Err(Failure::Busy) if turns.next().is_some() => std::thread::yield_now(),
            Err(Failure::Busy | Failure::Occupied(_))
                if runtime.now().since(started) < patience =>
            {
                runtime.sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(10));
            }
            done => return Ok(done?),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Now {
    Now { instant: SystemClock.now(), wall_micros: SystemClock.wall_micros() }
}

#[async_trait]
impl Backend for Sqlite {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        let change = |record: &mut Record| {
            let answer = self.claim_from_the_living(record, claim);
            (answer, next_client(record))
        };
        let (answer, next) = self.request(|store| store.change(&claim.name, change)).await?;
        if claim.mode.is_shared() && matches!(answer, Answer::Granted { .. }) {
            // There may be room for the next, too, who asks by itself if it is not woken.
            drop(self.wake_next(&claim.name, next).await);
        }
        Ok(answer)
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        if self.world.check().is_err() {
            // Whoever opens the file now finds none of them.
            return Ok(vec![Renewal::Gone; leases.len()]);
        }
        let (leases, world) = (leases.to_vec(), self.world.clone());
        self.renewals.run(move |store| renew_some(store, &world, &leases)).await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        lock(&self.retired).insert(held.owner);
        let release = |record: &mut Record| {
            let now = now();
            let was_held = record.release(held.owner, now.instant);
            let is_free = was_held && record.tenants.is_empty();
            let next = then.map(|then| match is_free && !self.is_retired(then) {
                true => {
                    let answer = record.hand_over(then, self.world.address(), now);
                    outlive(record, then);
                    answer
                }
                false => self.claim_from_the_living(record, then),
            });
            let others = record.waiters_besides(then.map(|then| then.owner));
            (Released { held: was_held, next, others }, next_client(record))
        };
        let asked = self.request(|store| store.change(&held.name, release)).await;
        let (released, next) = match asked {
            // As at a renewal: whoever opens the file now finds no lease.
            Err(_) if self.world.check().is_err() => {
                return Ok(Released { held: false, next: None, others: 0 });
            }
            asked => asked?,
        };
        // The lock is free already: a line that is not woken asks by itself.
        drop(self.wake_next(&held.name, next).await);
        Ok(released)
    }

    async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        lock(&self.retired).insert(held.owner);
        let rest = Rest { lasts: rest, client: OUTLIVES };
        let change = |record: &mut Record| {
            let was_held = record.rest(held.owner, rest, now().instant);
            Released { held: was_held, next: None, others: record.waiters_besides(None) }
        };
        match self.request(|store| store.change(&held.name, change)).await {
            // As at a release: whoever opens the file now finds no lease.
            Err(_) if self.world.check().is_err() => {
                Ok(Released { held: false, next: None, others: 0 })
            }
            asked => asked,
        }
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        lock(&self.retired).insert(claim.owner);
        let withdraw = |record: &mut Record| {
            record.withdraw(claim.owner, now().instant);
            next_client(record)
        };
        let next = self.request(|store| store.change(&claim.name, withdraw)).await?;
        self.wake_next(&claim.name, next).await
    }

    async fn transfer(&self, held: &Held, to: &Claim, heir: Heir) -> Result<Transferred, Error> {
        let mut client = self.world.address();
        if heir == Heir::Ticket || !to.delay.is_zero() {
            client |= OUTLIVES;
        }
        let transfer = |record: &mut Record| {
            let is_retired = lock(&self.retired).contains(to.owner);
            !is_retired && record.transfer(held.owner, to, client, now().instant)
        };
        let asked = self.request(|store| store.change(&held.name, transfer)).await;
        let is_done = match asked {
            // As at a renewal: whoever opens the file now finds no lease.
            Err(_) if self.world.check().is_err() => false,
            asked => asked?,
        };
        if !is_done {
            return Ok(Transferred::Gone);
        }
        lock(&self.retired).insert(held.owner);
        Ok(Transferred::Done { term: None })
    }

    fn tickets(&self, _: Duration) -> Result<&'static str, Error> {
        Ok("sqlite")
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        let evict = |record: &mut Record| {
            record.expire(now().instant);
            (std::mem::take(&mut record.tenants), next_client(record))
        };
        let (evicted, next) = self.request(|store| store.change(name, evict)).await?;
        for tenant in evicted.iter().filter(|tenant| tenant.owner != Owner::NOBODY) {
            self.world.bells().ring(tenant.client & !OUTLIVES, name);
        }
        self.wake_next(name, next).await?;
        Ok(!evicted.is_empty())
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        let relabel = |record: &mut Record| record.relabel(held.owner, label, now().instant);
        match self.request(|store| store.change(&held.name, relabel)).await {
            // As at a renewal: whoever opens the file now finds no lease.
            Err(_) if self.world.check().is_err() => Ok(false),
            shown => shown,
        }
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let name = name.cloned();
        let records = self.chores.run(move |store| store.read(name.as_ref())).await?;
        let now = now().instant;
        let status = |(name, mut record): (LockName, Record)| {
            record.expire(now);
            for client in record.clients() {
                if self.is_dead(client) {
                    record.bury(client);
                }
            }
            (!record.is_idle()).then(|| record.status(&name, now))
        };
        Ok(records.into_iter().filter_map(status).collect())
    }

    async fn wake(&self) -> Wake {
        let wake = self.bell.heard().await;
        if wake == Wake::All && self.world.check().is_err() {
            // Another client of this process could not use the file before, see `here`.
            self.renewals.end();
            drop(self.store().take());
        }
        wake
    }

    fn proof_of_life(&self) -> Option<OwnedFd> {
        self.bell.proof_of_life()
    }

    fn supports(&self, _: Mode) -> Result<(), Error> {
        Ok(())
    }

    fn supports_rest(&self) -> Result<(), Error> {
        Ok(())
    }

    fn describe(&self) -> &str {
        &self.description
    }
}

/// Whom to wake: the first of the line, when there is room for it.
fn next_client(record: &mut Record) -> Option<Address> {
    record.next_in_line().map(|first| first.client)
}

/// Renew in short transactions, others between them, up to the first that fails.
fn renew_some(store: &Store, world: &World, leases: &[Held]) -> Result<Vec<Renewal>, Failure> {
    const AT_ONCE: usize = 256;
    if world.check().is_err() {
        return Ok(vec![Renewal::Gone; leases.len()]);
    }
    let renew = |record: &mut Record, held: &Held| match record.renew(
        held.owner,
        held.ttl,
        now().instant,
    ) {
        true => Renewal::Kept,
        false => Renewal::Gone,
    };
    let mut answers = Vec::new();
    for some in leases.chunks(AT_ONCE) {
        match store.change_each(some.iter().map(|held| (&held.name, held)), renew) {
            Ok(more) => answers.extend(more),
            Err(failure) if answers.is_empty() => return Err(failure),
            Err(_) => break,
        }
    }
    answers.resize(leases.len(), Renewal::Unknown);
    Ok(answers)
}

/// Remove what the dead have left, but for those who still stand in somebody's way:
/// a socket is all that proves its client dead.
fn sweep(store: &Store, seed: usize) {
    let needed = || {
        let records = store.read(None)?;
        Ok::<_, Failure>(records.iter().flat_map(|(_, record)| record.clients()).collect())
    };
    store.world().bells().sweep(seed, Sqlite::SOCKETS_PER_SWEEP, needed);
}
