//! The embedded backend: a file, and a socket for each client beside it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::record::{Now, Record, Retired};
use super::{Answer, Backend, Claim, Held, Released, Renewal, Status, Wake};
use crate::error::Error;
use crate::name::LockName;
use crate::runtime::Runtime;
use crate::time::{Clock, SystemClock};

mod bell;
mod file;
mod fork;
mod lane;
mod store;

use bell::{Bell, Bells};
use file::Failure;
use lane::Lane;
use store::Store;

/// The embedded backend: a file, and real locks between the processes of one
/// machine.
///
/// Each request is one short transaction; no file lock is held between
/// requests. Leases expire by the machine's boot-time clock, so the wall clock
/// may jump; a restart of the machine ends them all. Clients wake each other,
/// and know each other dead, by sockets in the directory `<file>-bells`: the
/// locks of a process that died are free at once, unless a child that it
/// forked lives on; then they are free when their ttl has passed. A forked
/// child cannot use it if the parent did before the fork: that is refused.
pub struct Sqlite {
    store: Mutex<Store>,
    lane: Lane,
    bell: Bell,
    bells: Bells,
    // Claims are made in the caller's future and never outlive it, so that
    // what this process retired is all there is to know.
    retired: Arc<Mutex<Retired>>,
    runtime: Arc<dyn Runtime>,
    commits: AtomicU32,
    description: String,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Broken(error) => error,
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
    const COMMITS_PER_TIDYING: u32 = 1000;

    /// Open or create the database at `path`; its directory must exist.
    ///
    /// `runtime` must run its tasks on Tokio with I/O enabled, as the default does.
    pub async fn open(path: &Path, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let description = format!("sqlite:{}", path.display());
        let store = patiently(&*runtime, Self::CONNECT, || Store::open(path)).await?;
        // One name for all processes, whatever their working directory.
        let path = path.canonicalize().map_err(|e| {
            Error::unavailable(format!("cannot find the database {path:?}")).because(e)
        })?;
        let lane = Lane::start(patiently(&*runtime, Self::CONNECT, || Store::open(&path)).await?)?;
        let bells = Bells::beside(&path)?;
        let bell = Bell::hang(&bells, runtime.random() as u64)?;
        let swept = bells.clone();
        lane.later(move |store| {
            // Failing costs space, not safety; the next client does it again.
            drop(store.forget_old(now()));
            drop(store.checkpoint());
            sweep(&swept, store);
        });
        Ok(Self {
            store: Mutex::new(store),
            lane,
            bell,
            bells,
            retired: Arc::default(),
            runtime,
            commits: AtomicU32::new(0),
            description,
        })
    }

    /// The embedded backend's file when none is named: `leasehold.db` in the
    /// directory where programs of this user keep their state.
    pub(crate) fn default_path() -> Result<PathBuf, Error> {
        use etcetera::base_strategy::{BaseStrategy, choose_base_strategy};
        use std::os::unix::fs::DirBuilderExt;
        let user = choose_base_strategy().map_err(|e| {
            let message =
                "cannot tell the user's home directory; name a file, as sqlite:/path/to.db";
            Error::unavailable(message).because(e)
        })?;
        let dir = user.state_dir().unwrap_or_else(|| user.data_dir()).join("leasehold");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|e| {
            let message = format!(
                "cannot make the directory {dir:?}; make it writable or name a file, as \
                 sqlite:/path/to.db"
            );
            Error::unavailable(message).because(e)
        })?;
        Ok(dir.join("leasehold.db"))
    }

    /// One transaction in the caller's own future: it takes less time than
    /// going to another thread would, and does not wait for the disk.
    async fn request<T>(
        &self,
        mut work: impl FnMut(&Store) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let answer = patiently(&*self.runtime, Self::REQUEST, || work(&self.store())).await?;
        self.count_commit();
        Ok(answer)
    }

    /// Now and then, see to it that neither the log nor the table grows for ever.
    fn count_commit(&self) {
        let commits = self.commits.fetch_add(1, Ordering::Relaxed);
        if commits % Self::COMMITS_PER_TIDYING == Self::COMMITS_PER_TIDYING - 1 {
            self.lane.later(|store| {
                // Failing costs space, not safety; it is done again.
                drop(store.forget_old(now()));
                drop(store.restart_log());
            });
        }
    }

    /// Forget whoever stands before the claim and is proven dead, then claim.
    fn claim_from_the_living(&self, record: &mut Record, claim: &Claim) -> Answer {
        if self.is_retired(claim) {
            return Answer::Retired;
        }
        loop {
            let now = now();
            record.expire(now.instant);
            match record.before(claim.owner).filter(|client| self.bell.is_dead(*client)) {
                Some(dead) => record.bury(dead),
                None => return record.claim(claim, self.bell.address(), now),
            }
        }
    }

    /// Ring the first of the line that is alive, if the lock is free.
    async fn wake_next(&self, name: &LockName, mut next: Option<u64>) -> Result<(), Error> {
        while let Some(client) = next.filter(|client| !self.bells.ring(*client, name)) {
            let bury = |record: &mut Record| {
                record.bury(client);
                record.next_in_line()
            };
            next = self.request(|store| store.change(name, bury)).await?;
        }
        Ok(())
    }

    fn is_retired(&self, claim: &Claim) -> bool {
        lock(&self.retired).contains(claim.owner)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
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
    for turn in 0.. {
        match work() {
            Err(Failure::Busy) if turn < 10 => std::thread::yield_now(),
            Err(Failure::Busy) if runtime.now().since(started) < patience => {
                runtime.sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(10));
            }
            done => return Ok(done?),
        }
    }
    unreachable!("turns do not run out")
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
        let change = |record: &mut Record| self.claim_from_the_living(record, claim);
        self.request(|store| store.change(&claim.name, change)).await
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        let leases = leases.to_vec();
        let renew = |record: &mut Record, held: &Held| match record.renew(
            held.owner,
            held.ttl,
            now().instant,
        ) {
            true => Renewal::Kept,
            false => Renewal::Gone,
        };
        self.lane
            .run(move |store| {
                store.change_each(leases.iter().map(|held| (&held.name, held)), renew)
            })
            .await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        lock(&self.retired).insert(held.owner);
        let release = |record: &mut Record| {
            let now = now();
            let was_held = record.release(held.owner, now.instant);
            let next = then.map(|then| match was_held && !self.is_retired(then) {
                true => record.hand_over(then, self.bell.address(), now),
                false => self.claim_from_the_living(record, then),
            });
            let others = record.waiters_besides(then.map(|then| then.owner));
            (Released { held: was_held, next, others }, record.next_in_line())
        };
        let (released, next) = self.request(|store| store.change(&held.name, release)).await?;
        // The lock is free already: a line that is not woken asks by itself.
        drop(self.wake_next(&held.name, next).await);
        Ok(released)
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        lock(&self.retired).insert(claim.owner);
        let withdraw = |record: &mut Record| {
            record.withdraw(claim.owner, now().instant);
            record.next_in_line()
        };
        let next = self.request(|store| store.change(&claim.name, withdraw)).await?;
        self.wake_next(&claim.name, next).await
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        let evict = |record: &mut Record| {
            record.expire(now().instant);
            (record.tenant.take(), record.next_in_line())
        };
        let (evicted, next) = self.request(|store| store.change(name, evict)).await?;
        let Some(tenant) = evicted else { return Ok(false) };
        self.bells.ring(tenant.client, name);
        self.wake_next(name, next).await?;
        Ok(true)
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let name = name.cloned();
        let records = self.lane.run(move |store| store.read(name.as_ref())).await?;
        let now = now().instant;
        let status = |(name, mut record): (LockName, Record)| {
            record.expire(now);
            for client in record.clients() {
                if self.bell.is_dead(client) {
                    record.bury(client);
                }
            }
            (!record.is_idle()).then(|| record.status(&name, now))
        };
        Ok(records.into_iter().filter_map(status).collect())
    }

    async fn wake(&self) -> Wake {
        self.bell.heard().await
    }

    fn describe(&self) -> &str {
        &self.description
    }
}

/// Remove what the dead have left, but for those who still stand in somebody's way.
fn sweep(bells: &Bells, store: &Store) {
    let dead = bells.dead();
    let Ok(records) = store.read(None) else { return };
    let mentioned: HashSet<_> = records.iter().flat_map(|(_, record)| record.clients()).collect();
    dead.iter()
        .filter(|client| !mentioned.contains(client))
        .for_each(|client| bells.remove(*client));
}
