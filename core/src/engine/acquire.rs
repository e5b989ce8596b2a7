//! Getting a lock: one claim after the other, and what to wait for in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::hold::Start;
use super::keeper::first_renewal;
use super::line::{From, Place, Seat};
use super::{Engine, Hold, Patience, Phase, Plan};
use crate::backend::{Answer, Claim, Grant};
use crate::error::{Error, Kind, Outcome};
use crate::time::Instant;

/// A wake is a hint, this is the guarantee: a waiter asks again this often.
const RECHECK: Duration = Duration::from_millis(600);
/// A lock that was busy still is, as long as the answer to the next question is
/// not later than this.
const SILENCE: Duration = Duration::from_millis(150);
/// How long the server keeps a waiter's place without hearing from it.
const PLACE: Duration = Duration::from_secs(2);
/// After so many ties in a row, some 60 ms, a lock that is only tried is busy.
const TIES: u32 = 8;
/// How long a waiter goes on while the backend does not answer.
const OUTAGE: Duration = Duration::from_secs(10);

impl Engine {
    /// Wait for the lock as long as `patience` says; `None` when it is busy and
    /// that is an answer.
    ///
    /// Cancel safety: dropped at any point, nothing is held and the line goes on.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        mut plan: Plan,
        patience: Patience,
    ) -> Result<Option<Arc<Hold>>, Error> {
        self.check_open()?;
        let (name, backend) = (plan.name.clone(), self.backend.describe());
        plan.ttl = self.backend.ttl(plan.ttl);
        let claim = Claim {
            name: plan.name.clone(),
            owner: self.new_owner(),
            ttl: plan.ttl,
            mode: plan.mode,
            label: plan.label.clone(),
            place: (patience != Patience::Try).then_some(PLACE),
            renewed: plan.auto_renew,
        };
        let seat = Seat::new(plan, claim, self.runtime.now());
        if !self.lines.join(&seat, patience == Patience::Try) {
            return Ok(None);
        }
        let visit = Visit { engine: self, seat, patience, heard: Mutex::default() };
        let limit = match patience {
            Patience::Wait(limit) => Some(limit),
            Patience::Try | Patience::Forever => None,
        };
        tokio::select! {
            biased;
            () = async { self.reached(Phase::Closed).await } => self.check_open().map(|()| None),
            result = visit.until_granted() => result,
            () = async {
                match limit {
                    Some(limit) => self.runtime.sleep(limit).await,
                    None => std::future::pending().await,
                }
            } => Err(visit.timed_out()),
        }
        .map_err(|e| e.with_outcome(Outcome::NotHeld).about(&name, backend))
    }
}

impl Engine {
    /// Give a waiter the lease that it waits for; no when that comes too late.
    pub(super) fn serve(
        self: &Arc<Self>,
        from: From,
        seat: &Arc<Seat>,
        hold: &Arc<Hold>,
        renew_at: Option<Instant>,
    ) -> bool {
        let in_time = self.runtime.now() < hold.lost_at();
        in_time && self.lines.serve(from, seat, hold, || self.keep(hold, renew_at))
    }

    /// The server has handed a lock to somebody who waited.
    pub(super) fn accept(self: &Arc<Self>, grant: &Grant) {
        let Some((seat, place)) = self.lines.waiting(grant) else { return };
        // A grant that is older than the answer may be over already.
        if grant.fence > place.fence {
            let plan = &seat.plan;
            let now = self.runtime.now();
            let start = Start::handed_on(plan, place.asked, grant.lasts, now);
            let hold = Hold::new(plan, grant.owner, grant.fence, &start);
            let renew_at = first_renewal(&hold, &start);
            if self.serve(From::Server, &seat, &Arc::new(hold), renew_at) {
                return;
            }
        }
        // Asked again, the server tells what is true now.
        seat.bell.notify_one();
    }
}

/// A waiter's stay in the line; whichever way it ends, the place is left and
/// what was asked of the backend and not used is taken back.
struct Visit<'a> {
    engine: &'a Arc<Engine>,
    seat: Arc<Seat>,
    patience: Patience,
    heard: Mutex<Heard>,
}

/// What the backend has said last.
#[derive(Default)]
struct Heard {
    /// Why the last question has no answer, if it has none.
    trouble: Option<Error>,
    /// When that was sent which is not answered yet.
    asked: Option<Instant>,
    is_busy: bool,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.engine.lines.leave(&self.seat);
        if let Some(hold) = self.seat.take_granted() {
            self.engine.release_in_background(hold);
        }
        if let Some(claim) = self.seat.take_sent() {
            self.engine.withdraw_in_background(claim);
        }
    }
}

impl Visit<'_> {
    async fn until_granted(&self) -> Result<Option<Arc<Hold>>, Error> {
        let (mut outage, mut ties) = (None, 0);
        loop {
            if let Some(hold) = self.seat.take_granted() {
                return Ok(Some(hold));
            }
            if self.seat.is_given_up() {
                let message = format!("the backend did not answer a waiter before for {OUTAGE:?}");
                return Err(Error::unavailable(message));
            }
            if !self.engine.lines.is_turn_of(&self.seat) {
                self.seat.bell.notified().await;
                continue;
            }
            let asked = tokio::select! {
                biased;
                () = self.seat.served() => continue,
                asked = self.ask() => asked,
            };
            let pause = match asked {
                Ok(Ask::Granted) => continue,
                Ok(Ask::Busy(_)) if self.patience == Patience::Try => {
                    // It left no place behind.
                    drop(self.seat.take_sent());
                    return Ok(None);
                }
                Ok(Ask::Busy(pause)) => {
                    (outage, ties) = (None, 0);
                    pause
                }
                Ok(Ask::Tied) if self.patience == Patience::Try && ties == TIES => return Ok(None),
                Ok(Ask::Tied) => {
                    outage = None;
                    ties += 1;
                    self.engine.jitter(tie(ties))
                }
                Err(error) => self.bear(&mut outage, error)?,
            };
            tokio::select! {
                biased;
                () = self.seat.bell.notified() => {}
                () = self.engine.runtime.sleep(pause) => {}
            }
        }
    }

    /// When to ask again after an error, if there is any point in it.
    fn bear(&self, outage: &mut Option<Outage>, error: Error) -> Result<Duration, Error> {
        if error.kind() != Kind::Unavailable || self.patience == Patience::Try {
            return Err(error);
        }
        let now = self.engine.runtime.now();
        let outage = outage.get_or_insert(Outage { since: now, failures: 0 });
        if now.since(outage.since) >= OUTAGE {
            self.engine.lines.give_up(&self.seat.plan.name, outage.since);
            return Err(error);
        }
        *self.heard() = Heard { trouble: Some(error), ..Heard::default() };
        Ok(outage.next_pause(self.engine))
    }

    /// Ask the backend once.
    async fn ask(&self) -> Result<Ask, Error> {
        let engine = self.engine;
        let recheck = engine.lines.recheck();
        let claim = self.seat.send(recheck);
        let sent = engine.runtime.now();
        let limit = Engine::request_limit(claim.ttl);
        self.heard().asked = Some(sent);
        let answer = engine.request(limit, engine.backend.claim(&claim)).await;
        let answer = answer.inspect_err(|e| {
            if e.outcome() == Outcome::NotHeld {
                self.seat.was_not_sent();
            }
        })?;
        let is_busy = matches!(answer, Answer::Busy { .. });
        *self.heard() = Heard { is_busy, ..Heard::default() };
        match answer {
            Answer::Granted { fence, term } => {
                let start = Start::granted(&self.seat.plan, sent, term);
                let hold = Arc::new(Hold::new(&self.seat.plan, claim.owner, fence, &start));
                let renew_at = first_renewal(&hold, &start);
                if engine.serve(From::Server, &self.seat, &hold, renew_at) || self.seat.is_served()
                {
                    return Ok(Ask::Granted);
                }
                engine.check_open()?;
                // Answered too late to be of use: give it back, start anew.
                engine.withdraw_in_background(self.seat.renew_owner(engine.new_owner()));
                Ok(Ask::Busy(Duration::ZERO))
            }
            Answer::Busy { free_in, ahead, fence } => {
                if let Some(grant) = self.seat.set_place(Place { asked: sent, fence }) {
                    engine.accept(&grant);
                }
                let recheck = recheck + engine.jitter(recheck / 6);
                // Only the first of the line profits from being there in time.
                let lapse = free_in.filter(|_| ahead == 0).map(|d| d + Duration::from_millis(1));
                Ok(Ask::Busy(lapse.map_or(recheck, |lapse| lapse.min(recheck))))
            }
            Answer::Quarantined { ends_in } => {
                let message = "the server may have lost data in a restart and is in quarantine; it \
                               grants nothing for another";
                let error = Error::unavailable(format!("{message} {ends_in:.0?}"));
                if self.patience == Patience::Try {
                    return Err(error);
                }
                self.heard().trouble = Some(error);
                Ok(Ask::Busy(ends_in.min(RECHECK)))
            }
            Answer::Tied => Ok(Ask::Tied),
            Answer::Retired => {
                self.seat.renew_owner(engine.new_owner());
                Ok(Ask::Tied)
            }
        }
    }

    /// Busy and broken are not the same.
    fn timed_out(&self) -> Error {
        let (now, heard) = (self.engine.runtime.now(), std::mem::take(&mut *self.heard()));
        if let Some(trouble) = heard.trouble {
            return trouble;
        }
        let is_silent = |asked| !heard.is_busy || now.since(asked) > SILENCE;
        if heard.asked.is_some_and(is_silent) {
            return Error::unavailable("the backend has not answered in time");
        }
        let waited = now.since(self.seat.since);
        let message = format!(
            "busy for all of the {waited:.1?} that were to be waited; `leasehold ls` shows who \
             holds it"
        );
        Error::new(Kind::Timeout, message)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Ask {
    /// The seat has its lease.
    Granted,
    /// Ask again after this long, or when rung.
    Busy(Duration),
    /// Ask again soon.
    Tied,
}

/// How long to wait at most after so many ties in a row. The first may be over
/// at once; later each waits another while, so that one of them comes first.
fn tie(ties: u32) -> Duration {
    match ties {
        1 => Duration::ZERO,
        _ => RECHECK.min(Duration::from_millis(1) * (1 << (ties - 2).min(10))),
    }
}

/// A row of failures without an answer in between.
struct Outage {
    since: Instant,
    failures: u32,
}

impl Outage {
    fn next_pause(&mut self, engine: &Engine) -> Duration {
        let pause = Duration::from_millis(10) * (1 << self.failures.min(6));
        self.failures += 1;
        pause + engine.jitter(pause)
    }
}
