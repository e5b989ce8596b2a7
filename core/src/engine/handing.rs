//! Handing a lease on: to a ticket, which nobody holds, and from there to whoever
//! adopts it.

use std::sync::Arc;

use super::hold::{End, Start};
use super::keeper::first_renewal;
use super::patience::OUTAGE;
use super::pauses::Row;
use super::refusals::late;
use super::{Engine, Hold, Loss, Phase, Plan};
use crate::backend::{Claim, Heir, Held, Transferred};
use crate::error::{Error, Kind, Outcome};
use crate::event::What;
use crate::name::Owner;
use crate::time::Instant;

/// What somebody holds who has no client: a ticket.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) owner: Owner,
    pub(crate) fence: u64,
    pub(crate) slot: u32,
}

impl Engine {
    /// What a ticket for such a lease claims.
    pub(crate) fn heir(&self, plan: &Plan) -> Claim {
        Claim {
            name: plan.name.clone(),
            owner: self.new_owner(),
            ttl: self.backend().ttl(plan.lasts()),
            delay: plan.delay,
            mode: plan.mode,
            label: plan.label.clone(),
            place: None,
            renewed: plan.auto_renew,
        }
    }

    /// Make a ticket the holder of a lease, which ends here. A backend that does not
    /// answer is asked again until the lease is over; then, or when this is dropped,
    /// the lease is given back, and so is what a ticket has that nobody knows.
    pub(crate) async fn give(
        self: &Arc<Self>,
        hold: &Arc<Hold>,
        ticket: &Claim,
    ) -> Result<(), Error> {
        if !hold.is_over() && hold.deadline() <= self.runtime.now() {
            // The keeper has not come to see it.
            self.keeper.remove(hold);
            self.lose(hold, hold.loss_by_time());
        }
        if !hold.let_go() || hold.loss().is_some() {
            return Err(self.over(hold));
        }
        let _under_way = self.debts.begin_giving_back();
        self.keeper.remove(hold);
        // A release later may find it handed on, and that is no loss.
        hold.ask();
        let unknown = Unknown { engine: self, hold, ticket };
        let until = hold.deadline().min(self.runtime.now() + OUTAGE);
        let answer = self.transfer(&hold.as_held(), ticket, Heir::Ticket, until).await;
        let about = |e: Error| e.about(&hold.held.name, self.describe());
        let answer = answer.map_err(|error: Error| {
            let message = "the backend has not confirmed that the lease was handed on; it is \
                           given back in the background";
            let outcome = error.outcome();
            about(Error::new(error.kind(), message).with_outcome(outcome).because(error))
        })?;
        std::mem::forget(unknown);
        match answer.transferred {
            Transferred::Done { .. } => {
                hold.end(End::HandedOn, |is_end| {
                    self.lines.vacate(&hold.held.name, hold.held.owner, 0);
                    if is_end {
                        self.tell(hold, || What::HandedOn);
                    }
                });
                Ok(())
            }
            Transferred::Gone => {
                self.lose(hold, Loss::Gone);
                Err(self.over(hold))
            }
        }
    }

    /// Hold what a ticket has. Dropped at any point, nothing is held: the ticket is
    /// as it was, or used up and its lease given back.
    pub(crate) async fn adopt(
        self: &Arc<Self>,
        mut plan: Plan,
        given: Given,
    ) -> Result<Arc<Hold>, Error> {
        plan.ttl = self.backend().ttl(plan.lasts()) - plan.delay;
        let _under_way = self.debts.begin_giving_back();
        let adopted = tokio::select! {
            biased;
            () = async { self.reached(Phase::Closed).await } => Err(super::closed::closed()),
            adopted = self.take_over(&plan, given) => adopted,
        };
        adopted.map_err(|e| e.about(&plan.name, self.describe()))
    }

    async fn take_over(self: &Arc<Self>, plan: &Plan, given: Given) -> Result<Arc<Hold>, Error> {
        self.check_open()?;
        self.backend().supports(plan.mode)?;
        let to = self.heir(plan);
        let (name, mode, renewed) = (plan.name.clone(), plan.mode, plan.auto_renew);
        let (owner, fence, ttl) = (given.owner, given.fence, to.ttl);
        let held = Held { name, owner, mode, fence, ttl, renewed };
        let unused = Unused { engine: self, to: &to };
        let until = self.runtime.now() + OUTAGE;
        let mut was_late = false;
        loop {
            let answer = self.transfer(&held, &to, Heir::Client, until).await?;
            let Transferred::Done { term } = answer.transferred else {
                std::mem::forget(unused);
                return Err(used());
            };
            let (now, sent) = (self.runtime.now(), answer.sent);
            let start = Start::granted(plan, sent, term);
            let hold = Arc::new(Hold::new(plan, to.owner, (given.fence, given.slot), &start));
            if answer.may_come_again {
                hold.may_be_cut();
            }
            if now >= hold.lost_at() {
                // The next may come in time.
                if std::mem::replace(&mut was_late, true) {
                    return Err(late(now.since(sent), plan));
                }
                continue;
            }
            // Whoever asks is there to take it.
            hold.offer.take();
            std::mem::forget(unused);
            return match self.keep_as(&hold, first_renewal(&hold, &start), || What::Adopted) {
                true => Ok(hold),
                false => Err(super::closed::closed()),
            };
        }
    }

    /// Ask until there is an answer.
    async fn transfer(
        &self,
        held: &Held,
        to: &Claim,
        heir: Heir,
        until: Instant,
    ) -> Result<Answered, Error> {
        let (mut row, mut may_come_again) = (Row::default(), false);
        loop {
            let sent = self.runtime.now();
            let limit = self.question_limit(held.ttl).min(until.since(sent));
            let answer = self.request(limit, self.backend().transfer(held, to, heir)).await;
            let error = match answer {
                Ok(transferred) => return Ok(Answered { transferred, sent, may_come_again }),
                Err(error) => error,
            };
            may_come_again |= error.outcome() != Outcome::NotHeld;
            let pause = row.next_pause(self);
            if error.kind() != Kind::Unavailable || self.runtime.now() + pause >= until {
                let outcome = if may_come_again { Outcome::Unknown } else { Outcome::NotHeld };
                return Err(error.with_outcome(outcome));
            }
            self.runtime.sleep(pause).await;
        }
    }
}

struct Answered {
    transferred: Transferred,
    sent: Instant,
    /// An earlier question may be carried out once more.
    may_come_again: bool,
}

/// The ticket is nobody's any more.
fn used() -> Error {
    let message = "the ticket is not good, and nothing is held by it: it was adopted before, its \
                   time was over, the lock was broken since, or this is another server than that \
                   of the lease; take the lock anew";
    Error::new(Kind::Lost, message)
}

/// A lease that may have been handed to a ticket which nobody gets.
struct Unknown<'a> {
    engine: &'a Arc<Engine>,
    hold: &'a Arc<Hold>,
    ticket: &'a Claim,
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        self.engine.withdraw_in_background(self.ticket.clone());
        self.engine.owe_release(self.hold.clone());
    }
}

/// A lease that may have been handed to somebody who does not come for it.
struct Unused<'a> {
    engine: &'a Arc<Engine>,
    to: &'a Claim,
}

impl Drop for Unused<'_> {
    fn drop(&mut self) {
        self.engine.withdraw_in_background(self.to.clone());
    }
}
