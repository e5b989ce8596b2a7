//! Elections: an exclusive lock whose holder shows a value.

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Mode, Status};
use crate::block::inside;
use crate::error::{Error, Kind};
use crate::leaders::Leaders;
use crate::lease::Lease;
use crate::lock::Lock;
use crate::locks::Locks;
use crate::settings::Settings;

/// An election: who holds the lock of this name leads, and shows a value. Making one
/// does no I/O, and a bad name or option is reported when it is
/// [checked](Election::check) or used.
///
/// It is the [lock](Lock) of the same name, taken alone: all that is said of locks is
/// true of it. Leaders follow each other in the order in which they began to campaign.
#[derive(Clone)]
#[must_use = "an election does nothing until somebody campaigns or asks who leads"]
pub struct Election {
    /// Labelled with the value.
    lock: Lock,
    value: String,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// What it shows; empty if it has shown nothing.
    pub value: String,
    /// The number of its term, which is the [fence](Lease::fence) of its lease.
    pub term: u64,
    /// Its host and process id, and the value.
    pub label: Arc<str>,
    /// For how long it has led.
    pub held_for: Duration,
    /// When its term and the [delay](Election::delay) end unless it is renewed.
    pub free_in: Duration,
}

impl Leader {
    pub(crate) fn of(status: Option<&Status>) -> Result<Option<Self>, Error> {
        let holder = status.and_then(Status::holder).filter(|holder| !holder.resting);
        let Some(holder) = holder else { return Ok(None) };
        if holder.mode != Mode::Exclusive {
            let message = "the lock of this name is shared or has permits, and no election: give \
                           the election a name of its own";
            return Err(Error::new(Kind::Refused, message));
        }
        Ok(Some(Self {
            value: holder.text().to_owned(),
            term: holder.fence,
            label: holder.label.clone(),
            held_for: holder.held_for,
            free_in: holder.free_in,
        }))
    }
}

impl Election {
    pub(crate) fn new(lock: Lock) -> Self {
        let value = String::new();
        // The label of the client's locks is not a value.
        Self { lock: lock.label(""), value }
    }

    /// What the leader shows, such as the address by which others reach it: up to 256
    /// bytes without control characters; nothing unless set. It stands where others
    /// see the label of a lock.
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self.lock = self.lock.label(&*self.value);
        self
    }

    /// See [`Lock::ttl`]: how long others wait for a leader that vanished.
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { lock: self.lock.ttl(ttl), ..self }
    }

    /// See [`Lock::delay`]: how long nobody leads after the end of a term that was not
    /// given back. The one who led before is named until then.
    pub fn delay(self, delay: Duration) -> Self {
        Self { lock: self.lock.delay(delay), ..self }
    }

    /// How long a campaign lasts; see [`Lock::wait`].
    pub fn wait(self, wait: Duration) -> Self {
        Self { lock: self.lock.wait(wait), ..self }
    }

    /// The longest term; see [`Lock::max_hold`].
    pub fn max_hold(self, max_hold: Duration) -> Self {
        Self { lock: self.lock.max_hold(max_hold), ..self }
    }

    /// Whether its name and options can be used. Using it tells the same.
    ///
    /// # Errors
    /// `invalid`.
    pub fn check(&self) -> Result<(), Error> {
        Settings::check_label(&self.value, "the value of an election")?;
        self.lock.check()
    }

    /// Wait until this one leads.
    ///
    /// # Errors
    /// As [`Lock::acquire`]. Nothing is held after an error.
    ///
    /// # Cancel safety
    /// Cancel safe, as [`Lock::acquire`]: dropped at any point, it does not lead and
    /// does not stand in line.
    pub async fn campaign(&self) -> Result<Term, Error> {
        self.check()?;
        Ok(Term { lease: self.lock.acquire().await? })
    }

    /// Campaign, do `body` while leading, and campaign again after a loss; when `body`
    /// has returned under its term, resign and answer what it came to.
    ///
    /// A body ends before its term does: when the term is [lost](Lease::lost), the body
    /// is dropped where it stands, and only then the next campaign begins. Of a body
    /// that blocks its thread nothing can be promised but that
    /// [`is_valid`](Lease::is_valid) tells it the truth. What is to be spawned is an
    /// `async move` closure.
    ///
    /// # Errors
    /// As [`campaign`](Election::campaign), and each campaign has the whole of
    /// [`wait`](Election::wait): without one, it ends after a backend has not answered
    /// for 10 s, so call it again.
    ///
    /// # Cancel safety
    /// Dropped at any point, `body` is dropped, and it leads and waits no more.
    pub async fn lead<T>(&self, body: impl AsyncFn(&Term) -> T) -> Result<T, Error> {
        loop {
            let term = self.campaign().await?;
            let result = {
                let body = pin!(body(&term));
                tokio::select! {
                    biased;
                    _ = term.lost() => None,
                    result = inside(|block| term.keep_for(block), body) => Some(result),
                }
            };
            // A body that has been dropped, or done in vain, is begun again.
            let Some(result) = result else { continue };
            match term.finish().await {
                Err(error) if error.kind() == Kind::Lost => {}
                ended => return ended.map(|()| result),
            }
        }
    }

    /// For faces that have one lease as a group of one: to campaign is to acquire it.
    #[doc(hidden)]
    pub fn locks(&self) -> Locks {
        Locks::new(self.lock.clone(), vec![self.lock.name().to_owned()])
    }

    /// Who leads now; `None` when nobody does.
    ///
    /// # Errors
    /// `unavailable` when the backend cannot be asked; `refused` when the lock of this
    /// name is [shared](Lock::shared) or has [permits](Lock::permits); `invalid`, `closed`.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn leader(&self) -> Result<Option<Leader>, Error> {
        self.observe().ask(Duration::ZERO).await
    }

    /// Who leads, one after the other: the present leader first, then each change, of
    /// the value too, and *nobody* among them. It costs the leader nothing.
    pub fn observe(&self) -> Leaders {
        Leaders::new(self.lock.anchor().clone(), self.lock.name().to_owned())
    }
}

/// A term of a leader: a [lease](Lease) that shows a value. Dropped, it resigns in the
/// background.
#[derive(Debug)]
pub struct Term {
    lease: Lease,
}

impl Term {
    /// Its number, larger than that of every earlier term; it is the
    /// [fence](Lease::fence).
    pub fn number(&self) -> u64 {
        self.fence()
    }

    /// Show another value from now on. The term and its number stay.
    ///
    /// # Errors
    /// `lost` when the term is over, and then nothing is shown by it; `not_held` after
    /// resigning; `invalid` for a value that cannot be. `unavailable` when the backend
    /// did not answer: others see the value or the one before, and the one that was not
    /// confirmed may even come after a later one. Proclaim it again.
    ///
    /// # Cancel safety
    /// Dropped midway, the value may be shown or not.
    pub async fn proclaim(&self, value: impl Into<String>) -> Result<(), Error> {
        self.lease.show(&value.into()).await
    }

    /// End the term, and hand the lead to the next in line.
    ///
    /// # Errors
    /// As [`Lease::release`].
    ///
    /// # Cancel safety
    /// As [`Lease::release`].
    pub async fn resign(&self) -> Result<(), Error> {
        self.lease.release().await
    }
}

impl Deref for Term {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}
