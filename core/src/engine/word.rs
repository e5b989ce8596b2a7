//! What the backend said last about a lock. Whoever stands in its line hears it,
//! for only the head asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::error::Error;
use crate::time::Instant;

/// A lock that was busy still is, as long as the answer to the next question is
/// not later than this.
const SILENCE: Duration = Duration::from_millis(150);

#[derive(Default)]
pub(super) struct Word {
    heard: Mutex<Heard>,
    changed: Notify,
}

#[derive(Default)]
struct Heard {
    /// Somebody held the lock when the backend last said.
    is_busy: bool,
    /// Why the last question had no answer that can be used.
    trouble: Option<Error>,
    /// Since when none had.
    broken_since: Option<Instant>,
    /// When that was sent which is not answered yet.
    asked: Option<Instant>,
}

/// What somebody hears who does not wait any longer.
pub(super) enum Verdict {
    Busy,
    Broken(Error),
    /// The question that tells has not been answered yet.
    Unknown,
}

impl Word {
    /// A question was sent.
    pub(super) fn ask(&self, now: Instant) {
        self.heard().asked = Some(now);
    }

    /// It was answered, in a way that says nothing about who holds the lock.
    pub(super) fn answered(&self) {
        self.change(|heard| *heard = Heard { is_busy: heard.is_busy, ..Heard::default() });
    }

    /// Somebody holds the lock.
    pub(super) fn busy(&self) {
        self.change(|heard| *heard = Heard { is_busy: true, ..Heard::default() });
    }

    /// The backend answers, and does not grant anything to anybody.
    pub(super) fn closed(&self, why: Error) {
        self.change(|heard| *heard = Heard { trouble: Some(why), ..Heard::default() });
    }

    /// A question had no answer that can be used; answers since when none had.
    pub(super) fn broken(&self, why: Error, now: Instant) -> Instant {
        let mut since = now;
        self.change(|heard| {
            since = *heard.broken_since.get_or_insert(now);
            (heard.trouble, heard.asked, heard.is_busy) = (Some(why), None, false);
        });
        since
    }

    /// Why and since when the backend does not answer, if so.
    pub(super) fn outage(&self) -> Option<(Error, Instant)> {
        let heard = self.heard();
        Some((heard.trouble.as_ref()?.again(), heard.broken_since?))
    }

    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        let heard = self.heard();
        if let Some(trouble) = &heard.trouble {
            return Verdict::Broken(trouble.again());
        }
        match heard.asked {
            _ if !heard.is_busy => Verdict::Unknown,
            Some(asked) if now.since(asked) > SILENCE => Verdict::Broken(silent()),
            _ => Verdict::Busy,
        }
    }

    /// Ready when there is another word than now.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    fn change(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard());
        self.changed.notify_waiters();
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn silent() -> Error {
    Error::unavailable("the backend has not answered in time")
}
