//! Giving back: what was held, and what may have been granted unseen.

use std::sync::Arc;

use super::hold::{End, Start};
use super::keeper::first_renewal;
use super::line::Source;
use super::{Engine, Hold, Loss};
use crate::backend::{Answer, Released};
use crate::error::{Error, Kind, Outcome};
use crate::event::What;

impl Engine {
    /// Give a lease back, straight to the next waiter of this client if there
    /// is one. The first call tells the backend; all of them answer how the
    /// lease ended.
    ///
    /// Cancel safety: dropped at any point, the release goes on in the background.
    pub(crate) async fn release(self: &Arc<Self>, hold: &Arc<Hold>) -> Result<(), Error> {
        if self.is_foreign() {
            return self.check_open();
        }
        if !hold.is_over() && hold.deadline() <= self.runtime.now() {
            // The keeper has not come to see it, and the backend may hold it a
            // little longer; but it was used beyond its end.
            self.keeper.remove(hold);
            self.lose(hold, hold.loss_by_time());
        }
        if hold.loss().is_some() {
            // Nobody has to wait to hear that.
            self.release_in_background(hold.clone());
        } else if hold.let_go() {
            let _under_way = self.debts.begin_giving_back();
            self.keeper.remove(hold);
            let unfinished = Unfinished { engine: self, hold };
            if self.release_once(hold).await.is_ok() {
                // Else its drop goes on in the background.
                std::mem::forget(unfinished);
            }
        }
        hold.ended().await;
        match hold.how_ended() {
            Some(End::Unconfirmed(error)) => Err(error.again()),
            Some(End::Lost(_)) => Err(self.over(hold)),
            Some(End::Released | End::HandedOn) | None => Ok(()),
        }
    }

    /// Give a lease back without waiting for it. One that is lost stays on the server
    /// for its delay, whoever says that it is not used any more.
    pub(crate) fn release_in_background(self: &Arc<Self>, hold: Arc<Hold>) {
        if !self.is_foreign() && hold.is_delayed(self.runtime.now()) {
            self.keep_lost(&hold);
            return;
        }
        if hold.let_go() && !self.is_foreign() {
            // From here on it is not renewed any more.
            self.keeper.remove(&hold);
            self.owe_release(hold);
        }
    }

    /// What the first word of the backend about a release means for the lease.
    fn conclude(&self, hold: &Hold, is_first: bool, answer: &Result<Released, Error>) {
        let unconfirmed = |cause: Option<&Error>| {
            let message = "the backend has not confirmed the release, which is repeated in the \
                           background until the ttl has passed";
            let kind = cause.map_or(Kind::Unavailable, Error::kind);
            let mut error = Error::new(kind, message).with_outcome(Outcome::Unknown);
            if let Some(cause) = cause {
                error = error.with_outcome(cause.outcome()).because(cause.again());
            }
            End::Unconfirmed(Arc::new(error.about(&hold.held.name, self.describe())))
        };
        let end = match answer {
            Ok(released) if released.held => End::Released,
            Ok(_) if is_first => End::Lost(Loss::Gone),
            // It may be the earlier release that has ended it.
            Ok(_) => unconfirmed(None),
            Err(error) => unconfirmed(Some(error)),
        };
        let what = match &end {
            End::Released => What::Released(None),
            End::Unconfirmed(error) => What::Released(Some(error.clone())),
            End::HandedOn => What::HandedOn,
            End::Lost(loss) => What::Lost(*loss),
        };
        hold.end(end, |is_end| {
            if is_end {
                self.tell(hold, || what);
            }
        });
    }

    /// It is given back later than now: the head of the line goes on alone.
    pub(super) fn put_off(&self, hold: &Hold, why: Error) {
        self.conclude(hold, false, &Err(why));
        // The lines of a closed client do not go on, and may be locked here.
        if self.check_open().is_ok() {
            self.lines.vacate(&hold.held.name, hold.held.owner, 0);
        }
    }

    /// One request, and the consequences of its answer for the line.
    pub(super) async fn release_once(self: &Arc<Self>, hold: &Hold) -> Result<Released, Error> {
        let held = &*hold.as_held();
        let sent = self.runtime.now();
        let rest = hold.rest_left(|| self.rest_clock());
        let successor = match rest {
            None => self.lines.successor(&held.name, held.owner),
            Some(_) => None,
        };
        let successor = successor.filter(|(seat, claim)| {
            // Who closes has seen that it is sent, or this sees that it is not to be.
            let is_open = self.check_open().is_ok();
            if !is_open {
                seat.was_not_sent(claim.owner);
            }
            is_open
        });
        let then = successor.as_ref().map(|(_, claim)| claim);
        let vacate = Vacate { engine: self, hold };
        let is_first = hold.ask();
        let limit = self.release_limit(hold.ttl(), hold.gone_at().since(sent), is_first);
        let backend = self.backend();
        let request = match rest {
            None => backend.release(held, then),
            Some(rest) => backend.rest(held, rest),
        };
        let answer = self.request(limit, request).await;
        // Before the next is told that it has the lock.
        self.conclude(hold, is_first, &answer);
        if let Some((seat, claim)) = &successor {
            match &answer {
                Ok(_) => seat.is_answered(claim.owner),
                Err(e) if e.outcome() == Outcome::NotHeld => seat.was_not_sent(claim.owner),
                Err(_) => {}
            }
        }
        let released = answer?;
        std::mem::forget(vacate);
        if let (Some((seat, claim)), Some(Answer::Granted { fence, slot, term })) =
            (successor, released.next)
        {
            let start = Start::granted(&seat.plan, sent, term);
            let next = Arc::new(Hold::new(&seat.plan, claim.owner, (fence, slot), &start));
            let from = Source::Holder { owner: held.owner, others: released.others };
            if self.serve(from, &seat, &next, first_renewal(&next, &start)) {
                self.check_if_doubted(&seat);
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
