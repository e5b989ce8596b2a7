//! Work that is done once per interval.

use std::pin::pin;
use std::time::Duration;

use crate::backend::Status;
use crate::block::inside;
use crate::engine::Patience;
use crate::error::Error;
use crate::lease::Lease;
use crate::leases::Leases;
use crate::lock::Lock;
use crate::settings::check_rest;

/// Work that is done once per interval, or once for each [slot](Once::slot), whoever tries
/// how often: a name and options. Options are those of [`Lock`].
///
/// It is a lock that is only tried. After the work has succeeded the lock *rests*, as with
/// [`min_hold`](Lock::min_hold); whoever comes while another works or the lock rests skips.
/// After a failure, a panic, a cancellation or a loss of the lease it is free at once, and
/// after a crash when its ttl is over. Time is the server's: the clocks of the clients do
/// not matter. On the embedded backend a rest ends when the machine restarts, and nowhere
/// does it outlive the server's data.
///
/// ```
/// # use std::time::Duration;
/// # use leasehold::{Error, Run};
/// # async fn nightly(client: leasehold::Client) -> Result<(), Error> {
/// let day = Duration::from_secs(24 * 60 * 60);
/// match client.once("nightly").every(day).run(async |_| report().await).await? {
///     Run::Ran(done) => println!("done: {done:?}"),
///     Run::Skipped { why, next_in } => println!("{why}, the next in {next_in:?}"),
/// }
/// # Ok(()) }
/// # async fn report() -> std::io::Result<()> { Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "nothing runs until it is run"]
pub struct Once {
    /// Of the name without its slot.
    lock: Lock,
    every: Option<Duration>,
    slot: Option<String>,
}

/// What came of a try.
#[derive(Debug)]
#[must_use = "it may have been skipped"]
pub enum Run<T> {
    /// It was run, and this is what it came to.
    Ran(T),
    /// It was not.
    Skipped {
        /// Why not.
        why: Skip,
        /// When to try again: when the rest ends; while another works, when its lease ends
        /// unless it is renewed, and zero where it has just ended.
        next_in: Duration,
    },
}

/// Why work was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skip {
    /// Somebody is at it.
    Running,
    /// It was done.
    Rested,
}

impl Skip {
    /// The stable name that crosses every language border.
    pub const fn code(self) -> &'static str {
        match self {
            Skip::Running => "running",
            Skip::Rested => "rested",
        }
    }
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Skip::Running => "another is running it",
            Skip::Rested => "it was run before",
        })
    }
}

/// A slot is remembered for a week unless more is asked for.
const SLOT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Once {
    pub(crate) fn new(lock: Lock) -> Self {
        Self { lock, every: None, slot: None }
    }

    /// The interval, up to 400 days, from one run's begin to the next. Needed where there
    /// is no slot. The lock rests for 95 % of it, so that a timer which comes a little
    /// early finds it free again. With a slot: how long that is remembered after it was
    /// run, which is 7 days unless set.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = Some(every);
        self
    }

    /// Once for each slot instead of each interval, such as `2026-11-27`: for runs that
    /// follow a calendar. A slot is a text without `@`; each is a lock of its own, `NAME@SLOT`.
    pub fn slot(mut self, slot: impl Into<String>) -> Self {
        self.slot = Some(slot.into());
        self
    }

    /// See [`Lock::ttl`].
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { lock: self.lock.ttl(ttl), ..self }
    }

    /// See [`Lock::delay`].
    pub fn delay(self, delay: Duration) -> Self {
        Self { lock: self.lock.delay(delay), ..self }
    }

    /// See [`Lock::max_hold`]. What ran for so long has failed.
    pub fn max_hold(self, max_hold: Duration) -> Self {
        Self { lock: self.lock.max_hold(max_hold), ..self }
    }

    /// See [`Lock::label`].
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { lock: self.lock.label(label), ..self }
    }

    /// Whether its name and options can be used. Running it tells the same.
    ///
    /// # Errors
    /// `invalid`; also for no interval and no slot, and for a slot with which the name is
    /// too long.
    pub fn check(&self) -> Result<(), Error> {
        self.checked().map(drop)
    }

    /// Do `work` if nobody else is at it or has done it: it is skipped at once otherwise.
    ///
    /// It has succeeded if it answers `Ok`. The lease is lost as in [`Lock::run`]: `work` is
    /// dropped where it stands.
    ///
    /// # Errors
    /// As [`Lock::try_acquire`], and `lost`; but a backend that is not there yet is waited
    /// for, for 10 s. That a backend does not answer is an error and never a skip. A
    /// release that the backend did not confirm may leave no rest. `unsupported` on a quorum, which has no locks that rest.
    ///
    /// # Cancel safety
    /// Dropped at any point, `work` is dropped and has failed.
    pub async fn run<T, E>(
        &self,
        work: impl AsyncFnOnce(&Lease) -> Result<T, E>,
    ) -> Result<Run<Result<T, E>>, Error> {
        let lease = match self.try_begin().await? {
            Run::Ran(lease) => lease,
            Run::Skipped { why, next_in } => return Ok(Run::Skipped { why, next_in }),
        };
        let result = {
            let work = pin!(work(&lease));
            tokio::select! {
                biased;
                _ = lease.lost() => None,
                result = inside(|block| lease.keep_for(block), work) => Some(result),
            }
        };
        if matches!(result, Some(Ok(_))) {
            lease.succeed();
        }
        lease.finish().await?;
        result.map(Run::Ran).ok_or_else(|| lease.over())
    }

    /// Hold the lock, for faces that run the work themselves: they tell the lease when it
    /// has succeeded, and finish it.
    #[doc(hidden)]
    pub async fn begin(&self) -> Result<Run<Leases>, Error> {
        Ok(match self.try_begin().await? {
            Run::Ran(lease) => Run::Ran(Leases::of(vec![lease])),
            Run::Skipped { why, next_in } => Run::Skipped { why, next_in },
        })
    }

    async fn try_begin(&self) -> Result<Run<Lease>, Error> {
        let (lock, rest) = self.checked()?;
        // Nobody runs it while the backend is not there yet: there is nothing to skip.
        lock.connected(Patience::Forever).await?;
        if let Some(lease) = lock.take_without_rest(Patience::Try, true, None).await? {
            lease.rest_on_success(rest);
            return Ok(Run::Ran(lease));
        }
        let status = lock.status().await?;
        let (why, next_in) = status.map_or((Skip::Running, Duration::ZERO), skipped);
        Ok(Run::Skipped { why, next_in })
    }

    /// The lock, and for how long it rests.
    fn checked(&self) -> Result<(Lock, Duration), Error> {
        let rest = match (&self.slot, self.every) {
            (_, Some(every)) if every < Self::SHORTEST => {
                let message = format!("every must be at least {:?}, not {every:?}", Self::SHORTEST);
                return Err(Error::invalid(message));
            }
            (Some(_), every) => every.unwrap_or(SLOT),
            (None, Some(every)) => every - every / 20,
            (None, None) => {
                return Err(Error::invalid(
                    "once needs an interval, as every=1h, or a slot, as slot=2026-11-27",
                ));
            }
        };
        check_rest("every", self.every.unwrap_or(SLOT))?;
        let lock = match self.slot.as_deref() {
            Some(slot) if slot.is_empty() || slot.contains('@') => {
                let message = format!("a slot is a text without @, not {slot:?}");
                return Err(Error::invalid(message));
            }
            Some(slot) => self.lock.named(&format!("{}@{slot}", self.lock.name())),
            None => self.lock.clone(),
        };
        lock.check()?;
        Ok((lock, rest))
    }

    const SHORTEST: Duration = Duration::from_secs(1);
}

/// Why the lock is busy, and for how long.
fn skipped(status: Status) -> (Skip, Duration) {
    match status.holder() {
        Some(holder) if holder.resting => (Skip::Rested, holder.free_in),
        Some(holder) => (Skip::Running, holder.free_in),
        // Somebody waits for it who has it in a moment.
        None => (Skip::Running, Duration::ZERO),
    }
}
