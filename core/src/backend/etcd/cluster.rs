//! One etcd cluster: what it is asked, and what it says.
//!
//! What etcd calls a lease is a *session* here, as its own client libraries
//! name it: it lives while it is kept alive, and with it the keys that were
//! written under it.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Error;

/// The number of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

/// One key, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// This one.
    One(String),
    /// All that begin with this.
    Under(String),
    /// All from the first of these on, in the order of their bytes, up to the second
    /// without that.
    Between(String, String),
}

/// Transactions change nothing unless every condition is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// None of these exists.
    Absent(Keys),
    /// It exists, and was created at this revision.
    Created(String, u64),
    /// It exists, and lives with this session.
    Within(String, SessionId),
    /// There are some of these, and none of them was created before this revision.
    NoneBefore(Keys, u64),
    /// None that begins with this was created after this revision.
    NoneAfter(String, u64),
    /// None of these was written after this revision.
    Quiet(Keys, u64),
    /// None of these was written a second time since it was created.
    Once(Keys),
}

/// A step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write a key, to be deleted when the session ends. A key that exists
    /// keeps the revision of its creation.
    Put {
        /// The key.
        key: String,
        /// For people to read.
        value: String,
        /// `None`: it stays until somebody deletes it.
        session: Option<SessionId>,
    },
    /// Delete a key, if it exists.
    Delete(String),
    /// Read keys, as the steps before left them.
    Read(Read),
}

/// Which keys to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Of these.
    pub keys: Keys,
    /// Only those that were created before this revision.
    pub before: Option<u64>,
    /// In this order.
    pub order: Order,
    /// At most so many; all, if zero.
    pub limit: u32,
}

/// An order of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// First come, first.
    OldestFirst,
    /// Last come, first.
    NewestFirst,
    /// What was written most often since it was created, first.
    MostWrittenFirst,
}

/// Done in one step, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// If all of these are met,
    pub conditions: Vec<Condition>,
    /// these are done, in order;
    pub then: Vec<Step>,
    /// else these.
    pub otherwise: Vec<Step>,
}

/// What a transaction came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Whether the conditions were met.
    pub met: bool,
    /// The store's revision afterwards: that of the keys that were created.
    pub revision: u64,
    /// What was read, in order.
    pub reads: Vec<Found>,
    /// What was deleted, step by step: `None` where there was nothing.
    pub deleted: Vec<Option<Entry>>,
}

/// What one [`Read`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The keys, in the order that was asked for.
    pub entries: Vec<Entry>,
    /// How many there are of [`Read::keys`], whatever `before` and `limit` say.
    pub count: usize,
}

/// A key that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// What was written last.
    pub value: String,
    /// The revision at which it was created.
    pub created: u64,
    /// The revision at which it was written last.
    pub written: u64,
    /// How often it was written since it was created, with that.
    pub writes: u64,
    /// The session that it lives with.
    pub session: Option<SessionId>,
}

/// Why a transaction has no answer.
#[derive(Debug)]
pub enum Failure {
    /// A session that it writes under is over. Nothing was changed.
    NoSession,
    /// Anything else.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSession => Error::unavailable("the session with etcd is over"),
            Failure::Error(error) => error,
        }
    }
}

/// What is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// That the key is written.
    Written,
    /// That it is deleted.
    Deleted,
    /// That it is written or deleted.
    Any,
    /// That a key which begins with this one is deleted.
    DeletedUnder,
}

/// What a cluster tells unasked. It may be lost with the connection, and come late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// What was watched for has happened, or may have, before the watch began or
    /// because it had to be ended.
    Changed {
        /// The key.
        key: String,
        /// What was written; empty if it was deleted.
        value: String,
    },
    /// The connection is a new one: nothing is watched any more.
    Reconnected,
}

/// A client's connection to an etcd cluster.
///
/// Errors are as [`Backend`](crate::backend::Backend) says. Every method answers
/// in a few seconds, be it by an error. Reads are linearizable. What is asked
/// for is carried out once at most; if there was no answer, or the method was
/// dropped midway, perhaps later.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// Carry out a transaction.
    async fn txn(&self, txn: &Txn) -> Result<Done, Failure>;

    /// Open a session that ends so many seconds after it was kept alive last;
    /// the cluster may choose to wait longer. Answers after how long it ends.
    async fn open(&self, seconds: u64) -> Result<(SessionId, Duration), Error>;

    /// Restart the time of a session; answers after how long it ends, as when it
    /// was opened. `None`: it is over.
    async fn keep_alive(&self, session: SessionId) -> Result<Option<Duration>, Error>;

    /// End a session, and delete its keys. One that is over is no error.
    async fn end(&self, session: SessionId) -> Result<(), Error>;

    /// In how long it ends unless it is kept alive; `None` if it is over.
    async fn ends_in(&self, session: SessionId) -> Result<Option<Duration>, Error>;

    /// Tell by [`news`](Cluster::news) of a change after this revision; zero:
    /// from now on. Each key is watched for one thing. Who does not watch for
    /// what is written hears of one change.
    fn watch(&self, key: &str, change: Change, after: u64);

    /// Tell no more about it.
    fn unwatch(&self, key: &str);

    /// What this client is told next. Only one caller waits at a time.
    async fn news(&self) -> News;

    /// It has answered what cannot be, for this reason: who was asked is asked no
    /// more, if there are others.
    fn distrust(&self, _why: &str) {}

    /// See [`Backend::response_timeout`](crate::backend::Backend::response_timeout).
    fn response_timeout(&self) -> Duration {
        Duration::ZERO
    }

    /// See [`Backend::caveats`](crate::backend::Backend::caveats).
    fn caveats(&self) -> Vec<String> {
        Vec::new()
    }

    /// The cluster as messages name it, without passwords.
    fn describe(&self) -> &str;
}
