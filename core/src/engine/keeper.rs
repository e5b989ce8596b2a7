//! Renews the leases of a client, many in one request, and reports those that
//! are lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::by_hand::ByHand;
use super::hold::{End, Start};
use super::kept::{Entry, Kept};
use super::{Engine, Hold, Loss, part};
use crate::backend::{Held, Renewal};
use crate::error::{Error, Outcome};
use crate::event::What;
use crate::name::{LockName, Owner};
use crate::time::Instant;

/// So many leases are renewed in one request, each with a limit of its own: what
/// is answered in time counts, however long the others are on their way.
const BATCH: usize = 500;

/// Timers stop while the machine is suspended; while anything is held, the
/// keeper looks at the clock at least this often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How soon a lease that is short at first is renewed for its whole ttl. Who is
/// done with it by then saves the request.
const EXTEND: Duration = Duration::from_millis(20);

/// How soon a renewal without an answer is repeated at the earliest.
const AGAIN: Duration = Duration::from_millis(10);

pub(super) const TOO_FEW: &str = "it has no answer, or those of too few servers, or somebody keeps the lock from being \
     changed; the lease lasts until its deadline";

#[derive(Default)]
pub(super) struct Keeper {
    state: Mutex<State>,
    hurry: Notify,
}

/// A lease whose renewal is on its way.
struct Renewing {
    hold: Arc<Hold>,
    asked: Renewed,
    /// Until when the backend has it if the renewal is not carried out.
    before: Instant,
}

/// A renewal that was sent.
#[derive(Clone, Copy)]
pub(super) struct Renewed {
    pub(super) sent: Instant,
    /// By what ttl.
    pub(super) ttl: Duration,
    /// See [`Hold::renewing`].
    pub(super) number: u64,
    /// It is only asked whether it is held.
    pub(super) is_check: bool,
}

#[derive(Default)]
struct State {
    kept: Kept,
    /// When the keeper looks again by itself; `None`: not before it is told.
    alarm: Option<Instant>,
    /// Whether anything was held since the keeper last looked.
    busy: bool,
}

impl Keeper {
    pub(super) fn remove(&self, hold: &Hold) {
        self.state().kept.remove(hold.held.owner);
    }

    /// What is held of one name.
    pub(super) fn named(&self, name: &LockName) -> Vec<Arc<Hold>> {
        let state = self.state();
        let owners = state.kept.named(name);
        let entries = owners.iter().filter_map(|owner| state.kept.get(*owner));
        entries.filter(|entry| !entry.is_lost).map(|entry| entry.hold.clone()).collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Hold>> {
        self.state().kept.all()
    }

    /// A renewal is about to be sent that arrives by `until`. `None` if that is of no
    /// use: it may have been released since it was due, while the process was stopped.
    fn renewing(&self, owner: Owner, sent: Instant, until: Instant) -> Option<Renewing> {
        let state = self.state();
        let hold = &state.kept.get(owner).filter(|entry| !entry.is_lost)?.hold;
        let (before, ttl, is_check) = (hold.gone_at(), hold.ttl(), hold.is_checked());
        let number = hold.renewing(ttl, until);
        Some(Renewing {
            hold: hold.clone(),
            asked: Renewed { sent, ttl, number, is_check },
            before,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Renew it from `renew_at` on, and report it when it is lost. No when the
    /// client was closed meanwhile; then it is given back.
    pub(super) fn keep(self: &Arc<Self>, hold: &Arc<Hold>, renew_at: Option<Instant>) -> bool {
        self.keep_as(hold, renew_at, || What::Acquired)
    }

    /// The same, with what is told of it.
    pub(super) fn keep_as(
        self: &Arc<Self>,
        hold: &Arc<Hold>,
        renew_at: Option<Instant>,
        what: impl FnOnce() -> What,
    ) -> bool {
        let mut state = self.keeper.state();
        state.kept.insert(Entry::new(hold.clone(), renew_at));
        state.busy = true;
        self.tell(hold, what);
        // Usually it looks soon enough by itself, and is not worth waking.
        let lost_at = hold.lost_at();
        let event = renew_at.map_or(lost_at, |at| at.min(lost_at));
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
        let owners = name.map_or_else(|| state.kept.owners(), |name| state.kept.named(name));
        for owner in &owners {
            state.kept.change(*owner, |entry| {
                // Whoever takes up an offer asks then.
                entry.doubted_at = Some(now);
                if !entry.is_lost && !entry.hold.offer.is_open() {
                    if entry.renew_at.is_none() {
                        entry.hold.check(true);
                    }
                    entry.renew_at = Some(entry.renew_at.map_or(now, |at| at.min(now)));
                }
            });
        }
        if !owners.is_empty() {
            self.keeper.hurry.notify_one();
        }
    }

    /// The keeper's life; ends when the engine stops.
    pub(super) async fn run_keeper(self: Arc<Self>) {
        loop {
            let now = self.runtime.now();
            self.withdraw_offers(now);
            self.end_overdue(now);
            if let Some((request, leases)) = self.due(now) {
                let engine = self.clone();
                let renew = async move { engine.renew_batch(request, leases).await };
                self.runtime.spawn(Box::pin(renew));
                // What else is to be done does not wait for all of them. It may be
                // much later by then.
                tokio::task::yield_now().await;
                continue;
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

    /// Report who was not renewed in time, and give back at its deadline what is
    /// lost: a worker that hangs does not keep the lock for ever, nor for another
    /// ttl; and what could not be renewed may live on with others of its session.
    fn end_overdue(self: &Arc<Self>, now: Instant) {
        loop {
            let mut state = self.keeper.state();
            let Some(entry) = state.kept.ended(now) else { return };
            let (hold, is_lost) = (entry.hold.clone(), entry.is_lost);
            let owner = hold.held.owner;
            if is_lost {
                state.kept.remove(owner);
                drop(state);
                self.release_in_background(hold);
            } else {
                state.kept.change(owner, |entry| entry.is_lost = true);
                drop(state);
                self.lose(&hold, hold.loss_by_time());
            }
        }
    }

    /// Somebody has come for a lease that was offered.
    pub(super) fn taken(&self, hold: &Hold, renew_at: Option<Instant>) {
        let mut state = self.keeper.state();
        let mut renew_at = renew_at;
        let now = self.runtime.now();
        state.kept.change(hold.held.owner, |entry| {
            if entry.doubted_at.is_some() {
                hold.check(renew_at.is_none());
                renew_at = Some(now);
            }
            entry.renew_at = renew_at;
        });
        let alarm = state.alarm;
        if renew_at.is_some_and(|at| alarm.is_none_or(|alarm| at < alarm)) {
            self.keeper.hurry.notify_one();
        }
    }

    /// Give back what was offered and nobody came for: a waiter that is not
    /// polled does not keep the lock.
    fn withdraw_offers(self: &Arc<Self>, now: Instant) {
        let late: Vec<Arc<Hold>> = {
            let state = self.keeper.state();
            let overdue = state.kept.overdue(now).filter(|entry| entry.hold.offer.withdraw());
            overdue.map(|entry| entry.hold.clone()).collect()
        };
        late.into_iter().for_each(|hold| self.release_in_background(hold));
    }

    /// It is lost, and the server is told after its delay.
    pub(super) fn keep_lost(&self, hold: &Arc<Hold>) {
        let mut state = self.keeper.state();
        state.kept.insert(Entry::lost(hold.clone()));
        state.busy = true;
        self.keeper.hurry.notify_one();
    }

    /// It is about to be renewed by hand, by this ttl. If that is shorter than what is
    /// left, it ends sooner from here on, whatever the answer is.
    pub(super) fn begin_renewal<'a>(&self, hold: &'a Hold, ttl: Duration) -> ByHand<'a> {
        let limit = self.request_limit(ttl);
        let mut state = self.keeper.state();
        let (before, sent) = (hold.gone_at(), self.runtime.now());
        let number = hold.renewing(ttl, sent + limit);
        if !hold.held.renewed {
            state.kept.change(hold.held.owner, |_| hold.shorten(sent, ttl));
            self.keeper.hurry.notify_one();
        }
        let asked = Renewed { sent, ttl, number, is_check: false };
        ByHand { hold, asked, limit, before, is_answered: false }
    }

    /// What to renew now in one request: leases that are due, and some that are
    /// due soon.
    fn due(&self, now: Instant) -> Option<(Duration, Vec<Held>)> {
        let mut state = self.keeper.state();
        let mut longest = Duration::ZERO;
        let mut leases = Vec::new();
        for owner in state.kept.due(now, BATCH) {
            state.kept.change(owner, |entry| {
                if entry.hold.offer.is_open() {
                    return;
                }
                let ttl = entry.hold.ttl();
                // Without an answer by then it is asked again.
                let left = entry.hold.lost_at().since(now);
                entry.renew_at = Some(now + (ttl / 6).min(left / 3).max(AGAIN));
                longest = longest.max(ttl);
                leases.push(entry.hold.renewed_by(ttl));
            });
        }
        (!leases.is_empty()).then(|| (self.request_limit(longest), leases))
    }

    fn set_alarm(&self, now: Instant) -> Option<Instant> {
        let mut state = self.keeper.state();
        let heartbeat = std::mem::take(&mut state.busy) || !state.kept.is_empty();
        let heartbeat = heartbeat.then_some(now + HEARTBEAT);
        state.alarm = state.kept.next_event().into_iter().chain(heartbeat).min();
        state.alarm
    }

    async fn renew_batch(self: &Arc<Self>, limit: Duration, mut leases: Vec<Held>) {
        let sent = self.runtime.now();
        let until = sent + limit;
        let mut holds = Vec::with_capacity(leases.len());
        leases.retain_mut(|held| {
            let renewing = self.keeper.renewing(held.owner, sent, until);
            if let Some(Renewing { hold, asked, .. }) = &renewing {
                // It may have been renewed by another since.
                held.ttl = hold.with_delay(asked.ttl);
            }
            let is_of_use = renewing.is_some();
            holds.extend(renewing);
            is_of_use
        });
        if leases.is_empty() {
            return;
        }
        let answers = self.request(limit, self.backend().renew(&leases)).await;
        let (answers, error) = match answers {
            Ok(answers) => (answers, Error::unavailable(TOO_FEW)),
            Err(error) => (Vec::new(), error),
        };
        let is_unsent = answers.is_empty() && error.outcome() == Outcome::NotHeld;
        let error = Arc::new(error);
        for (at, Renewing { hold, asked, before }) in holds.iter().enumerate() {
            match answers.get(at).copied() {
                Some(Renewal::Unknown) | None => {
                    match is_unsent {
                        true => hold.not_renewed(asked.number, asked.ttl, until, *before),
                        false => hold.renewal_lost(asked.number),
                    }
                    self.retry_renewal(hold.held.owner, &error);
                }
                Some(answer) => self.apply(hold, *asked, answer),
            }
        }
        self.keeper.hurry.notify_one();
    }

    /// What the answer to a renewal means for the lease.
    pub(super) fn apply(self: &Arc<Self>, hold: &Arc<Hold>, asked: Renewed, answer: Renewal) {
        let (now, owner) = (self.runtime.now(), hold.held.owner);
        let Renewed { sent, is_check, .. } = asked;
        let mut state = self.keeper.state();
        // From here on another begins after this one.
        let buys = hold.renewal_answered(asked.number);
        // Released or lost in the meantime: nothing is renewed afterwards.
        if state.kept.get(owner).is_none_or(|entry| entry.is_lost) {
            return;
        }
        let loss = match answer {
            Renewal::Kept if now < hold.deadline() => {
                state.kept.change(owner, |entry| {
                    if !is_check {
                        hold.set_ttl(asked.ttl);
                        hold.extend(sent, buys);
                    }
                    entry.failures = 0;
                    if entry.doubted_at.is_some_and(|at| at > sent) {
                        // It was asked before the hint, and is asked again.
                        return;
                    }
                    hold.check(false);
                    entry.renew_at = if is_check { None } else { next_renewal(hold, sent) };
                });
                return;
            }
            Renewal::Kept => hold.loss_by_time(),
            Renewal::Gone => Loss::Gone,
            Renewal::Unknown => return,
        };
        state.kept.remove(owner);
        drop(state);
        self.lose(hold, loss);
        if answer == Renewal::Kept {
            // The backend has it for another ttl, and nobody uses it.
            self.release_in_background(hold.clone());
        }
    }

    fn retry_renewal(&self, owner: Owner, error: &Arc<Error>) {
        let now = self.runtime.now();
        let mut state = self.keeper.state();
        if state.kept.get(owner).is_none_or(|entry| entry.is_lost) {
            return;
        }
        state.kept.change(owner, |entry| {
            let hold = &entry.hold;
            hold.not_extended(error.clone());
            let at_most = (hold.ttl() / 10).min(hold.lost_at().since(now) / 4).max(AGAIN);
            let pause = match entry.failures {
                0 => {
                    if !hold.is_checked() {
                        self.tell(hold, || What::RenewalFailed(error.clone()));
                    }
                    Duration::ZERO
                }
                failures => self.jitter((AGAIN * (1 << failures.min(10))).min(at_most)),
            };
            entry.failures += 1;
            entry.renew_at = entry.renew_at.map(|_| now + pause);
        });
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
    let third = hold.ttl() / 3;
    hold.held.renewed.then(|| sent + third - part(hold.held.owner.bits(), third / 10))
}

/// One that starts shorter than its ttl is soon renewed for the whole of it.
pub(super) fn first_renewal(hold: &Hold, start: &Start) -> Option<Instant> {
    match start.is_short {
        true => Some(start.now + EXTEND),
        false => next_renewal(hold, start.since),
    }
}
