//! What is the same when sessions are opened, and while their answers are waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::address::Place;
use super::failure::Trouble;
use super::table::Named;
use crate::backend::net::Patience;
use crate::error::{Error, Kind, Outcome};
use crate::runtime::Runtime;
use tokio::sync::Notify;

/// What tells a database from others.
pub(crate) trait Identity: Clone + PartialEq {
    /// The id of the table.
    fn table(&self) -> &str;
}

impl Identity for String {
    fn table(&self) -> &str {
        self
    }
}

/// The id of the server, and of the table.
impl Identity for (i64, String) {
    fn table(&self) -> &str {
        &self.1
    }
}

/// What the first session has found; every later one has to find the same.
#[derive(Default)]
pub(crate) struct Known<I> {
    /// Which table it is, and where.
    identity: OnceLock<I>,
    /// Whether the server writes to its disk before it answers.
    syncs: OnceLock<bool>,
    /// Whether a crash of the server empties the table.
    unlogged: AtomicBool,
    /// Whether a session has seen another table come in the place of the first.
    is_anew: AtomicBool,
    /// Rung when what is held should be looked after, as the table is not what it was.
    alarm: Notify,
}

impl<I: Identity> Known<I> {
    /// Whether a session has found anything yet.
    pub(crate) fn is_some(&self) -> bool {
        self.identity.get().is_some()
    }

    /// An error if a session has found something else than the first one.
    pub(crate) fn compare(&self, found: I, syncs: bool) -> Result<(), Error> {
        self.syncs.get_or_init(|| syncs);
        if *self.identity.get_or_init(|| found.clone()) == found {
            return Ok(());
        }
        Err(another())
    }

    /// The id of the table that the first session has found.
    pub(crate) fn table(&self) -> &str {
        self.identity.get().map_or("", I::table)
    }

    /// An error if this is not the id of that table: somebody has made another one since, while
    /// this session was open.
    pub(crate) fn check_table(&self, id: &str) -> Result<(), Error> {
        if id == self.table() {
            return Ok(());
        }
        self.is_anew.store(true, Ordering::Relaxed);
        self.alarm.notify_one();
        Err(another())
    }

    /// The error if the table has lost the row about itself, and perhaps all others with it.
    pub(crate) fn is_emptied(&self, table: &Named) -> Error {
        self.alarm.notify_one();
        table.says_nothing()
    }

    /// Remember whether a crash of the server empties the table.
    pub(crate) fn set_unlogged(&self, unlogged: bool) {
        self.unlogged.store(unlogged, Ordering::Relaxed);
    }

    pub(crate) fn is_unlogged(&self) -> bool {
        self.unlogged.load(Ordering::Relaxed)
    }

    /// Whether the table is another one than the first session has found.
    pub(crate) fn is_anew(&self) -> bool {
        self.is_anew.load(Ordering::Relaxed)
    }

    /// Ready when what is held should be looked after.
    pub(crate) async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    pub(crate) fn syncs(&self) -> bool {
        self.syncs.get().copied().unwrap_or(true)
    }
}

fn another() -> Error {
    let message = "another database answers here, or the table was made anew: it knows nothing \
                   of this client's leases. Close this client and connect again to use it";
    Error::new(Kind::Refused, message)
}

/// Wait for a session to be opened, for at most `connect_timeout`.
pub(crate) async fn entered<T>(
    place: &Place,
    runtime: &Arc<dyn Runtime>,
    opened: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Error> {
    let limit = place.timeouts.connect;
    let opened = tokio::select! {
        biased;
        opened = opened => opened.map_err(Error::from),
        () = Patience::of(limit).end(&**runtime) => Err(Error::unavailable(format!(
            "it does not answer within {limit:?} (connect_timeout in the URL)"
        ))),
    };
    opened.map_err(|e| {
        let message = format!("cannot use {}", place.shown);
        // Nobody has asked for a lock.
        Error::new(e.kind(), message).because(e).with_outcome(Outcome::NotHeld)
    })
}

/// Wait for an answer, for at most `limit`.
pub(crate) async fn in_time<T>(
    runtime: &dyn Runtime,
    limit: Duration,
    answered: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    tokio::select! {
        biased;
        answer = answered => answer,
        () = Patience::of(limit).end(runtime) => Err(Trouble::broken(Error::unavailable(format!(
            "the server has not answered for {limit:?} (response_timeout in the URL)"
        )))),
    }
}
