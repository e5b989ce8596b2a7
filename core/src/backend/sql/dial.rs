//! What is the same when sessions are opened, and while their answers are waited for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::address::Place;
use super::failure::Trouble;
use crate::backend::net::Patience;
use crate::error::{Error, Kind, Outcome};
use crate::runtime::Runtime;

/// What the first session has found; every later one has to find the same.
#[derive(Default)]
pub(crate) struct Known<I> {
    /// Which table it is, and where.
    identity: OnceLock<I>,
    /// Whether the server writes to its disk before it answers.
    syncs: OnceLock<bool>,
}

impl<I: Clone + PartialEq> Known<I> {
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
        let message = "another database answers here, or the table was made anew: it knows \
                       nothing of this client's leases. Close this client and connect again to \
                       use it";
        Err(Error::new(Kind::Refused, message))
    }

    pub(crate) fn syncs(&self) -> bool {
        self.syncs.get().copied().unwrap_or(true)
    }
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
