//! What a task holds: one lease, several together, or a term.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold::{Error, Lease, Leases, Loss, Term};

/// What the ledger looks at from outside.
pub(super) trait Seen: Debug + Send + Sync + 'static {
    fn is_valid(&self) -> bool;
}

/// What a task works under.
pub(super) trait Held: Seen {
    fn loss(&self) -> Option<Loss>;
    fn lost(&self) -> impl Future<Output = Loss> + Send;
    fn release(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Seen for Lease {
    fn is_valid(&self) -> bool {
        self.is_valid()
    }
}

impl Held for Lease {
    fn loss(&self) -> Option<Loss> {
        self.loss()
    }

    fn lost(&self) -> impl Future<Output = Loss> + Send {
        self.lost()
    }

    fn release(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.release()
    }
}

impl Seen for Leases {
    fn is_valid(&self) -> bool {
        self.is_valid()
    }
}

impl Held for Leases {
    fn loss(&self) -> Option<Loss> {
        self.loss()
    }

    fn lost(&self) -> impl Future<Output = Loss> + Send {
        self.lost()
    }

    fn release(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.release()
    }
}

impl Seen for Term {
    fn is_valid(&self) -> bool {
        (**self).is_valid()
    }
}

impl Held for Term {
    fn loss(&self) -> Option<Loss> {
        (**self).loss()
    }

    fn lost(&self) -> impl Future<Output = Loss> + Send {
        (**self).lost()
    }

    fn release(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.resign()
    }
}

/// How a task asks for a lock in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Alone,
    Shared,
    Permits(u32),
}

/// What a task was given of one name.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) fence: u64,
    pub(super) slot: Option<u32>,
}

impl Grant {
    pub(super) fn of(lease: &Lease, kind: Kind) -> Self {
        let (name, fence, slot) = (lease.name().to_owned(), lease.fence(), lease.slot());
        Self { name, kind, fence, slot }
    }

    /// One for each name.
    pub(super) fn all(leases: &Leases, kind: Kind) -> Vec<Self> {
        let slots = leases.slots();
        let grant = |(name, fence): (String, u64)| {
            let slot = slots.get(&name).copied();
            Self { name, kind, fence, slot }
        };
        leases.fences().into_iter().map(grant).collect()
    }

    /// Whether one of the two cannot be held while the other is.
    pub(super) fn disturbs(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Shared, Kind::Shared) => self.fence != other.fence,
            (Kind::Permits(ours), Kind::Permits(theirs)) => {
                ours != theirs || self.slot == other.slot
            }
            _ => true,
        }
    }
}

/// A lease on its way to another process, as a ticket.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) text: String,
    pub(super) grant: Grant,
    /// When its time is over at the earliest, and the lock free.
    pub(super) until: Duration,
    /// Somebody has asked for it: it may be used up from then on.
    pub(super) opened: AtomicBool,
    /// Somebody has the lease.
    pub(super) adopted: AtomicBool,
}

impl Letter {
    pub(super) fn is_adopted(&self) -> bool {
        self.adopted.load(Ordering::SeqCst)
    }
}

pub(super) type Post = Vec<Arc<Letter>>;
