//! Whose turn it is to ask, and what becomes of one that does not: a future that
//! nobody polls keeps those behind it no longer than a second or two.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Engine;
use super::seat::Seat;
use crate::backend::Claim;
use crate::time::Instant;

/// So long after it was time to ask a head has it still not been heard of. It is
/// counted by looks and not by the clock: a process that was stopped blames nobody.
const LOOK: Duration = Duration::from_secs(1);

/// The head's, while the lock is not held in this client.
pub(super) struct Turn {
    seat: Weak<Seat>,
    /// When it asks, or has its answer.
    pub(super) due: Instant,
    is_asking: bool,
    /// So often was it looked for since it was time, and had not asked.
    misses: u32,
}

impl Turn {
    pub(super) fn begin(seat: &Arc<Seat>, now: Instant) -> Self {
        Self { seat: Arc::downgrade(seat), due: now, is_asking: false, misses: 0 }
    }

    pub(super) fn is_of(&self, seat: &Arc<Seat>) -> bool {
        std::ptr::eq(self.seat.as_ptr(), Arc::as_ptr(seat))
    }

    /// It has asked, and is answered `by` then.
    pub(super) fn ask(&mut self, by: Instant) {
        (self.due, self.is_asking, self.misses) = (by, true, 0);
    }

    /// It asks again then.
    pub(super) fn pause(&mut self, until: Instant) {
        (self.due, self.is_asking, self.misses) = (until, false, 0);
    }

    /// It was rung.
    pub(super) fn hurry(&mut self, now: Instant) {
        if !self.is_asking {
            self.due = self.due.min(now);
        }
    }

    /// Looked for when it is due; answers whether that was often enough. Who keeps
    /// nobody of its own client waiting has as long as the server gives it at least.
    pub(super) fn is_over(&mut self, is_alone: bool) -> bool {
        self.misses += 1;
        self.misses >= if is_alone { 3 } else { 2 }
    }
}

/// A claim on its way, answered or given up.
pub(super) struct Asked<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) seat: &'a Seat,
    pub(super) claim: &'a Claim,
}

impl Drop for Asked<'_> {
    /// Its turn may have been lost, and it was withdrawn then. It may have been made
    /// later all the same, when the backend did not remember that any more.
    fn drop(&mut self) {
        if self.seat.owner() != self.claim.owner {
            self.engine.withdraw_in_background(self.claim.clone());
        }
    }
}

impl Engine {
    /// See that whoever is not polled does not keep those behind it waiting.
    pub(super) async fn heed_turns(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = self.lines.watch.notified() => {}
            }
            loop {
                tokio::select! {
                    biased;
                    () = self.stopped() => return,
                    () = async { self.runtime.sleep(LOOK).await } => {}
                }
                let passed = self.lines.pass_over(|| self.new_owner());
                let Some(claims) = passed else { break };
                claims.into_iter().for_each(|claim| self.withdraw_in_background(claim));
            }
        }
    }
}
