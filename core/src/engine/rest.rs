//! For how long the lock of a lease rests that is given back early.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Engine, Hold};
use crate::time::Instant;

/// Until when, by the client's clock; zero for never.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    until: AtomicU64,
    /// The same if its holder says that it has succeeded.
    on_success: AtomicU64,
}

impl Rest {
    /// Whether the lock rests if it is given back now, or after a success.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until.max(self.on_success.load(Ordering::Acquire)) > now.as_nanos()
    }

    /// See [`Once`](crate::Once).
    pub(crate) fn succeed(&self) {
        let until = self.on_success.load(Ordering::Acquire);
        self.until.fetch_max(until, Ordering::AcqRel);
    }

    /// How much of it is left, if there is one. It is given up where it would be in vain,
    /// unless the backend was asked for it: without, the release that is repeated could
    /// end the first.
    pub(super) fn left(
        &self,
        now: impl FnOnce() -> Instant,
        is_lost: bool,
        was_asked: bool,
    ) -> Option<Duration> {
        let until = self.until.load(Ordering::Acquire);
        if until == 0 {
            return None;
        }
        let left = Instant::from_nanos(until).since(now());
        if (left.is_zero() || is_lost) && !was_asked {
            self.until.store(0, Ordering::Release);
            return None;
        }
        Some(left.max(Duration::from_millis(1)))
    }
}

impl Engine {
    /// Given back before `span` has passed from now on, its lock rests until then. A loss
    /// leaves no rest.
    pub(crate) fn rest_for(&self, hold: &Hold, span: Duration) {
        let until = self.rest_clock() + span;
        hold.rest.until.store(until.as_nanos(), Ordering::Release);
    }

    /// The same if it succeeds before it is given back.
    pub(crate) fn rest_on_success(&self, hold: &Hold, span: Duration) {
        let until = self.rest_clock() + span;
        hold.rest.on_success.store(until.as_nanos(), Ordering::Release);
    }

    /// By which it is reckoned how much of a rest is left: what is sent is a span, and
    /// nobody's wall clock matters.
    pub(super) fn rest_clock(&self) -> Instant {
        let clock = &self.runtime;
        clock.now()
    }
}
