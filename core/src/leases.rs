//! Locks that are held together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Engine, Loss, Tie};
use crate::error::{Error, Kind, Outcome};
use crate::lease::{Lease, Watch};
use crate::ticket::Ticket;
use crate::together::together;

/// Several locks that are held together: a fence for each name, and one end.
///
/// When one is lost all are: none is valid from that moment on, and all are reported
/// lost. They are given back in reverse, when they are released or dropped; those of a
/// holder that hangs after a loss at their deadlines.
pub struct Leases {
    /// In the order in which they were taken.
    leases: Vec<Lease>,
    tie: Arc<Tie>,
}

impl Leases {
    pub(crate) fn of(leases: Vec<Lease>) -> Self {
        let tie = Tie::of(leases.iter().map(Lease::hold).collect());
        let together = Self { leases, tie };
        if together.leases.len() > 1 {
            together.engine().tie(together.tie.clone());
        }
        together
    }

    fn engine(&self) -> &Arc<Engine> {
        self.first().engine()
    }

    /// The first of them, for faces that have one lease as a group of one.
    #[doc(hidden)]
    pub fn first(&self) -> &Lease {
        // There is one: no names are refused.
        &self.leases[0]
    }

    /// [`Term::proclaim`](crate::Term::proclaim), for the same.
    #[doc(hidden)]
    pub async fn proclaim(&self, value: &str) -> Result<(), Error> {
        self.first().show(value).await
    }

    /// The work of a [`Once`](crate::Once) has succeeded: what is left is to give this back.
    #[doc(hidden)]
    pub fn succeed(&self) {
        self.leases.iter().for_each(Lease::succeed);
    }

    /// A task is inside of a block that gives them back at its end, and does nothing else until
    /// then; for faces that have such blocks. It is a number that no other task has while it
    /// is inside; with zero it is inside no more. Whoever asks as that task for what it holds
    /// is [refused](crate::Locks::asked_by).
    #[doc(hidden)]
    pub fn keep_for(&self, task: u64) {
        self.leases.iter().for_each(|lease| lease.keep_for(task));
    }

    /// The names, in the order in which they were taken.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.leases.iter().map(Lease::name)
    }

    /// The [fence](Lease::fence) of each name.
    pub fn fences(&self) -> BTreeMap<String, u64> {
        self.leases.iter().map(|lease| (lease.name().to_owned(), lease.fence())).collect()
    }

    /// The [fence](Lease::fence) of one name; `None` for one that is not of the group.
    pub fn fence(&self, name: &str) -> Option<u64> {
        self.leases.iter().find(|lease| lease.name() == name).map(Lease::fence)
    }

    /// With etcd: the [key](Lease::key) of each name. Empty elsewhere.
    pub fn keys(&self) -> BTreeMap<String, String> {
        let keyed = self.leases.iter().filter_map(|lease| Some((lease, lease.key()?)));
        keyed.map(|(lease, key)| (lease.name().to_owned(), key)).collect()
    }

    /// One statement for all of them; see [`Lease::guard`].
    ///
    /// # Errors
    /// As [`Lease::guard`]: `lost` naming the lock that was lost.
    pub fn guard(&self) -> Result<String, Error> {
        self.check()?;
        Lease::guard_all(&self.leases)
    }

    /// With permits: the [slot](Lease::slot) of each name. Empty without.
    pub fn slots(&self) -> BTreeMap<String, u32> {
        let counted = self.leases.iter().filter_map(|lease| Some((lease, lease.slot()?)));
        counted.map(|(lease, slot)| (lease.name().to_owned(), slot)).collect()
    }

    /// See [`Lease::proof_of_life`].
    pub fn proof_of_life(&self) -> Option<std::os::fd::OwnedFd> {
        self.first().proof_of_life()
    }

    /// See [`Lease::ttl`].
    pub fn ttl(&self) -> Duration {
        self.first().ttl()
    }

    /// Whether all are held at this instant; see [`Lease::is_valid`].
    pub fn is_valid(&self) -> bool {
        self.leases.iter().all(Lease::is_valid)
    }

    /// Whether all are held at this instant, with the reason if they are not.
    ///
    /// # Errors
    /// `lost`, naming the lock, and `not_held` after a release.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_valid() { Ok(()) } else { Err(self.over()) }
    }

    /// How long all stay valid without another renewal; zero when one is over.
    pub fn remaining(&self) -> Duration {
        self.leases.iter().map(Lease::remaining).min().unwrap_or_default()
    }

    /// Wait until one is lost; see [`Lease::lost`]. [`lost_name`](Leases::lost_name) tells
    /// which.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn lost(&self) -> Loss {
        match self.tie.ended().await {
            Some(loss) => loss,
            None => std::future::pending().await,
        }
    }

    /// Why they were lost, if they were.
    pub fn loss(&self) -> Option<Loss> {
        self.tie.lost().map(|(_, loss)| loss)
    }

    /// Which was lost first, if they were lost.
    pub fn lost_name(&self) -> Option<&str> {
        self.tie.lost().map(|(hold, _)| hold.held().name.as_str())
    }

    /// Word of their end, for somebody who does not hold them.
    pub fn watch(&self) -> Watch {
        Watch::of(self.tie.clone())
    }

    /// Renew all now; see [`Lease::renew`].
    ///
    /// # Errors
    /// As [`Lease::renew`], the first of them.
    ///
    /// # Cancel safety
    /// As [`Lease::renew`].
    pub async fn renew(&self) -> Result<(), Error> {
        first_error(together(self.leases.iter().map(|lease| lease.renew())).await)
    }

    /// Renew all now, by another ttl; see [`Lease::renew_for`].
    ///
    /// # Errors
    /// As [`Lease::renew_for`], the first of them.
    ///
    /// # Cancel safety
    /// As [`Lease::renew`].
    pub async fn renew_for(&self, ttl: Duration) -> Result<(), Error> {
        first_error(together(self.leases.iter().map(|lease| lease.renew_for(ttl))).await)
    }

    /// Hand it to another process; see [`Lease::into_ticket`]. Not for several.
    ///
    /// # Errors
    /// As [`Lease::into_ticket`]; `unsupported` for several, which are still held then.
    ///
    /// # Cancel safety
    /// As [`Lease::into_ticket`].
    pub async fn into_ticket(&self) -> Result<Ticket, Error> {
        self.alone()?.into_ticket().await
    }

    /// The same with how long the ticket is valid; see [`Lease::into_ticket_for`].
    ///
    /// # Errors
    /// As [`into_ticket`](Leases::into_ticket).
    ///
    /// # Cancel safety
    /// As [`Lease::into_ticket`].
    pub async fn into_ticket_for(&self, valid: Duration) -> Result<Ticket, Error> {
        self.alone()?.into_ticket_for(valid).await
    }

    /// A ticket has one name, and what is held together is lost together.
    fn alone(&self) -> Result<&Lease, Error> {
        match &*self.leases {
            [lease] => Ok(lease),
            several => {
                let message = format!(
                    "{} locks that are held together cannot be handed to another process; take \
                     one lock for all of them, or take them there",
                    several.len()
                );
                Err(Error::new(Kind::Unsupported, message).with_outcome(Outcome::Held))
            }
        }
    }

    /// The error for using them after their end.
    pub(crate) fn over(&self) -> Error {
        self.engine().over_together(&self.tie)
    }

    /// Give all back, in reverse, and hear how they ended; see [`Lease::release`].
    ///
    /// # Errors
    /// As [`Lease::release`]: `lost` if one was, naming that, else the first error.
    ///
    /// # Cancel safety
    /// Once polled it cannot be lost: dropped midway, it goes on in the background.
    pub async fn release(&self) -> Result<(), Error> {
        // One that stays for its delay because of another's loss does so whoever is first.
        self.engine().end_together(&self.tie);
        let ended = together(self.leases.iter().rev().map(|lease| lease.release())).await;
        if self.loss().is_some() { Err(self.over()) } else { first_error(ended) }
    }

    /// Give all back at the end of the work that they were held for; see
    /// [`Lease::finish`].
    ///
    /// # Errors
    /// `lost`, and `closed` in a fork.
    ///
    /// # Cancel safety
    /// As [`release`](Leases::release).
    pub async fn finish(&self) -> Result<(), Error> {
        match self.release().await {
            Err(error) if !matches!(error.kind(), Kind::Lost | Kind::Closed) => Ok(()),
            ended => ended,
        }
    }
}

impl From<Lease> for Leases {
    /// A group of one.
    fn from(lease: Lease) -> Self {
        Self::of(vec![lease])
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.engine().end_together(&self.tie);
        while self.leases.pop().is_some() {}
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.leases).finish()
    }
}

pub(crate) fn first_error(ended: Vec<Result<(), Error>>) -> Result<(), Error> {
    ended.into_iter().collect()
}
