//! Getting a lock: one claim after the other, and what to wait for in between.

use std::sync::Arc;
use std::time::Duration;

use super::hold::Start;
use super::keeper::first_renewal;
use super::line::Source;
use super::pauses::{RECHECK, Row, tie};
use super::refusals::{late, other_kind};
use super::seat::{Busy, Seat};
use super::turn::Asked;
use super::word::Word;
use super::{Engine, Hold, Outage, Patience, Phase, Plan};
use crate::backend::{Answer, Claim, Grant, Mode};
use crate::error::{Error, Kind, Outcome};
use crate::time::Instant;

/// How long the server keeps a waiter's place without hearing from it.
const PLACE: Duration = Duration::from_secs(2);
/// How long a lease is offered to a waiter who is not polled.
const OFFER: Duration = Duration::from_secs(1);
/// After so many ties in a row, some 60 ms, a lock that is only tried is busy.
const TIES: u32 = 8;

impl Engine {
    /// Wait for the lock as long as `patience` says; `None` when it is busy and
    /// that is an answer.
    ///
    /// Three answers are kept apart, for everybody in the line: *busy*, somebody
    /// holds it; *broken*, there is no answer; *late*, it was granted when the
    /// lease would have been over, so it is asked again.
    ///
    /// Cancel safety: dropped at any point, nothing is held and the line goes on.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        mut plan: Plan,
        patience: Patience,
        mut outage: Option<Outage>,
    ) -> Result<Option<Arc<Hold>>, Error> {
        self.check_open()?;
        let (name, backend) = (plan.name.clone(), self.describe());
        // What the backend adds is the holder's.
        plan.ttl = self.backend().ttl(plan.lasts()) - plan.delay;
        self.backend().supports(plan.mode).map_err(|e| e.about(&name, backend))?;
        if plan.may_rest {
            self.backend().supports_rest().map_err(|e| e.about(&name, backend))?;
        }
        let since = self.runtime.now();
        loop {
            let left = patience.after(self.runtime.now().since(since));
            match self.stand_in_line(plan.clone(), left, outage.take()).await {
                Ok(Stay::PassedOver) => {}
                Ok(Stay::Granted(hold)) => return Ok(Some(hold)),
                Ok(Stay::Busy) if patience == Patience::Try => return Ok(None),
                ended => {
                    let error = ended.err().unwrap_or_else(|| self.busy(&plan, since));
                    return Err(error.with_outcome(Outcome::NotHeld).about(&name, backend));
                }
            }
        }
    }

    async fn stand_in_line(
        self: &Arc<Self>,
        plan: Plan,
        patience: Patience,
        outage: Option<Outage>,
    ) -> Result<Stay, Error> {
        let waits = patience.waits();
        let claim = Claim {
            name: plan.name.clone(),
            owner: self.new_owner(),
            ttl: plan.lasts(),
            delay: plan.delay,
            mode: plan.mode,
            label: plan.label.clone(),
            place: waits.then_some(PLACE),
            renewed: plan.auto_renew,
        };
        if !Mode::Exclusive.goes_with(plan.mode) && self.lines.holder(&plan.name).is_some() {
            return Err(other_kind(Mode::Exclusive, plan.mode));
        }
        let since = outage.as_ref().map_or_else(|| self.runtime.now(), |outage| outage.since);
        let seat = Seat::new(plan, claim, since);
        let Some(word) = self.lines.join(&seat, !waits) else { return Ok(Stay::Busy) };
        if let Some(outage) = outage {
            word.begin_with(outage);
        }
        Visit { engine: self, seat, word, patience }.wait().await
    }

    fn busy(&self, plan: &Plan, since: Instant) -> Error {
        let waited = self.runtime.now().since(since);
        let own = self.own(plan);
        let why = own.as_deref().unwrap_or("`leasehold ls` shows who holds it");
        let message = format!("busy for all of the {waited:.1?} that were to be waited; {why}");
        Error::new(Kind::Timeout, message)
    }
}

impl Engine {
    /// Give a waiter the lease that it waits for; no when that comes too late.
    pub(super) fn serve(
        self: &Arc<Self>,
        from: Source,
        seat: &Arc<Seat>,
        hold: &Arc<Hold>,
        renew_at: Option<Instant>,
    ) -> bool {
        if seat.is_unanswered() {
            hold.may_be_cut();
        }
        let now = self.runtime.now();
        let act_at = match hold.offer.is_open() {
            true => {
                hold.offer.renew_at(renew_at);
                Some((now + OFFER).min(hold.lost_at() - Duration::from_millis(1)))
            }
            false => renew_at,
        };
        now < hold.lost_at() && self.lines.serve(from, seat, hold, || self.keep(hold, act_at))
    }

    /// Ask for what was just granted, if there was a hint before it was kept.
    pub(super) fn check_if_doubted(&self, seat: &Seat) {
        if seat.is_doubted() {
            self.check(Some(&seat.plan.name));
        }
    }

    /// The server has handed a lock to somebody who waited.
    pub(super) fn accept(self: &Arc<Self>, grant: &Grant) {
        let Some((seat, busy)) = self.lines.waiting(grant) else { return };
        let plan = &seat.plan;
        // Its window has no room for the delay: the waiter asks for the whole of it.
        let is_enough = plan.delay.is_zero() || grant.lasts >= plan.lasts();
        // A grant that is older than the answer may be over already.
        if grant.fence > busy.fence && is_enough {
            let now = self.runtime.now();
            let start = Start::handed_on(plan, busy.asked, grant.lasts, now);
            let hold = Hold::new(plan, grant.owner, (grant.fence, grant.slot), &start);
            let renew_at = first_renewal(&hold, &start);
            if self.serve(Source::Server, &seat, &Arc::new(hold), renew_at) {
                return;
            }
        }
        // Asked again, the server tells what is true now.
        seat.bell.notify_one();
    }
}

/// What a stay in the line came to.
enum Stay {
    Granted(Arc<Hold>),
    /// It was not waited for any longer.
    Busy,
    /// A lease was there, and the waiter came too late for it: it stands in line
    /// again.
    PassedOver,
}

/// A waiter's stay in the line; whichever way it ends, the place is left and
/// what was asked of the backend and not used is taken back.
pub(super) struct Visit<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) seat: Arc<Seat>,
    pub(super) word: Arc<Word>,
    pub(super) patience: Patience,
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
    async fn wait(self) -> Result<Stay, Error> {
        let engine = self.engine;
        tokio::select! {
            biased;
            () = async { engine.reached(Phase::Closed).await } => {
                engine.check_open().map(|()| Stay::Busy)
            }
            granted = self.until_granted() => granted,
            verdict = self.out_of_patience() => verdict.map(|()| Stay::Busy),
        }
    }

    async fn until_granted(&self) -> Result<Stay, Error> {
        let mut row = Row::default();
        // It holds nothing more while it waits, so it is asked once.
        let mut may_be_own = self.patience == Patience::Forever;
        loop {
            if let Some(hold) = self.seat.take_granted() {
                return Ok(self.take(hold));
            }
            if !self.engine.lines.is_turn_of(&self.seat) {
                if std::mem::take(&mut may_be_own) {
                    self.engine.refuse_own(&self.seat.plan)?;
                }
                self.seat.bell.notified().await;
                continue;
            }
            self.hear_outage()?;
            let asked = tokio::select! {
                biased;
                () = self.seat.served() => continue,
                asked = self.ask() => asked,
            };
            let pause = match asked {
                Ok(Ask::Granted | Ask::PassedOver) => continue,
                Ok(Ask::Refused(error)) => return Err(error),
                Ok(Ask::Busy(pause)) => {
                    if std::mem::take(&mut may_be_own) {
                        self.engine.refuse_own(&self.seat.plan)?;
                    }
                    row = Row::default();
                    pause
                }
                Ok(Ask::Tied) => {
                    row = Row { ties: row.ties + 1, ..Row::default() };
                    if row.ties > TIES {
                        // Whoever only tries has tried enough.
                        self.word.busy();
                    }
                    self.engine.jitter(tie(row.ties))
                }
                Ok(Ask::Late(_)) if !row.was_late => {
                    // The next may come in time.
                    row.was_late = true;
                    Duration::ZERO
                }
                Ok(Ask::Late(error)) | Err(error) => self.bear(&mut row, error)?,
            };
            self.engine.lines.pause(&self.seat, pause);
            tokio::select! {
                biased;
                () = self.seat.bell.notified() => {}
                () = self.engine.runtime.sleep(pause) => {}
            }
        }
    }

    /// Take what has been given to this waiter, who may come too late for it.
    fn take(&self, hold: Arc<Hold>) -> Stay {
        if self.engine.runtime.now() < hold.lost_at() || !hold.offer.is_open() {
            match hold.offer.take() {
                Some(renew_at) => self.engine.taken(&hold, renew_at),
                None if hold.is_over() || !hold.offer.is_taken() => return Stay::PassedOver,
                None => {}
            }
            return Stay::Granted(hold);
        }
        self.engine.release_in_background(hold);
        Stay::PassedOver
    }

    /// Ask the backend once.
    async fn ask(&self) -> Result<Ask, Error> {
        let engine = self.engine;
        let recheck = engine.lines.recheck();
        let sent = engine.runtime.now();
        let limit = self.question_limit();
        let Some(claim) = engine.lines.send(&self.seat, recheck, sent + limit) else {
            return Ok(Ask::PassedOver);
        };
        // Who closes has seen that it is sent, or this sees that it is not to be.
        engine.check_open().inspect_err(|_| self.seat.was_not_sent(claim.owner))?;
        self.word.ask(sent);
        let asked = Asked { engine, seat: &self.seat, claim: &claim };
        let answer = engine.request(limit, engine.backend().claim(&claim)).await;
        drop(asked);
        match &answer {
            Ok(_) => self.seat.is_answered(claim.owner),
            Err(e) if e.outcome() == Outcome::NotHeld => self.seat.was_not_sent(claim.owner),
            Err(_) => {}
        }
        if self.seat.owner() != claim.owner {
            // Others have had their turn since.
            return Ok(Ask::PassedOver);
        }
        let answer = answer?;
        match answer {
            Answer::Granted { fence, slot, term } => {
                let start = Start::granted(&self.seat.plan, sent, term);
                let hold = Arc::new(Hold::new(&self.seat.plan, claim.owner, (fence, slot), &start));
                let renew_at = first_renewal(&hold, &start);
                // Whoever asks is there to take it.
                hold.offer.take();
                if engine.serve(Source::Asked, &self.seat, &hold, renew_at) || self.seat.is_served()
                {
                    engine.check_if_doubted(&self.seat);
                    return Ok(Ask::Granted);
                }
                engine.check_open()?;
                // Give it back, start anew.
                let claim = self.seat.renew_owner(claim.owner, engine.new_owner());
                claim.into_iter().for_each(|claim| engine.withdraw_in_background(claim));
                Ok(Ask::Late(late(engine.runtime.now().since(sent), &self.seat.plan)))
            }
            Answer::Busy { free_in, ahead, fence } => {
                self.word.busy();
                if claim.place.is_none() {
                    // It left no place behind.
                    drop(self.seat.take_sent());
                }
                if let Some(grant) = self.seat.set_busy(claim.owner, Busy { asked: sent, fence }) {
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
                self.word.closed(error);
                Ok(Ask::Busy(ends_in.min(RECHECK)))
            }
            Answer::Tied => {
                self.word.answered();
                Ok(Ask::Tied)
            }
            Answer::Retired => {
                self.word.answered();
                self.seat.renew_owner(claim.owner, engine.new_owner());
                Ok(Ask::Tied)
            }
            Answer::OtherKind { mode } => {
                self.word.answered();
                if claim.place.is_none() {
                    drop(self.seat.take_sent());
                }
                // Else it may have a place from before, which is given up as at every end.
                Ok(Ask::Refused(other_kind(mode, claim.mode)))
            }
        }
    }
}

enum Ask {
    /// The seat has its lease.
    Granted,
    /// It is somebody else's turn by now.
    PassedOver,
    /// Ask again after this long, or when rung.
    Busy(Duration),
    /// Ask again soon.
    Tied,
    /// The lock is not of the kind that is asked for.
    Refused(Error),
    /// It was granted, and the lease would be over by now.
    Late(Error),
}
