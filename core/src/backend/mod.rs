//! The contract between the engine and whatever stores the leases.
//!
//! A backend answers single requests. It never waits, retries, renews, or
//! reads the client's clock for a decision: all patience lives in the engine,
//! once, for every backend. The rules that every backend keeps:
//!
//! 1. A new owner is granted the lock only when no live holder exists, and the
//!    fence is strictly larger than that of every earlier grant of the name.
//! 2. A claim repeated by the holder answers the same fence and restarts the
//!    lease's ttl, so that a retry after a lost answer is harmless.
//! 3. A claim that arrives after its own `withdraw` or `release` is
//!    [`Answer::Retired`]: no lease appears that nobody waits for.
//! 4. `release` and `renew` act only for the owner that holds; otherwise they
//!    say so and change nothing.
//! 5. Times that travel are durations. A server compares times only with its
//!    own clock.
//!
//! [`conformance_tests!`](crate::conformance_tests) has a named test for each.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, Kind, Outcome};
use crate::name::{LockName, Owner};

#[cfg(any(feature = "etcd", feature = "zookeeper"))]
mod cluster;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod columns;
#[cfg(any(
    feature = "redis",
    feature = "etcd",
    feature = "postgres",
    feature = "mysql",
    feature = "zookeeper"
))]
mod connection;
#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod lists;
mod memory;
mod mode;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(any(
    feature = "redis",
    feature = "etcd",
    feature = "postgres",
    feature = "mysql",
    feature = "zookeeper"
))]
mod net;
#[cfg(any(feature = "redis", feature = "etcd"))]
mod parts;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub mod quorum;
mod record;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod sql;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
mod status;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "zookeeper")]
pub(crate) mod zookeeper;

#[cfg(feature = "etcd")]
pub use etcd::Etcd;
pub use memory::{Memory, MemoryClient};
pub use mode::Mode;
#[cfg(feature = "mysql")]
pub use mysql::Mysql;
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
pub use quorum::Quorum;
#[cfg(feature = "redis")]
pub use redis::Redis;
#[cfg(feature = "sqlite")]
pub use sqlite::Sqlite;
pub(crate) use status::process;
pub use status::{Holder, Status};
#[cfg(feature = "zookeeper")]
pub use zookeeper::Zookeeper;

/// How long a lock that a server hands on is held, at most, unless its client renews it.
/// It counts from when the client last asked, some 700 ms before at the latest; a second
/// of it is to be left then, also on a busy machine.
pub const GRANT_WINDOW: Duration = Duration::from_secs(2);

/// One attempt to take a lock.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The lock.
    pub name: LockName,
    /// This attempt's own id.
    pub owner: Owner,
    /// How long the lease lasts on the server when it is not renewed.
    pub ttl: Duration,
    /// The last part of that, which is a lock-delay: the holder does not count on
    /// it, and a backend that frees the locks of dead processes sooner does not
    /// free this one before its ttl has passed.
    pub delay: Duration,
    /// How the lock is shared.
    pub mode: Mode,
    /// Who asks, for people to read.
    pub label: Arc<str>,
    /// `Some`: when the lock is busy, take a place in the server's line and
    /// keep it this long unless asked again. `None`: only try.
    pub place: Option<Duration>,
    /// See [`Held::renewed`].
    pub renewed: bool,
}

/// What a claim came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The claim's owner holds the lock.
    Granted {
        /// The fencing token. Those who share a turn have the same.
        fence: u64,
        /// Which of the permits it is, from 0; 0 where nothing is counted.
        slot: u32,
        /// How long, if not for the claim's ttl from its sending on.
        term: Option<Term>,
    },
    /// Someone else holds it or stands before the claim in the line.
    Busy {
        /// When asking again is worth it even if nothing is heard before.
        free_in: Option<Duration>,
        /// How many stand before the claim in the line, at most.
        ahead: usize,
        /// The fence of the last grant of the lock, zero if none is known:
        /// tells which [`Wake::Granted`] is older than this answer.
        fence: u64,
    },
    /// The server may have lost data, and grants nothing until all leases that
    /// it may have forgotten are over.
    Quarantined {
        /// For how long.
        ends_in: Duration,
    },
    /// Several asked at once and perhaps none of them has the lock: ask again soon.
    Tied,
    /// This owner has been released or withdrawn before; nothing changed.
    Retired,
    /// The name is in use in a way that does not [go with](Mode::goes_with) the claim's;
    /// nothing changed.
    OtherKind {
        /// In which.
        mode: Mode,
    },
}

/// How long a lease lasts that shares its end with others, or that is short
/// until it is renewed for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// So long before the claim was sent it began,
    pub began: Duration,
    /// and it lasts this long from there.
    pub lasts: Duration,
}

/// A lease as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The lock.
    pub name: LockName,
    /// The owner that was granted.
    pub owner: Owner,
    /// How it shares the lock.
    pub mode: Mode,
    /// The fence of the grant.
    pub fence: u64,
    /// The ttl to restart.
    pub ttl: Duration,
    /// Whether it is renewed for as long as it is held. One that is not must
    /// end with its ttl, whatever else its client keeps alive.
    pub renewed: bool,
}

/// What became of one lease in a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Its ttl runs anew.
    Kept,
    /// It is not held by this owner; nothing changed.
    Gone,
    /// Of several servers too few have answered, or of several requests not this one's: ask
    /// again.
    Unknown,
}

/// Who is to hold a lease that is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heir {
    /// A ticket, which is nobody's yet: the lease lasts for its ttl, whichever
    /// processes end meanwhile.
    Ticket,
    /// The client that asks.
    Client,
}

/// What a transfer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transferred {
    /// The other owner holds the lock.
    Done {
        /// How long, if not for its ttl from the sending on.
        term: Option<Term>,
    },
    /// Neither of the two holds it; nothing changed.
    Gone,
}

/// What a release came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Whether the owner held the lock until now.
    pub held: bool,
    /// The answer to the claim that was passed along.
    pub next: Option<Answer>,
    /// How many wait in the server's line, the passed claim not counted.
    pub others: usize,
}

/// Who is told what a client is told unasked.
pub trait Ear: Send + Sync + 'static {
    /// Called on any thread. It does not wait.
    fn hear(&self, wake: Wake);

    /// Whether anybody waits to hear something.
    fn is_awaited(&self) -> bool;
}

/// What a backend tells a client unasked. It may be lost, and come late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A hint: this lock may be free, or a lease of it gone. Never a proof.
    Name(LockName),
    /// The same of any lock; for example after a connection was made anew.
    All,
    /// The lock was handed to a claim of this client that waits in the line.
    Granted(Grant),
}

/// A lock handed to a waiter by the server itself.
///
/// It was made after every answer to the claim that tells a smaller fence. So
/// the lease lasts at least until [`lasts`](Grant::lasts) after the moment when
/// the claim that got the latest of those answers was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The lock.
    pub name: LockName,
    /// The owner that waited.
    pub owner: Owner,
    /// The fencing token.
    pub fence: u64,
    /// As in [`Answer::Granted`].
    pub slot: u32,
    /// How long the lease lasts unless it is renewed; usually shorter than the
    /// ttl that was asked for, in case nobody is there to use it.
    pub lasts: Duration,
}

/// The engine that stores leases; one value per client.
///
/// Errors: `unavailable` when the server cannot be reached. An error with
/// [`Outcome::NotHeld`] says that the request was not sent, or refused as a
/// whole: nothing has changed and nothing will, and of a claim that the backend keeps nothing in mind. It is not withdrawn then. If it
/// may have been carried out, even in part or later, the outcome is
/// [`Unknown`](crate::Outcome::Unknown). A method dropped midway may be carried
/// out or not, even later.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Ask for a lock once.
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error>;

    /// Restart the ttl of many leases in one request; one answer each, in order.
    /// The engine asks for at most 500 in a call, and for more in several calls at
    /// once, so that each is answered in its own time.
    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error>;

    /// Give a lease back, and in the same request hand the lock to `then`, a
    /// claim for the same name whose mode [goes with](Mode::goes_with) the lease's,
    /// ahead of the server's line; a backend whose
    /// fences come from the order of its line lets it stand there. When the
    /// lease was not held any more, `then` is an ordinary claim. When the lock
    /// is free afterwards, wakes the first of the line, or hands it the lock.
    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error>;

    /// Give a lease back, and leave its lock *resting* for this long: taken, and nobody's.
    /// It is handed to no one and no one is woken; whoever asks is told that it is busy,
    /// and until when. [`evict`](Backend::evict) ends it. Repeated, it says that nothing was
    /// held, and the rest goes on as it was. Only for a lease that is held alone.
    ///
    /// # Errors
    /// `unsupported`, with the reason, unless a backend says otherwise.
    async fn rest(&self, _held: &Held, _rest: Duration) -> Result<Released, Error> {
        Err(cannot_rest(NO_REST))
    }

    /// Make a claim as if it had never been sent: leave the line, give back
    /// what was granted, refuse it if it comes late.
    async fn withdraw(&self, claim: &Claim) -> Result<(), Error>;

    /// Make another owner the holder in the place of one, with the same fence, slot and
    /// mode, and its own ttl and label. From then on a claim, renewal or release of the
    /// former owner changes nothing. Repeated, it restarts the ttl of the other owner.
    /// One that comes after the [`withdraw`](Backend::withdraw) of the other owner
    /// changes nothing. Only asked where [`tickets`](Backend::tickets) says it can be.
    async fn transfer(&self, held: &Held, _to: &Claim, _heir: Heir) -> Result<Transferred, Error> {
        self.tickets(held.ttl).map(|_| Transferred::Gone)
    }

    /// Whether it can hand leases on by tickets that are valid for so long: the kind of
    /// backend, which a ticket tells so that another kind refuses it.
    ///
    /// # Errors
    /// `unsupported` with the reason, unless a backend says otherwise; `invalid` for a
    /// time that it cannot count.
    fn tickets(&self, _lasts: Duration) -> Result<&'static str, Error> {
        let message = "this backend cannot hand a lease to another process; release it here, and \
                       take it there";
        Err(Error::new(Kind::Unsupported, message))
    }

    /// Take the lock from whoever holds it and tell both sides by a [`Wake`].
    /// Answers whether somebody held it.
    async fn evict(&self, name: &LockName) -> Result<bool, Error>;

    /// Show another label of the lease's owner from now on, if it holds the lock;
    /// answers whether it does. Its fence stays, and its ttl is perhaps restarted. A
    /// claim of the owner that comes late does not put the old one back, unless the
    /// backend writes the label then, as etcd may; and a change without an answer may
    /// come after a later one.
    async fn relabel(&self, _held: &Held, _label: &Arc<str>) -> Result<bool, Error> {
        let message = "this backend cannot change what the holder of a lock shows";
        Err(Error::new(Kind::Unsupported, message).with_outcome(Outcome::Held))
    }

    /// The locks that are held or waited for: all, or the one of this name.
    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error>;

    /// What this client is told next. Only one caller waits at a time. A
    /// backend that tells nothing never answers.
    async fn wake(&self) -> Wake;

    /// Tell it by this instead from now on, on whatever thread it is heard. Left as it
    /// is where that would save nothing.
    fn listen(&self, _ear: Arc<dyn Ear>) {}

    /// `Ok` if it can share locks in this way. The engine asks before it sends a claim.
    ///
    /// # Errors
    /// `unsupported`, with the reason, for every other mode than an exclusive one unless
    /// a backend says otherwise: it must never take a claim for an exclusive one.
    fn supports(&self, mode: Mode) -> Result<(), Error> {
        mode.refuse_unless_exclusive("this backend has only exclusive locks")
    }

    /// `Ok` if it can let locks [rest](Backend::rest). The engine asks before it sends a
    /// claim for one that is to.
    ///
    /// # Errors
    /// `unsupported`, with the reason.
    fn supports_rest(&self) -> Result<(), Error> {
        Err(cannot_rest(NO_REST))
    }

    /// The ttl that is given to who asks for this one: the same, or the next
    /// longer one that the backend can count.
    fn ttl(&self, asked: Duration) -> Duration {
        asked
    }

    /// The `response_timeout` of the URL if it is longer than the default, else zero. A
    /// question is not given up before it has passed.
    fn response_timeout(&self) -> Duration {
        Duration::ZERO
    }

    /// Ready when every server that can be reached knows what was given back, also
    /// those whose answers were not waited for.
    async fn settle(&self) {}

    /// The key by which the server knows the lease, where it is one that others
    /// can look at and make conditions on.
    fn key(&self, _lease: &Held) -> Option<String> {
        None
    }

    /// The statement by which a transaction in the database where the locks are makes sure of
    /// these leases: it fails if one has another holder or none, and until the transaction ends
    /// nobody else becomes the holder, whatever the clocks do. Renewals go on. It has no
    /// parameters, and nothing that a driver would treat.
    ///
    /// # Errors
    /// `unsupported`, with the reason, unless a backend says otherwise.
    fn guard(&self, _leases: &[&Held]) -> Result<String, Error> {
        let message = "this backend is no database that a transaction could run in beside its \
                       locks, as postgres: and mysql: are; send lease.fence() with each write";
        Err(Error::new(Kind::Unsupported, message))
    }

    /// Where the leases end at once when the client's process dies: what proves it
    /// alive for as long as any process has it open.
    fn proof_of_life(&self) -> Option<OwnedFd> {
        None
    }

    /// What the server that answers now, as it is, promises less than this
    /// backend does; for people to read.
    fn caveats(&self) -> Vec<String> {
        Vec::new()
    }

    /// The backend as messages name it, such as `sqlite:/var/lib/x.db`;
    /// without passwords.
    fn describe(&self) -> &str;
}

const NO_REST: &str = "this backend has no locks that rest";

/// The error of a backend that cannot let locks rest.
fn cannot_rest(reason: &str) -> Error {
    let message = format!("min_hold and once are not to be had here: {reason}");
    Error::new(Kind::Unsupported, message)
}
