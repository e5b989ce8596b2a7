//! Several names and options: the plan for leases that are held together.

use std::pin::pin;
use std::time::Duration;

use crate::block::inside;
use crate::engine::{Asker, Outage, Patience, Tie};
use crate::error::{Error, Kind};
use crate::lease::Lease;
use crate::leases::{Leases, first_error};
use crate::lock::Lock;
use crate::together::together;

/// Several locks to be taken together, all or nothing. Options are those of
/// [`Lock`], and hold for each of them; `wait` is for all together.
///
/// [`acquire`](Locks::acquire) takes them at once if all are free. Else they are taken one
/// after the other in the order of their names, byte by byte, so that groups never wait
/// for each other in a circle. Who holds a lock already and then waits for a group may.
#[derive(Clone)]
#[must_use = "locks do nothing until they are acquired"]
pub struct Locks {
    /// Of no name.
    lock: Lock,
    names: Vec<String>,
}

impl Locks {
    pub(crate) fn new(lock: Lock, mut names: Vec<String>) -> Self {
        names.sort();
        Self { lock, names }
    }

    /// The names, in the order in which they are taken.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// See [`Lock::shared`]. Each of them is shared.
    pub fn shared(self) -> Self {
        Self { lock: self.lock.shared(), ..self }
    }

    /// See [`Lock::permits`]. Each of them has as many.
    pub fn permits(self, permits: u32) -> Self {
        Self { lock: self.lock.permits(permits), ..self }
    }

    /// See [`Lock::ttl`].
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { lock: self.lock.ttl(ttl), ..self }
    }

    /// See [`Lock::delay`].
    pub fn delay(self, delay: Duration) -> Self {
        Self { lock: self.lock.delay(delay), ..self }
    }

    /// See [`Lock::wait`]. It is the time for all of them.
    pub fn wait(self, wait: Duration) -> Self {
        Self { lock: self.lock.wait(wait), ..self }
    }

    /// See [`Lock::max_hold`]. For each it counts from when that one was taken.
    pub fn max_hold(self, max_hold: Duration) -> Self {
        Self { lock: self.lock.max_hold(max_hold), ..self }
    }

    /// See [`Lock::min_hold`]. Each of them rests; it counts from when all are held, and
    /// what is given back before that leaves no rest.
    pub fn min_hold(self, min_hold: Duration) -> Self {
        Self { lock: self.lock.min_hold(min_hold), ..self }
    }

    /// See [`Lock::auto_renew`]. Until all are held they are renewed by whoever waits.
    pub fn auto_renew(self, auto_renew: bool) -> Self {
        Self { lock: self.lock.auto_renew(auto_renew), ..self }
    }

    /// See [`Lock::label`].
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { lock: self.lock.label(label), ..self }
    }

    /// Who asks, for faces that know it: a task, and those that wait for it, the outermost
    /// first. Whoever waits without end for a lease that it [keeps](crate::Leases::keep_for)
    /// itself is `refused` at once. Zero is no task.
    #[doc(hidden)]
    pub fn asked_by(self, tasks: &[u64]) -> Self {
        Self { lock: self.lock.asked_by(Asker::of(tasks)), ..self }
    }

    /// Whether the names and options can be used. Taking them tells the same.
    ///
    /// # Errors
    /// `invalid`; also for no name at all, and for one that is given twice.
    pub fn check(&self) -> Result<(), Error> {
        if self.names.is_empty() {
            return Err(Error::invalid("locks need at least one name, and there is none"));
        }
        if let Some(twice) = self.names.windows(2).find(|names| names[0] == names[1]) {
            let message = format!(
                "the name {:?} is given twice; whoever takes a lock twice waits for itself",
                twice[0]
            );
            return Err(Error::invalid(message));
        }
        self.names.iter().try_for_each(|name| self.lock.named(name).check())
    }

    /// Wait for all of them and hold them. What is held already while others are waited
    /// for is renewed, and given back in reverse if they do not all come.
    ///
    /// # Errors
    /// As [`Lock::acquire`], naming the lock that could not be had; `lost` when one that
    /// was held already was lost while another was waited for. Nothing is held after an
    /// error, though what was is perhaps given back a little later.
    ///
    /// # Cancel safety
    /// Cancel safe: dropped at any point, nothing stays held.
    pub async fn acquire(&self) -> Result<Leases, Error> {
        match self.take(self.lock.patience()).await? {
            Some(leases) => Ok(leases),
            None => Err(Error::new(Kind::Internal, "a wait ended without an answer")),
        }
    }

    /// Hold all of them if they are free now, and nobody stands in line for any.
    ///
    /// # Errors
    /// As [`Lock::try_acquire`], and `lost`. If one is busy that is `None`.
    ///
    /// # Cancel safety
    /// Cancel safe, as [`acquire`](Locks::acquire).
    pub async fn try_acquire(&self) -> Result<Option<Leases>, Error> {
        self.take(Patience::Try).await
    }

    /// Do `work` while holding all of them, as [`Lock::run`]: when one is lost, `work` is
    /// dropped where it stands, and the error is `lost` and names it.
    ///
    /// # Errors
    /// As [`acquire`](Locks::acquire), and `lost`.
    ///
    /// # Cancel safety
    /// Dropped at any point, `work` is dropped and the locks given back.
    pub async fn run<T>(&self, work: impl AsyncFnOnce(&Leases) -> T) -> Result<T, Error> {
        let leases = self.acquire().await?;
        let result = {
            let work = pin!(work(&leases));
            tokio::select! {
                biased;
                _ = leases.lost() => None,
                result = inside(|block| leases.keep_for(block), work) => Some(result),
            }
        };
        leases.finish().await?;
        result.ok_or_else(|| leases.over())
    }

    async fn take(&self, patience: Patience) -> Result<Option<Leases>, Error> {
        self.check()?;
        let (engine, patience) = self.lock.connected(patience).await?;
        let (since, mut outage) = (engine.runtime().now(), None);
        if self.names.len() > 1 && patience.waits() {
            match self.take_at_once().await {
                Ok(Some(leases)) => return Ok(Some(leases)),
                Ok(None) => {}
                // That was the time which an answer takes, and there is no more.
                Err(error) if !patience.after(engine.runtime().now().since(since)).waits() => {
                    return Err(error);
                }
                Err(error) => outage = Outage::told_by(error, since),
            }
        }
        let mut taken = Taken(Vec::with_capacity(self.names.len()));
        for name in &self.names {
            let left = patience.after(engine.runtime().now().since(since));
            let lock = self.lock.named(name);
            let next = tokio::select! {
                biased;
                error = taken.lost() => Err(error),
                next = lock.take_without_rest(left, false, outage.take()) => next,
            };
            match next {
                Ok(Some(lease)) => taken.0.push(lease),
                // The server answers, and so it does now.
                Ok(None) => {
                    taken.give_back().await;
                    return Ok(None);
                }
                Err(error) if error.kind() == Kind::Timeout => {
                    taken.give_back().await;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        if taken.0.len() > 1 {
            // Those that were taken first last as long as the others then.
            taken.refresh().await?;
        }
        taken.0.iter().for_each(|lease| self.lock.begin_min_hold(lease));
        Ok(Some(Leases::of(std::mem::take(&mut taken.0))))
    }

    /// In one round trip, if all are free. Whoever gets only some of them gives those
    /// back, and waits. One that only tries does not begin so: of two that have one lock
    /// each for a moment, each would be told that the other's is busy.
    async fn take_at_once(&self) -> Result<Option<Leases>, Error> {
        let locks: Vec<Lock> = self.names.iter().map(|name| self.lock.named(name)).collect();
        let tries = locks.iter().map(|lock| lock.take_without_rest(Patience::Try, false, None));
        let answers = together(tries).await;
        let (mut taken, mut trouble) = (Taken(Vec::with_capacity(locks.len())), None);
        for answer in answers {
            match answer {
                Ok(lease) => taken.0.extend(lease),
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        if taken.0.len() == locks.len() {
            taken.0.iter().for_each(|lease| self.lock.begin_min_hold(lease));
            return Ok(Some(Leases::of(std::mem::take(&mut taken.0))));
        }
        match trouble {
            // What was taken is given back in the background: the server does not answer.
            Some(error) => Err(error),
            None => {
                taken.give_back().await;
                Ok(None)
            }
        }
    }
}

/// What is held while the rest is waited for.
struct Taken(Vec<Lease>);

impl Taken {
    /// Ready when one is lost. Those that nobody else renews are renewed here.
    async fn lost(&self) -> Error {
        let Some(first) = self.0.first() else { return std::future::pending().await };
        let tie = Tie::of(self.0.iter().map(Lease::hold).collect());
        let lost = async {
            match tie.ended().await {
                Some(_) => first.engine().over_together(&tie),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            error = lost => error,
            error = self.renew_for_ever(first) => error,
        }
    }

    async fn renew_for_ever(&self, first: &Lease) -> Error {
        if first.is_renewed() {
            return std::future::pending().await;
        }
        loop {
            first.engine().runtime().sleep(first.ttl() / 3).await;
            if let Err(error) = self.refresh().await
                && error.kind() == Kind::Lost
            {
                return error;
            }
        }
    }

    /// Renew those that nobody else renews.
    async fn refresh(&self) -> Result<(), Error> {
        let alone = self.0.iter().filter(|lease| !lease.is_renewed());
        first_error(together(alone.map(|lease| lease.renew())).await)
    }

    async fn give_back(&mut self) {
        drop(together(self.0.iter().rev().map(Lease::release)).await);
        self.0.clear();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}
