//! Giving back: what was held, and what may have been granted unseen.

use std::sync::Arc;

use super::hold::Start;
use super::keeper::first_renewal;
use super::line::From;
use super::{Engine, Hold};
use crate::backend::{Answer, Released};
use crate::error::{Error, Kind, Outcome};
use crate::event::What;

impl Engine {
    /// Give a lease back, straight to the next waiter of this client if there
    /// is one. The first call tells the backend, later ones only the outcome.
    ///
    /// Cancel safety: dropped at any point, the release goes on in the background.
    pub(crate) async fn release(self: &Arc<Self>, hold: &Arc<Hold>) -> Result<(), Error> {
        if self.is_foreign() {
            return self.check_open();
        }
        if hold.loss().is_some() {
            // Nobody has to wait to hear that.
            self.release_in_background(hold.clone());
            return Err(self.over(hold));
        }
        if hold.let_go() {
            self.end(hold);
            let unfinished = Unfinished { engine: self, hold };
            let released = self.release_once(hold).await;
            // On failure its drop goes on in the background.
            let released = released.map_err(|e| match e.kind() {
                Kind::Unavailable => Error::unavailable(
                    "the release is repeated in the background until the ttl has passed",
                )
                .with_outcome(e.outcome())
                .because(e),
                _ => e,
            });
            let released =
                released.map_err(|e| e.about(&hold.held.name, self.backend.describe()))?;
            std::mem::forget(unfinished);
            if !released.held && hold.loss().is_none() {
                let message = "the lease was gone from the backend before it was released";
                let error = Error::new(Kind::Lost, message);
                return Err(error.about(&hold.held.name, self.backend.describe()));
            }
        }
        if hold.loss().is_some() { Err(self.over(hold)) } else { Ok(()) }
    }

    /// Give a lease back without waiting for it.
    pub(crate) fn release_in_background(self: &Arc<Self>, hold: Arc<Hold>) {
        if hold.let_go() && !self.is_foreign() {
            self.end(&hold);
            self.owe_release(hold);
        }
    }

    /// From here on it is not renewed any more.
    fn end(&self, hold: &Hold) {
        self.keeper.remove(hold);
        hold.end_by_release(|| self.tell(hold, || What::Released));
    }

    /// It is given back later than now: the head of the line goes on alone.
    pub(super) fn put_off(&self, hold: &Hold) {
        // The lines of a closed client do not go on, and may be locked here.
        if self.check_open().is_ok() {
            self.lines.vacate(&hold.held.name, hold.held.owner, 0);
        }
    }

    /// One request, and the consequences of its answer for the line.
    pub(super) async fn release_once(self: &Arc<Self>, hold: &Hold) -> Result<Released, Error> {
        let held = &hold.held;
        let successor = self.lines.successor(&held.name, held.owner);
        let then = successor.as_ref().map(|(_, claim)| claim);
        let vacate = Vacate { engine: self, hold };
        let sent = self.runtime.now();
        let limit = Self::request_limit(held.ttl);
        let released = self.request(limit, self.backend.release(held, then)).await;
        let released = released.inspect_err(|e| {
            if let Some((seat, _)) = successor.as_ref().filter(|_| e.outcome() == Outcome::NotHeld)
            {
                seat.was_not_sent();
            }
        })?;
        std::mem::forget(vacate);
        if let (Some((seat, claim)), Some(Answer::Granted { fence, term })) =
            (successor, released.next)
        {
            let start = Start::granted(&seat.plan, sent, term);
            let next = Arc::new(Hold::new(&seat.plan, claim.owner, fence, &start));
            let from = From::Holder { owner: held.owner, others: released.others };
            if self.serve(from, &seat, &next, first_renewal(&next, &start)) {
                return Ok(released);
            }
            // Left or late: its visitor withdraws, or asks and is granted again.
        }
        self.lines.vacate(&held.name, held.owner, released.others);
        Ok(released)
    }
}

/// A release that was dropped before it succeeded.
struct Unfinished<'a> {
    engine: &'a Arc<Engine>,
    hold: &'a Arc<Hold>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.engine.owe_release(self.hold.clone());
    }
}

/// A release without an answer: the head of the line asks by itself.
struct Vacate<'a> {
    engine: &'a Engine,
    hold: &'a Hold,
}

impl Drop for Vacate<'_> {
    fn drop(&mut self) {
        self.engine.lines.vacate(&self.hold.held.name, self.hold.held.owner, 0);
    }
}
