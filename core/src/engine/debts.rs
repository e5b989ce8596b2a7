//! What this client owes the backend: leases that nobody holds any more, and
//! claims that may have been granted unseen.
//!
//! There is one queue, [paid](super::payer) by a few tasks that end when it is
//! empty. While the backend fails it is asked by one of them alone, after a pause
//! that all debts share. A debt is tried again after every kind of error, until
//! what it is about has ended by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Hold;
use crate::backend::Claim;
use crate::error::{Error, Kind};
use crate::time::Instant;

/// So many are paid at once.
const TASKS: usize = 64;
/// So many are kept. When there are more, the one that ends first is dropped:
/// its lease or place ends with its ttl then, as it does when a process dies.
const MOST: usize = 1 << 17;
/// The pause after the first failure and after many in a row.
const PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What is owed.
pub(super) enum Debt {
    /// A lease that is to be given back.
    Release(Arc<Hold>),
    /// A claim that is to be undone.
    Withdraw(Claim),
}

#[derive(Default)]
pub(super) struct Debts {
    state: Mutex<State>,
    /// Rung when one rests and another need not.
    pub(super) bell: Notify,
    /// Rung when nothing is owed any more.
    settled: Notify,
}

#[derive(Default)]
pub(super) struct State {
    debts: BTreeMap<Ticket, Owed>,
    /// In the order in which they are paid.
    order: BTreeSet<(Turn, Ticket)>,
    /// In the order in which they end.
    ends: BTreeSet<(Instant, Ticket)>,
    tickets: Ticket,
    tasks: usize,
    /// How many users give something back themselves just now.
    users: usize,
    /// One of the tasks waits for the next turn.
    is_resting: bool,
    /// Since the last one that was paid.
    failures: u32,
    /// What was tried before is not tried again before.
    rests_until: Option<Instant>,
    /// Why the backend does not answer, if it was that which failed last. Then
    /// nothing is paid before, be it tried or not.
    outage: Option<Error>,
}

pub(super) type Ticket = u64;

/// Whoever has not been tried comes first; the others when their pause is over.
type Turn = Option<Instant>;

pub(super) struct Owed {
    pub(super) debt: Debt,
    turn: Turn,
    /// When it has ended by itself.
    until: Instant,
    failures: u32,
}

/// What a task is to do next.
pub(super) enum Next {
    Pay(Ticket, Owed),
    Rest(Instant),
    /// Nothing, or what others do already.
    End,
}

/// What has become of a new debt.
pub(super) struct Added {
    /// Whether it takes another task to pay it.
    pub(super) wants_task: bool,
    /// Why it is paid later, if the backend does not answer.
    pub(super) outage: Option<Error>,
    pub(super) dropped: Vec<Debt>,
}

impl State {
    fn insert(&mut self, ticket: Ticket, owed: Owed) {
        self.order.insert((owed.turn, ticket));
        self.ends.insert((owed.until, ticket));
        self.debts.insert(ticket, owed);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Owed> {
        let owed = self.debts.remove(&ticket)?;
        self.order.remove(&(owed.turn, ticket));
        self.ends.remove(&(owed.until, ticket));
        Some(owed)
    }

    pub(super) fn drop_ended(&mut self, now: Instant) -> Vec<Debt> {
        let mut ended = Vec::new();
        while let Some((until, ticket)) = self.ends.first().copied()
            && (until <= now || self.debts.len() > MOST)
        {
            ended.extend(self.remove(ticket).map(|owed| owed.debt));
        }
        ended
    }

    /// Whether more could be paid at once than there are tasks.
    fn wants_task(&self) -> bool {
        let most = if self.failures > 0 { 1 } else { TASKS };
        self.tasks < most && !self.order.is_empty()
    }

    /// Count one more task if it is wanted; answers whether.
    pub(super) fn begin_task(&mut self) -> bool {
        let wants_task = self.wants_task();
        self.tasks += usize::from(wants_task);
        wants_task
    }

    /// Count one less; answers whether nothing is owed any more.
    pub(super) fn end_task(&mut self) -> bool {
        self.tasks -= 1;
        self.is_settled()
    }

    fn is_settled(&self) -> bool {
        self.debts.is_empty() && self.tasks == 0
    }

    /// Nothing can be paid any more; answers what was owed.
    pub(super) fn clear(&mut self) -> Vec<Debt> {
        (self.order, self.ends) = Default::default();
        std::mem::take(&mut self.debts).into_values().map(|owed| owed.debt).collect()
    }

    pub(super) fn is_resting(&self) -> bool {
        self.is_resting
    }

    pub(super) fn rest(&mut self, is_resting: bool) {
        self.is_resting = is_resting;
    }

    /// The backend answers; whoever rests goes on resting, and others may come.
    pub(super) fn paid(&mut self) -> bool {
        (self.failures, self.rests_until, self.outage) = (0, None, None);
        !self.is_resting && self.begin_task()
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        let Some((turn, ticket)) = self.order.first().copied() else { return Next::End };
        if self.failures > 0 && self.tasks > 1 {
            return Next::End;
        }
        // One that is new is tried at once if the others were only refused.
        let rests = turn.is_some() || self.outage.is_some();
        let rests_until = self.rests_until.filter(|_| rests);
        let turn = turn.max(rests_until).filter(|turn| *turn > now);
        if let Some(turn) = turn {
            let end = self.ends.first().map_or(turn, |(end, _)| *end);
            return if self.is_resting { Next::End } else { Next::Rest(turn.min(end)) };
        }
        self.remove(ticket).map_or(Next::End, |owed| Next::Pay(ticket, owed))
    }

    /// It is tried again, in its turn.
    pub(super) fn failed(&mut self, ticket: Ticket, mut owed: Owed, error: &Error, at: Times) {
        let Times { now, jitter } = at;
        let is_outage = error.kind() == Kind::Unavailable;
        // Those that were under way together fail together.
        if self.rests_until.is_none_or(|until| until <= now) {
            // One that is refused has a pause of its own, and the others a short one.
            self.failures = if is_outage { self.failures + 1 } else { 1 };
            self.rests_until = Some(now + pause(self.failures, jitter));
        }
        self.outage = is_outage.then(|| error.again());
        owed.turn = Some(now);
        if !is_outage {
            // It may be about this one alone, and others are paid before it.
            owed.failures += 1;
            owed.turn = Some(now + pause(owed.failures, jitter));
        }
        self.insert(ticket, owed);
    }
}

/// When something happened, and how much to add to a pause: from 0 to 1.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) now: Instant,
    pub(super) jitter: f64,
}

fn pause(failures: u32, jitter: f64) -> Duration {
    let pause = (PAUSE * (1 << (failures - 1).min(10))).min(MAX_PAUSE);
    pause + pause.mul_f64(jitter)
}

impl Debts {
    pub(super) fn add(&self, debt: Debt, until: Instant, now: Instant) -> Added {
        let mut state = self.state();
        state.tickets += 1;
        let ticket = state.tickets;
        state.insert(ticket, Owed { debt, turn: None, until, failures: 0 });
        let dropped = state.drop_ended(now);
        let wants_task = state.begin_task();
        let waits = !wants_task || state.rests_until > Some(now);
        let outage = state.outage.as_ref().filter(|_| waits).map(Error::again);
        if !wants_task && state.is_resting {
            // It may rest for one that failed; a new one is not in that turn.
            self.bell.notify_one();
        }
        Added { wants_task, outage, dropped }
    }

    /// A task is over.
    pub(super) fn end_task(&self, state: &mut State) {
        if state.end_task() {
            self.settled.notify_waiters();
        }
    }

    /// Ready when nothing is owed.
    pub(super) async fn settled(&self) {
        self.until(State::is_settled).await;
    }

    /// Ready when nothing is owed and no user is about to give something back.
    pub(super) async fn given_back(&self) {
        self.until(|state| state.is_settled() && state.users == 0).await;
    }

    async fn until(&self, is_done: impl Fn(&State) -> bool) {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            if is_done(&self.state()) {
                return;
            }
            settled.await;
        }
    }

    /// A user gives something back until the answer is dropped; what becomes a debt of
    /// that does so before.
    pub(super) fn begin_giving_back(&self) -> GivingBack<'_> {
        self.state().users += 1;
        GivingBack(self)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct GivingBack<'a>(&'a Debts);

impl Drop for GivingBack<'_> {
    fn drop(&mut self) {
        self.0.state().users -= 1;
        self.0.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{LockName, Owner};

    fn withdrawal(number: u128) -> Debt {
        Debt::Withdraw(Claim {
            name: LockName::new("x").unwrap(),
            owner: Owner::from_bits(number),
            ttl: Duration::from_secs(1),
            delay: Duration::ZERO,
            mode: Default::default(),
            label: "".into(),
            place: None,
            renewed: true,
        })
    }

    fn number(debt: &Debt) -> u128 {
        match debt {
            Debt::Withdraw(claim) => claim.owner.bits(),
            Debt::Release(hold) => hold.held.owner.bits(),
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn next(debts: &Debts, now: Instant) -> Option<(Ticket, Owed)> {
        match debts.state().next(now) {
            Next::Pay(ticket, owed) => Some((ticket, owed)),
            Next::Rest(_) | Next::End => None,
        }
    }

    #[test]
    fn when_there_are_too_many_the_one_that_ends_first_is_dropped() {
        let debts = Debts::default();
        let add = |number: u128, until| debts.add(withdrawal(number), at(until), at(0)).dropped;
        assert!(add(0, 5000).is_empty() && add(1, 3000).is_empty());
        assert!((2..MOST as u128).all(|number| add(number, 4000).is_empty()));
        assert_eq!(add(MOST as u128, 6000).iter().map(number).collect::<Vec<_>>(), [1]);
        assert_eq!(debts.state().debts.len(), MOST);
        assert_eq!(debts.state().drop_ended(at(5500)).len(), MOST - 1);
        assert_eq!(debts.state().order.len(), 1);
    }

    #[test]
    fn one_that_failed_comes_after_the_new_ones_and_not_before_its_pause() {
        let debts = Debts::default();
        let refused = Error::new(Kind::Refused, "no");
        debts.add(withdrawal(1), at(9000), at(0));
        let (ticket, owed) = next(&debts, at(0)).unwrap();
        debts.state().failed(ticket, owed, &refused, Times { now: at(0), jitter: 0.0 });
        debts.add(withdrawal(2), at(9000), at(0));
        assert_eq!(number(&next(&debts, at(0)).unwrap().1.debt), 2, "it rests for itself alone");
        assert!(next(&debts, at(9)).is_none());
        let (ticket, owed) = next(&debts, at(10)).unwrap();
        debts.state().failed(ticket, owed, &refused, Times { now: at(10), jitter: 0.0 });
        // Another has been paid since.
        (debts.state().failures, debts.state().rests_until) = (0, None);
        assert!(next(&debts, at(29)).is_none());
        assert_eq!(number(&next(&debts, at(30)).unwrap().1.debt), 1);
    }

    #[test]
    fn in_an_outage_the_new_ones_rest_too() {
        let debts = Debts::default();
        debts.add(withdrawal(1), at(9000), at(0));
        let (ticket, owed) = next(&debts, at(0)).unwrap();
        let silent = Error::unavailable("silent");
        debts.state().failed(ticket, owed, &silent, Times { now: at(0), jitter: 0.0 });
        let added = debts.add(withdrawal(2), at(9000), at(0));
        assert!(added.outage.is_some_and(|why| why.to_string().contains("silent")));
        assert!(next(&debts, at(9)).is_none());
        assert!(next(&debts, at(10)).is_some());
    }
}
