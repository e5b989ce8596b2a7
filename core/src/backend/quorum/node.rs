//! One server of a quorum: what it is asked, and what it says.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::{Claim, Ear, Holder, Mode};
use crate::error::Error;
use crate::name::{LockName, Owner};

/// How far ahead of its own clock a node accepts a ballot, so that no wild
/// clock can drive the ballots away from what the others accept.
pub const CLAMP: Duration = Duration::from_secs(1);

/// Which server it is, whatever its name: two that are equal are one server,
/// and have one vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerId(pub u128);

/// What a node said, and which server said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    /// The server that the node's name led to.
    pub by: ServerId,
    /// What it said.
    pub said: T,
}

/// A claim for one node.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks, and for how long.
    pub claim: Claim,
    /// The fence that the claim is to have, in microseconds since 1970; of one that is to
    /// share the lock, that of the turn which it begins where nobody has begun one.
    pub ballot: u64,
    /// As whom it asks this node.
    pub role: Role,
    /// The only turn that it would share; without, any.
    pub wanted: Option<u64>,
}

/// As whom a claim asks a node. Safety does not depend on it, order does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The node keeps the line of this lock: grant to the first of it only, and
    /// let others take a place.
    Arbiter,
    /// The line is kept elsewhere: grant only while nobody is known to wait.
    Newcomer,
    /// The same, but this is the first of the line; so many wait behind it.
    First {
        /// How many.
        waiting: usize,
    },
}

/// What a node says to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// The node has the claim's owner as its holder, for its ttl from now, and
    /// grants no ballot that is not larger.
    Granted {
        /// How many wait in the node's line.
        waiting: usize,
        /// The fence: the ballot, or the number of the turn that it shares.
        fence: u64,
    },
    /// Others share it here, in another turn than the one that is wanted; nothing changed.
    Other {
        /// The number of their turn.
        turn: u64,
    },
    /// Somebody else holds it here.
    Busy {
        /// The ballot of the holder, or the turn of those who share it; zero for one that has
        /// none, of another library.
        holder: u64,
        /// When that lease ends unless it is renewed; unknown if it has no end.
        free_in: Option<Duration>,
        /// How many stand before the claim in the node's line; before one that would share
        /// the lock none, unless one of them would not.
        ahead: usize,
    },
    /// It is free here, but somebody else's turn.
    Reserved {
        /// How many stand before the claim in the node's line.
        ahead: usize,
    },
    /// Only a larger ballot than this can be granted, or begin or join a turn.
    Stale {
        /// The largest that was granted or used up, the quarantine's end, or the wanted turn.
        above: u64,
    },
    /// The ballot is too far ahead of the node's clock.
    Ahead,
    /// The node may have lost data and grants nothing until all leases that it
    /// may have forgotten are over.
    Quarantined {
        /// For how long.
        ends_in: Duration,
    },
}

/// A vote, and the node's wall clock at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The vote.
    pub vote: Vote,
    /// Microseconds since 1970.
    pub micros: u64,
}

/// What is given back to a node.
#[derive(Clone, Debug)]
pub struct Return {
    /// The lock.
    pub name: LockName,
    /// Whose it is.
    pub owner: Owner,
    /// How it was asked for.
    pub mode: Mode,
    /// Used up: the node grants this ballot to nobody from here on. What the
    /// owner was granted by a larger one stays. Of one who shares the lock it is the
    /// largest by which the owner has asked for anything, and no share is taken by it or a
    /// smaller one from here on.
    pub ballot: u64,
    /// What ends.
    pub what: Ends,
    /// Who is to have the lock next, ahead of the line if this was held. Neither of the two
    /// shares it.
    pub next: Option<Ask>,
}

/// What ends with a [`Return`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// A lease; renewals of it that come late take nothing again.
    Lease,
    /// An attempt, and its place in the line.
    Attempt,
    /// The vote only; the attempt goes on.
    Vote {
        /// The node keeps the line, and who gives the vote back waits: it stands
        /// before all others, as it did before it was granted, for so long.
        place: Option<Duration>,
    },
}

/// What came of a [`Return`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Whether the owner held the lock here until now.
    pub held: bool,
    /// How many wait in the node's line.
    pub waiting: usize,
    /// The vote on the next.
    pub next: Option<Said>,
}

/// A lease that wants to be renewed, on a node that may not know it yet.
#[derive(Clone, Debug)]
pub struct Vow {
    /// The lease, with who holds it.
    pub claim: Claim,
    /// Its ballot; of one that is shared, a new one for each renewal.
    pub ballot: u64,
    /// Its fence.
    pub fence: u64,
}

/// What a node says to a [`Vow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It was held here, and its ttl runs anew.
    Yes,
    /// It was not held here, and is from now on.
    TakenIn,
    /// It is not held here.
    No,
}

/// What came of a renewal of several leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// One answer each, in order.
    pub kept: Vec<Kept>,
    /// The node's wall clock at that moment, in microseconds since 1970, if it tells it: by
    /// it ballots are chosen, also for the next renewal of a lease that is shared.
    pub micros: Option<u64>,
}

/// The largest number that stands for a holder without a ballot. All ballots are larger.
pub const FOREIGN: u64 = 1 << 32;

/// What came of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// Somebody held the lock here until now, and it was taken from them.
    pub held: bool,
    /// No renewal brings back a lease whose ballot or turn is this or smaller, here.
    pub over: u64,
    /// The ballot or turn by which it is held here now; zero if nobody holds it. A holder that
    /// has none, of another library, has a number of up to [`FOREIGN`], and only that very number
    /// takes the lock from it.
    pub holder: u64,
}

/// A lock as one node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The lock.
    pub name: LockName,
    /// Who holds it here, and by which ballot.
    pub holder: Option<(u64, Holder)>,
    /// Who shares it here; the fence of each is their turn.
    pub sharers: Vec<(Owner, Holder)>,
    /// The labels of those who wait here, first come first.
    pub waiters: Vec<std::sync::Arc<str>>,
}

/// What a node tells a client unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The lock is free, and it is this waiter's turn.
    Turn {
        /// The lock.
        name: LockName,
        /// The claim that waits in the node's line.
        owner: Owner,
        /// How many wait behind it.
        waiting: usize,
    },
    /// A lease of this lock may be gone.
    Gone(LockName),
    /// The connection was made anew: anything may have happened.
    Reconnected,
}

/// One client's connection to one node.
///
/// A request is on its way as soon as its future was polled once, and arrives
/// or not whatever becomes of the future. `unavailable` at once when there is
/// no connection; the node looks for a new one by itself. Every answer tells
/// which server it is from: of a round's answers each server's first one counts.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    /// Ask for a vote.
    async fn vote(&self, ask: &Ask) -> Result<Signed<Said>, Error>;

    /// Give back what was or may have been granted, and wake the first of the
    /// line or grant to the next.
    async fn give_back(&self, back: &Return) -> Result<Signed<Returned>, Error>;

    /// Restart the ttl of leases that are held here, and take in those that are
    /// not while nobody else holds the lock, or where they share their turn.
    async fn renew(&self, leases: &[Vow]) -> Result<Signed<Renewed>, Error>;

    /// Take the lock from who holds it by a ballot up to this one, or from all who share it in
    /// a turn up to this one, and note that those leases are over, whether they were here or
    /// not. Zero changes nothing: it asks who holds it.
    async fn evict(&self, name: &LockName, up_to: u64) -> Result<Signed<Evicted>, Error>;

    /// The locks that are held or waited for here: all, or the one of this name.
    async fn inspect(&self, name: Option<&LockName>) -> Result<Signed<Vec<Seen>>, Error>;

    /// What the node tells next. Only one caller waits at a time.
    async fn news(&self) -> News;

    /// Who waits for news says so.
    fn listen(&self, _ear: Arc<dyn Ear>) {}

    /// Whether it is connected and answers.
    fn is_well(&self) -> bool;

    /// Whether it is connected, though it may be slow.
    fn is_connected(&self) -> bool {
        self.is_well()
    }

    /// See [`Backend::response_timeout`](crate::backend::Backend::response_timeout).
    fn response_timeout(&self) -> Duration {
        Duration::ZERO
    }

    /// Its wall clock as it was read at connect, in microseconds since 1970, and
    /// how long ago that was; `None` before the first connection.
    fn clock_at_connect(&self) -> Option<(u64, crate::time::Instant)>;

    /// What it promises less, as it is configured; for people to read.
    fn caveats(&self) -> Vec<String> {
        Vec::new()
    }

    /// As messages name it; without passwords.
    fn describe(&self) -> &str;
}

/// What one of the nodes tells, and which.
pub(super) async fn next(
    news: &mut [Pin<Box<dyn Future<Output = News> + Send + '_>>],
) -> (usize, News) {
    poll_fn(|cx| {
        let ready =
            news.iter_mut().enumerate().find_map(|(node, news)| match news.as_mut().poll(cx) {
                Poll::Ready(news) => Some((node, news)),
                Poll::Pending => None,
            });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
