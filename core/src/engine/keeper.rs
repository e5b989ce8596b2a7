//! Renews the leases of a client, many in one request, and reports those that
//! are lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::hold::{End, Start};
use super::{Engine, Hold, Loss, part};
use crate::backend::{Held, Renewal};
use crate::error::{Error, Outcome};
use crate::event::What;
use crate::name::{LockName, Owner};
use crate::time::Instant;

/// Timers stop while the machine is suspended; while anything is held, the
/// keeper looks at the clock at least this often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How soon a lease that is short at first is renewed for its whole ttl. Who is
/// done with it by then saves the request.
const EXTEND: Duration = Duration::from_millis(20);

/// How soon a renewal without an answer is repeated at the earliest.
const AGAIN: Duration = Duration::from_millis(10);

const TOO_FEW: &str = "too few servers answered; the lease lasts until its deadline";

#[derive(Default)]
pub(super) struct Keeper {
    state: Mutex<State>,
    hurry: Notify,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Owner, Entry>,
    /// When the keeper looks again by itself; `None`: not before it is told.
    alarm: Option<Instant>,
    /// Whether anything was held since the keeper last looked.
    busy: bool,
}

struct Entry {
    hold: Arc<Hold>,
    renew_at: Option<Instant>,
    failures: u32,
}

impl Entry {
    fn next_event(&self) -> Instant {
        let lost_at = self.hold.lost_at();
        self.renew_at.map_or(lost_at, |at| at.min(lost_at))
    }
}

impl Keeper {
    pub(super) fn remove(&self, hold: &Hold) {
        self.state().entries.remove(&hold.held.owner);
    }

    pub(super) fn get(&self, owner: Owner) -> Option<Arc<Hold>> {
        self.state().entries.get(&owner).map(|entry| entry.hold.clone())
    }

    pub(super) fn all(&self) -> Vec<Arc<Hold>> {
        self.state().entries.values().map(|entry| entry.hold.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Renew it from `renew_at` on, and report it when it is lost. No when the
    /// client was closed meanwhile; then it is given back.
    pub(super) fn keep(self: &Arc<Self>, hold: &Arc<Hold>, renew_at: Option<Instant>) -> bool {
        let entry = Entry { hold: hold.clone(), renew_at, failures: 0 };
        let mut state = self.keeper.state();
        let event = entry.next_event();
        state.entries.insert(hold.held.owner, entry);
        state.busy = true;
        self.tell(hold, || What::Acquired);
        // Usually it looks soon enough by itself, and is not worth waking.
        if state.alarm.is_none_or(|alarm| event < alarm) {
            self.keeper.hurry.notify_one();
        }
        drop(state);
        // Either close() sees the entry, or this sees that it was called.
        let open = self.check_open().is_ok();
        if !open {
            self.lose_by_close(hold);
            self.release_in_background(hold.clone());
        }
        open
    }

    /// A hint that leases of this name, or any, may be gone: ask now. One that is
    /// not renewed is asked for by a renewal, too: on the server its ttl starts
    /// anew, but here its deadline stays, at which it is given back.
    pub(super) fn check(&self, name: Option<&LockName>) {
        let now = self.runtime.now();
        let mut state = self.keeper.state();
        for entry in state.entries.values_mut() {
            let is_meant = name.is_none_or(|name| *name == entry.hold.held.name);
            if is_meant && !entry.hold.is_offered() {
                if entry.renew_at.is_none() {
                    entry.hold.check(true);
                }
                entry.renew_at = Some(entry.renew_at.map_or(now, |at| at.min(now)));
            }
        }
        self.keeper.hurry.notify_one();
    }

    /// The keeper's life; ends when the engine stops.
    pub(super) async fn run_keeper(self: Arc<Self>) {
        loop {
            let now = self.runtime.now();
            self.withdraw_offers(now);
            self.report_lost(now);
            if let Some((request, leases)) = self.due(now) {
                let engine = self.clone();
                let renew = async move { engine.renew_batch(request, leases).await };
                self.runtime.spawn(Box::pin(renew));
            }
            let alarm = self.set_alarm(now);
            let look_again = async {
                match alarm {
                    Some(at) => self.runtime.sleep(at.since(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = self.keeper.hurry.notified() => {}
                () = look_again => {}
            }
        }
    }

    fn report_lost(self: &Arc<Self>, now: Instant) {
        let is_lost = |entry: &Entry| entry.hold.lost_at() <= now;
        let lost: Vec<Arc<Hold>> = {
            let entries = &mut self.keeper.state().entries;
            entries.extract_if(.., |_, entry| is_lost(entry)).map(|(_, entry)| entry.hold).collect()
        };
        for hold in lost {
            self.lose(&hold, hold.loss_by_time());
            self.release_at_deadline(hold);
        }
    }

    /// A worker that hangs does not keep the lock for ever, nor for another ttl;
    /// and what could not be renewed may live on with others of its session.
    fn release_at_deadline(self: &Arc<Self>, hold: Arc<Hold>) {
        let engine = self.clone();
        self.runtime.spawn(Box::pin(async move {
            engine.runtime.sleep(hold.deadline().since(engine.runtime.now())).await;
            engine.release_in_background(hold);
        }));
    }

    /// Somebody has come for a lease that was offered.
    pub(super) fn taken(&self, hold: &Hold, renew_at: Option<Instant>) {
        let mut state = self.keeper.state();
        let alarm = state.alarm;
        let Some(entry) = state.entries.get_mut(&hold.held.owner) else { return };
        entry.renew_at = renew_at;
        if alarm.is_none_or(|alarm| entry.next_event() < alarm) {
            self.keeper.hurry.notify_one();
        }
    }

    /// Give back what was offered and nobody came for: a waiter that is not
    /// polled does not keep the lock.
    fn withdraw_offers(self: &Arc<Self>, now: Instant) {
        let is_late = |entry: &Entry| {
            entry.renew_at.is_some_and(|at| at <= now) && entry.hold.withdraw_offer()
        };
        let late: Vec<Arc<Hold>> = {
            let entries = &self.keeper.state().entries;
            entries.values().filter(|entry| is_late(entry)).map(|e| e.hold.clone()).collect()
        };
        late.into_iter().for_each(|hold| self.release_in_background(hold));
    }

    /// What to renew now: the due leases and those that are due soon.
    fn due(&self, now: Instant) -> Option<(Duration, Vec<Held>)> {
        let mut state = self.keeper.state();
        let due = |entry: &Entry, ahead| {
            entry.renew_at.is_some_and(|at| at <= now + ahead) && !entry.hold.is_offered()
        };
        if !state.entries.values().any(|entry| due(entry, Duration::ZERO)) {
            return None;
        }
        let mut longest = Duration::ZERO;
        let mut leases = Vec::new();
        for entry in state.entries.values_mut() {
            let ttl = entry.hold.held.ttl;
            if due(entry, ttl / 6) {
                // Without an answer by then it is asked again.
                let left = entry.hold.lost_at().since(now);
                entry.renew_at = Some(now + (ttl / 6).min(left / 3).max(AGAIN));
                longest = longest.max(ttl);
                leases.push(entry.hold.held.clone());
            }
        }
        Some((Self::request_limit(longest), leases))
    }

    fn set_alarm(&self, now: Instant) -> Option<Instant> {
        let mut state = self.keeper.state();
        let heartbeat = std::mem::take(&mut state.busy) || !state.entries.is_empty();
        let events = state.entries.values().map(Entry::next_event);
        state.alarm = events.chain(heartbeat.then_some(now + HEARTBEAT)).min();
        state.alarm
    }

    async fn renew_batch(&self, limit: Duration, mut leases: Vec<Held>) {
        // Some may have been released since, while the process was stopped.
        leases.retain(|held| self.keeper.state().entries.contains_key(&held.owner));
        if leases.is_empty() {
            return;
        }
        let sent = self.runtime.now();
        let answers = self.request(limit, self.backend.renew(&leases)).await;
        let (answers, error) = match answers {
            Ok(answers) => (answers, Error::unavailable(TOO_FEW)),
            Err(error) => (Vec::new(), error),
        };
        let error = Arc::new(error);
        for (at, held) in leases.iter().enumerate() {
            match answers.get(at).copied() {
                Some(Renewal::Unknown) | None => self.retry_renewal(held.owner, &error),
                Some(answer) => self.apply(held.owner, sent, answer),
            }
        }
        self.keeper.hurry.notify_one();
    }

    /// What an answer to a renewal sent at `sent` means for the lease.
    fn apply(&self, owner: Owner, sent: Instant, answer: Renewal) {
        let now = self.runtime.now();
        let mut state = self.keeper.state();
        // Released or lost in the meantime: nothing is renewed afterwards.
        let Some(entry) = state.entries.get_mut(&owner) else { return };
        let hold = entry.hold.clone();
        let loss = match answer {
            Renewal::Kept if now < hold.deadline() => {
                if hold.is_checked() {
                    hold.check(false);
                    entry.renew_at = None;
                } else {
                    hold.extend(sent);
                    entry.renew_at = next_renewal(&hold, sent);
                }
                entry.failures = 0;
                return;
            }
            Renewal::Kept => hold.loss_by_time(),
            Renewal::Gone => Loss::Gone,
            Renewal::Unknown => return,
        };
        state.entries.remove(&owner);
        drop(state);
        self.lose(&hold, loss);
    }

    fn retry_renewal(&self, owner: Owner, error: &Arc<Error>) {
        let now = self.runtime.now();
        let mut state = self.keeper.state();
        let Some(entry) = state.entries.get_mut(&owner) else { return };
        let at_most = entry.hold.held.ttl / 10;
        let pause = match entry.failures {
            0 if entry.hold.is_checked() => Duration::ZERO,
            0 => {
                self.tell(&entry.hold, || What::RenewalFailed(error.clone()));
                Duration::ZERO
            }
            failures => {
                self.jitter((Duration::from_millis(10) * (1 << failures.min(10))).min(at_most))
            }
        };
        entry.failures += 1;
        entry.renew_at = entry.renew_at.map(|_| now + pause);
    }

    /// Renew one lease by hand, now.
    pub(crate) async fn renew(&self, hold: &Hold) -> Result<(), Error> {
        self.check_open()?;
        if hold.is_over() {
            return Err(self.over(hold));
        }
        let sent = self.runtime.now();
        let limit = Self::request_limit(hold.held.ttl);
        let held = std::slice::from_ref(&hold.held);
        let about = |e: Error| {
            let e = e.about(&hold.held.name, self.backend.describe());
            // Renewed or not, it lasts until its deadline.
            if hold.is_valid(self.runtime.now()) { e.with_outcome(Outcome::Held) } else { e }
        };
        let answers = self.request(limit, self.backend.renew(held)).await.map_err(about)?;
        let answer = answers.first().copied().unwrap_or(Renewal::Gone);
        if answer == Renewal::Unknown {
            let error = Error::unavailable(TOO_FEW).with_outcome(Outcome::Unknown);
            return Err(about(error));
        }
        hold.check(false);
        self.apply(hold.held.owner, sent, answer);
        if hold.is_over() { Err(self.over(hold)) } else { Ok(()) }
    }

    pub(super) fn lose(&self, hold: &Hold, loss: Loss) {
        hold.end(End::Lost(loss), |is_first| {
            // Whoever hears of it finds its place in this client empty.
            self.lines.vacate(&hold.held.name, hold.held.owner, 0);
            self.tell_lost(hold, loss, is_first);
        });
    }

    /// The client is closed, and its lines with it.
    pub(super) fn lose_by_close(&self, hold: &Hold) {
        hold.end(End::Lost(Loss::Closed), |is_first| self.tell_lost(hold, Loss::Closed, is_first));
    }

    fn tell_lost(&self, hold: &Hold, loss: Loss, is_first: bool) {
        if is_first {
            self.tell(hold, || What::Lost(loss));
        }
    }
}

/// At a third of the ttl, a little earlier by chance, so that clients that
/// started together do not ask together for ever.
fn next_renewal(hold: &Hold, sent: Instant) -> Option<Instant> {
    let third = hold.held.ttl / 3;
    hold.held.renewed.then(|| sent + third - part(hold.held.owner.bits(), third / 10))
}

/// One that starts shorter than its ttl is soon renewed for the whole of it.
pub(super) fn first_renewal(hold: &Hold, start: &Start) -> Option<Instant> {
    match start.is_short {
        true => Some(start.now + EXTEND),
        false => next_renewal(hold, start.since),
    }
}
