//! What was granted in a scenario so far, and the rules that every grant obeys.

use std::time::{Duration, Instant};

use super::answer::Lease;

/// A lease that some program got.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) actor: String,
    /// As the scenario calls it.
    pub(super) lease: String,
    pub(super) lock: String,
    pub(super) fence: u64,
    pub(super) kind: Kind,
    pub(super) ttl: Duration,
    /// When the runner heard of it.
    pub(super) at: Instant,
    /// Given back, or gone with its process.
    pub(super) is_over: bool,
}

/// With whom a lease may be at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Exclusive,
    Shared,
    /// With those of other slots.
    Slot(u32),
    /// A lease that another program had.
    Adopted,
}

impl Kind {
    /// Whether a lease of this kind and a later one of that kind need not exclude each other.
    fn is_beside(self, later: Self) -> bool {
        match (self, later) {
            (Self::Shared, Self::Shared) => true,
            (Self::Slot(one), Self::Slot(other)) => one != other,
            _ => false,
        }
    }

    fn are_ordered(self, fence: u64, later: Self, larger: u64) -> bool {
        match (self, later) {
            // The same turn, or the same lease.
            (Self::Shared, Self::Shared) | (_, Self::Adopted) => fence <= larger,
            (Self::Slot(one), Self::Slot(other)) if one != other => true,
            _ => fence < larger,
        }
    }
}

impl Grant {
    /// A fence stays what it was when it was granted.
    pub(super) fn is(&self, fence: Option<u64>) -> Result<(), String> {
        match fence == Some(self.fence) {
            true => Ok(()),
            false => Err(format!("its fence was {} and is {fence:?}", self.fence)),
        }
    }
}

#[derive(Default)]
pub(super) struct Grants {
    all: Vec<Grant>,
    /// Locks that were broken: their holders may not know yet.
    broken: Vec<String>,
}

impl Grants {
    /// Note a grant, whose fence must fit between those before and after it.
    pub(super) fn add(
        &mut self,
        actor: &str,
        lease: &str,
        lock: &str,
        got: &Lease,
        kind: Kind,
        at: Instant,
    ) -> Result<(), String> {
        for other in self.all.iter().filter(|other| other.lock == lock) {
            let is_ordered = if other.at <= at {
                other.kind.are_ordered(other.fence, kind, got.fence)
            } else {
                kind.are_ordered(got.fence, other.kind, other.fence)
            };
            if !is_ordered {
                let (fence, who) = (other.fence, &other.actor);
                return Err(format!("fence {} is not above {fence} of {who}", got.fence));
            }
        }
        let (actor, lease, lock) = (actor.to_owned(), lease.to_owned(), lock.to_owned());
        let ttl = Duration::from_secs_f64(got.ttl);
        let grant = Grant { actor, lease, lock, fence: got.fence, kind, ttl, at, is_over: false };
        self.all.push(grant);
        Ok(())
    }

    /// The ttl of the last grant of all.
    pub(super) fn last_ttl(&self) -> Option<Duration> {
        self.all.last().map(|grant| grant.ttl)
    }

    /// The last grant to an actor under this name.
    pub(super) fn of(&self, actor: &str, lease: &str) -> Option<&Grant> {
        self.all.iter().rev().find(|grant| grant.actor == actor && grant.lease == lease)
    }

    /// The last grant of a lock to an actor.
    pub(super) fn last_of(&self, actor: &str, lock: &str) -> Option<&Grant> {
        self.all.iter().rev().find(|grant| grant.actor == actor && grant.lock == lock)
    }

    pub(super) fn end(&mut self, actor: &str, lease: Option<&str>) {
        let of_it = |grant: &&mut Grant| {
            grant.actor == actor && lease.is_none_or(|lease| lease == grant.lease)
        };
        self.all.iter_mut().filter(of_it).for_each(|grant| grant.is_over = true);
    }

    pub(super) fn break_lock(&mut self, lock: &str) {
        self.broken.push(lock.to_owned());
    }

    /// All leases that must not be valid any more, because the lock was granted to
    /// somebody after them.
    pub(super) fn overtaken(&self) -> Vec<Grant> {
        let is_overtaken = |grant: &&Grant| {
            let mut later = self.all.iter().filter(|later| later.lock == grant.lock);
            !grant.is_over
                && !self.broken.contains(&grant.lock)
                && later.any(|later| later.at > grant.at && !grant.kind.is_beside(later.kind))
        };
        self.all.iter().filter(is_overtaken).cloned().collect()
    }
}
