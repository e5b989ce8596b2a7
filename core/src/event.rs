//! What happens to the leases of a client, told to whoever keeps a log.

use std::sync::Arc;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Mutex, broadcast, watch};

use crate::engine::Loss;
use crate::error::Error;
use crate::name::LockName;

/// How many events are kept for a reader that is behind.
const KEPT: usize = 1024;

/// Something that happened to a lease.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The name of its lock.
    pub lock: LockName,
    /// Its fencing token.
    pub fence: u64,
    /// What happened.
    pub what: What,
}

/// What can happen to a lease.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// It is held.
    Acquired,
    /// It is held by the ticket that was [adopted](crate::Client::adopt).
    Adopted,
    /// It was [handed on](crate::Lease::into_ticket): a ticket holds it, and whoever
    /// adopts that.
    HandedOn,
    /// A renewal failed, the first after one that did not. It is repeated, and
    /// the lease is held until it is renewed or lost.
    RenewalFailed(Arc<Error>),
    /// It was not held to its end. Told when it is found out: at once, by a
    /// renewal, by the clock, or only by the backend's answer to the release.
    Lost(Loss),
    /// It was given back, released or dropped, and the backend said that it was
    /// held until then; or, with an error, did not say: then it was given back
    /// before its deadline, and the release is repeated in the background.
    Released(Option<Arc<Error>>),
}

impl What {
    /// The stable name that crosses every language border.
    pub const fn code(&self) -> &'static str {
        match self {
            What::Acquired => "acquired",
            What::Adopted => "adopted",
            What::HandedOn => "handed_on",
            What::RenewalFailed(_) => "renewal_failed",
            What::Lost(_) => "lost",
            What::Released(_) => "released",
        }
    }

    /// Why: the code of the loss, or of the error; also of the one that kept a
    /// release from being confirmed.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            What::Lost(loss) => Some(loss.code()),
            What::RenewalFailed(error) | What::Released(Some(error)) => Some(error.code()),
            What::Acquired | What::Adopted | What::HandedOn | What::Released(None) => None,
        }
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lock {:?}, fence {}: ", self.lock.as_str(), self.fence)?;
        match &self.what {
            What::Acquired => f.write_str("acquired"),
            What::Adopted => f.write_str("adopted"),
            What::HandedOn => f.write_str("handed on"),
            What::RenewalFailed(error) => write!(f, "a renewal failed: {error}"),
            What::Lost(loss) => write!(f, "lost: {loss}"),
            What::Released(None) => f.write_str("released"),
            What::Released(Some(error)) => write!(f, "released, not confirmed: {error}"),
        }
    }
}

/// The events of one client from a moment on; see [`Client::events`](crate::Client::events).
#[derive(Debug)]
pub struct Events {
    events: Mutex<broadcast::Receiver<Event>>,
    is_over: watch::Receiver<bool>,
}

impl Events {
    /// Wait for the next event; `None` when the client is closed and all are
    /// read. Each goes to one of those who wait. A reader that is more than 1024
    /// behind misses the oldest.
    ///
    /// # Cancel safety
    /// Cancel safe; no event is lost.
    pub async fn next(&self) -> Option<Event> {
        let (mut events, mut is_over) = (self.events.lock().await, self.is_over.clone());
        loop {
            let next = tokio::select! {
                biased;
                next = events.recv() => Some(next),
                _ = is_over.wait_for(|is_over| *is_over) => None,
            };
            match next {
                Some(Ok(event)) => return Some(event),
                Some(Err(RecvError::Lagged(_))) => {}
                Some(Err(RecvError::Closed)) => return None,
                None => return rest(&mut events),
            }
        }
    }
}

/// Those that were told before the end.
fn rest(events: &mut broadcast::Receiver<Event>) -> Option<Event> {
    loop {
        match events.try_recv() {
            Ok(event) => return Some(event),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
        }
    }
}

/// Where events are told. It costs nothing while nobody reads them.
#[derive(Debug)]
pub(crate) struct Telling {
    events: broadcast::Sender<Event>,
    is_over: watch::Sender<bool>,
}

impl Telling {
    pub(crate) fn new() -> Arc<Self> {
        let (events, is_over) = (broadcast::Sender::new(KEPT), watch::Sender::new(false));
        Arc::new(Self { events, is_over })
    }

    pub(crate) fn tell(&self, lock: &LockName, fence: u64, what: impl FnOnce() -> What) {
        if self.events.receiver_count() > 0 {
            let _ = self.events.send(Event { lock: lock.clone(), fence, what: what() });
        }
    }

    /// Nothing more happens.
    pub(crate) fn end(&self) {
        self.is_over.send_replace(true);
    }

    pub(crate) fn events(&self) -> Events {
        Events { events: Mutex::new(self.events.subscribe()), is_over: self.is_over.subscribe() }
    }
}
