//! What this client owes the backend: leases that nobody holds any more, and
//! claims that may have been granted unseen.
//!
//! There is one queue, paid by a few tasks that end when it is empty. While the
//! backend fails it is asked by one of them alone, after a pause that all debts
//! share. A debt is tried again after every kind of error, until what it is
//! about has ended by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Engine, Hold};
use crate::backend::Claim;
use crate::error::{Error, Kind};
use crate::time::{Instant, drift};

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
    /// Rung when there is no point in resting any longer.
    hurry: Notify,
    /// Rung when nothing is owed any more.
    settled: Notify,
}

#[derive(Default)]
struct State {
    debts: BTreeMap<Ticket, Owed>,
    /// In the order in which they are paid.
    order: BTreeSet<(Turn, Ticket)>,
    /// In the order in which they end.
    ends: BTreeSet<(Instant, Ticket)>,
    tickets: Ticket,
    tasks: usize,
    /// One of the tasks waits for the next turn.
    is_resting: bool,
    /// Since the last one that was paid.
    failures: u32,
    /// Nothing is paid before.
    rests_until: Option<Instant>,
}

type Ticket = u64;

/// Whoever has not been tried comes first; the others when their pause is over.
type Turn = Option<Instant>;

struct Owed {
    debt: Debt,
    turn: Turn,
    /// When it has ended by itself.
    until: Instant,
    failures: u32,
}

/// What a task is to do next.
enum Next {
    Pay(Ticket, Owed),
    Rest(Instant),
    /// Nothing, or what others do already.
    End,
}

/// What has become of a new debt.
struct Added {
    /// Whether it takes another task to pay it.
    wants_task: bool,
    /// Whether it is paid later, because the backend fails.
    is_late: bool,
    dropped: Vec<Debt>,
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

    fn drop_ended(&mut self, now: Instant) -> Vec<Debt> {
        let mut ended = Vec::new();
        while let Some((until, ticket)) = self.ends.first().copied()
            && (until <= now || self.debts.len() > MOST)
        {
            ended.extend(self.remove(ticket).map(|owed| owed.debt));
        }
        ended
    }

    /// Whether there is a task for every debt that can be paid at once.
    fn wants_task(&self) -> bool {
        let most = if self.failures > 0 { 1 } else { TASKS };
        self.tasks < most && !self.order.is_empty()
    }

    fn next(&mut self, now: Instant) -> Next {
        let Some((turn, ticket)) = self.order.first().copied() else { return Next::End };
        if self.failures > 0 && self.tasks > 1 {
            return Next::End;
        }
        let turn = turn.max(self.rests_until).filter(|turn| *turn > now);
        if let Some(turn) = turn {
            let end = self.ends.first().map_or(turn, |(end, _)| *end);
            return if self.is_resting { Next::End } else { Next::Rest(turn.min(end)) };
        }
        self.remove(ticket).map_or(Next::End, |owed| Next::Pay(ticket, owed))
    }

    /// It is tried again, in its turn.
    fn failed(&mut self, ticket: Ticket, mut owed: Owed, error: &Error, at: Times) {
        let Times { now, jitter } = at;
        // Those that were under way together fail together.
        if self.rests_until.is_none_or(|until| until <= now) {
            self.failures += 1;
            self.rests_until = Some(now + pause(self.failures, jitter));
        }
        owed.turn = Some(now);
        if error.kind() != Kind::Unavailable {
            // It may be about this one alone, and others are paid before it.
            owed.failures += 1;
            owed.turn = Some(now + pause(owed.failures, jitter));
        }
        self.insert(ticket, owed);
    }
}

/// When something happened, and how much to add to a pause: from 0 to 1.
#[derive(Clone, Copy)]
struct Times {
    now: Instant,
    jitter: f64,
}

fn pause(failures: u32, jitter: f64) -> Duration {
    let pause = (PAUSE * (1 << (failures - 1).min(10))).min(MAX_PAUSE);
    pause + pause.mul_f64(jitter)
}

impl Debts {
    fn add(&self, debt: Debt, until: Instant, now: Instant) -> Added {
        let mut state = self.state();
        state.tickets += 1;
        let ticket = state.tickets;
        state.insert(ticket, Owed { debt, turn: None, until, failures: 0 });
        let dropped = state.drop_ended(now);
        let wants_task = state.wants_task();
        let is_late = state.failures > 0 && (!wants_task || state.rests_until > Some(now));
        state.tasks += usize::from(wants_task);
        if !wants_task && state.is_resting {
            // It may rest for one that failed; a new one is not in that turn.
            self.hurry.notify_one();
        }
        Added { wants_task, is_late, dropped }
    }

    /// The backend may be there again: ask now.
    pub(super) fn hurry(&self) {
        self.state().rests_until = None;
        self.hurry.notify_one();
    }

    /// Ready when nothing is owed.
    pub(super) async fn settled(&self) {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            if self.state().is_settled() {
                return;
            }
            settled.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_settled(&self) -> bool {
        self.debts.is_empty() && self.tasks == 0
    }
}

impl Engine {
    /// Give a lease back, sooner or later.
    pub(super) fn owe_release(self: &Arc<Self>, hold: Arc<Hold>) {
        let until = hold.gone_at();
        self.owe(Debt::Release(hold), until);
    }

    /// Make a claim undone that may have reached the backend.
    pub(super) fn withdraw_in_background(self: &Arc<Self>, claim: Claim) {
        let until = self.runtime.now() + claim.ttl + drift(claim.ttl);
        self.owe(Debt::Withdraw(claim), until);
    }

    fn owe(self: &Arc<Self>, debt: Debt, until: Instant) {
        if self.is_foreign() {
            return;
        }
        let late = match &debt {
            Debt::Release(hold) => Some(hold.clone()),
            Debt::Withdraw(_) => None,
        };
        let added = self.debts.add(debt, until, self.runtime.now());
        if added.wants_task {
            self.spawn_payer();
        }
        if let Some(hold) = late.filter(|_| added.is_late) {
            self.put_off(&hold);
        }
        self.abandon(added.dropped);
    }

    fn spawn_payer(self: &Arc<Self>) {
        let payer = Payer { engine: self.clone(), is_done: false };
        self.runtime.spawn(Box::pin(payer.pay_all()));
    }

    /// What has ended by itself, or will.
    fn abandon(&self, debts: Vec<Debt>) {
        for debt in debts {
            if let Debt::Release(hold) = debt {
                self.put_off(&hold);
            }
        }
    }

    async fn pay(self: &Arc<Self>, debt: &Debt) -> Result<(), Error> {
        match debt {
            Debt::Release(hold) => self.release_once(hold).await.map(drop),
            Debt::Withdraw(claim) => {
                let limit = Self::request_limit(claim.ttl);
                self.request(limit, self.backend.withdraw(claim)).await
            }
        }
    }
}

/// A task that pays debts; counted until it is over, however it ends.
struct Payer {
    engine: Arc<Engine>,
    is_done: bool,
}

impl Payer {
    async fn pay_all(mut self) {
        let engine = self.engine.clone();
        loop {
            let now = engine.runtime.now();
            let (next, ended) = {
                let mut state = engine.debts.state();
                let ended = state.drop_ended(now);
                let next = state.next(now);
                match next {
                    Next::End => self.end(&mut state),
                    Next::Rest(_) => state.is_resting = true,
                    Next::Pay(..) => {}
                }
                (next, ended)
            };
            engine.abandon(ended);
            match next {
                Next::Pay(ticket, owed) => self.pay(ticket, owed).await,
                Next::Rest(until) => {
                    let until = until.since(now);
                    tokio::select! {
                        biased;
                        () = engine.debts.hurry.notified() => {}
                        () = async { engine.runtime.sleep(until).await } => {}
                    }
                    engine.debts.state().is_resting = false;
                }
                Next::End => return,
            }
        }
    }

    async fn pay(&self, ticket: Ticket, owed: Owed) {
        let engine = &self.engine;
        let paid = engine.pay(&owed.debt).await;
        let jitter = engine.jitter(MAX_PAUSE).as_secs_f64();
        let times = Times { now: engine.runtime.now(), jitter };
        let mut state = engine.debts.state();
        match paid {
            Ok(()) => (state.failures, state.rests_until) = (0, None),
            Err(error) => state.failed(ticket, owed, &error, times),
        }
        // After an outage each that is paid brings one more to work.
        let wants_task = state.failures == 0 && state.wants_task() && !state.is_resting;
        state.tasks += usize::from(wants_task);
        drop(state);
        if wants_task {
            engine.spawn_payer();
        }
    }

    fn end(&mut self, state: &mut State) {
        self.is_done = true;
        state.tasks -= 1;
        if state.is_settled() {
            self.engine.debts.settled.notify_waiters();
        }
    }
}

impl Drop for Payer {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let engine = self.engine.clone();
        let wants_task = {
            let mut state = engine.debts.state();
            state.is_resting = false;
            if !std::thread::panicking() {
                // The runtime is gone, and nothing can be paid any more.
                (state.debts, state.order, state.ends) = Default::default();
            }
            self.end(&mut state);
            let wants_task = state.wants_task();
            state.tasks += usize::from(wants_task);
            wants_task
        };
        if wants_task {
            engine.spawn_payer();
        }
    }
}
