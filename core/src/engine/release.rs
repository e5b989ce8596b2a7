//! Giving back: what was held, and what may have been granted unseen.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::hold::Start;
use super::keeper::first_renewal;
use super::line::From;
use super::{Engine, Hold};
use crate::backend::{Answer, Claim, Released};
use crate::error::{Error, Kind};
use crate::event::What;
use crate::time::drift;

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
            self.finish_release(hold);
        }
    }

    /// From here on it is not renewed any more.
    fn end(&self, hold: &Hold) {
        self.keeper.remove(hold);
        hold.end_by_release(|| self.tell(hold, || What::Released));
    }

    fn finish_release(self: &Arc<Self>, hold: Arc<Hold>) {
        self.chore(hold.held.ttl, move |engine| {
            let hold = hold.clone();
            Box::pin(async move { engine.release_once(&hold).await.map(drop) })
        });
    }

    /// Make a claim undone that may have reached the backend.
    pub(super) fn withdraw_in_background(self: &Arc<Self>, claim: Claim) {
        if self.is_foreign() {
            return;
        }
        self.chore(claim.ttl, move |engine| {
            let claim = claim.clone();
            Box::pin(async move {
                let limit = Self::request_limit(claim.ttl);
                engine.request(limit, engine.backend.withdraw(&claim)).await
            })
        });
    }

    /// Repeat `job` until it succeeds or what it cleans up has expired by itself.
    fn chore(self: &Arc<Self>, ttl: Duration, job: impl Fn(Arc<Engine>) -> Job + Send + 'static) {
        let counted = Chore::begin(self);
        self.runtime.spawn(Box::pin(async move {
            let engine = &counted.0;
            let until = engine.runtime.now() + ttl + drift(ttl);
            let mut pause = Duration::from_millis(10);
            while let Err(e) = job(engine.clone()).await {
                // Only what is unavailable can become available.
                if e.kind() != Kind::Unavailable || engine.runtime.now() >= until {
                    break;
                }
                engine.runtime.sleep(pause + engine.jitter(pause)).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }));
    }

    /// One request, and the consequences of its answer for the line.
    async fn release_once(self: &Arc<Self>, hold: &Hold) -> Result<Released, Error> {
        let held = &hold.held;
        let successor = self.lines.successor(&held.name, held.owner);
        let then = successor.as_ref().map(|(_, claim)| claim);
        let vacate = Vacate { engine: self, hold };
        let sent = self.runtime.now();
        let limit = Self::request_limit(held.ttl);
        let released = self.request(limit, self.backend.release(held, then)).await?;
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

type Job = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A clean-up job under way; counted until it is over, however it ends.
struct Chore(Arc<Engine>);

impl Chore {
    fn begin(engine: &Arc<Engine>) -> Self {
        engine.chores.send_modify(|chores| *chores += 1);
        Self(engine.clone())
    }
}

impl Drop for Chore {
    fn drop(&mut self) {
        self.0.chores.send_modify(|chores| *chores -= 1);
    }
}

/// A release that was dropped before it succeeded.
struct Unfinished<'a> {
    engine: &'a Arc<Engine>,
    hold: &'a Arc<Hold>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.engine.finish_release(self.hold.clone());
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
