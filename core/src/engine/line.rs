//! Who waits in this client, name by name, first come first served.
//!
//! Only the head of a line talks to the backend, and only while nobody in this
//! client holds the lock: whoever does hands it to the head when it is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::word::Word;
use super::{Hold, Plan};
use crate::backend::{Claim, Grant};
use crate::name::{LockName, Owner};
use crate::time::Instant;

/// How often in a row a lock is handed on inside this client while others
/// wait at the server.
const MAX_STREAK: u32 = 8;

#[derive(Default)]
pub(super) struct Lines {
    lines: Mutex<BTreeMap<LockName, Line>>,
}

/// Where a lease comes from.
#[derive(Clone, Copy)]
pub(super) enum From {
    /// The backend granted it.
    Server,
    /// The holder in this client handed it over, and so many wait at the server.
    Holder { owner: Owner, others: usize },
}

#[derive(Default)]
struct Line {
    word: Arc<Word>,
    holder: Option<Owner>,
    seats: VecDeque<Arc<Seat>>,
    /// How often the lock was handed on since it was last taken at the server.
    streak: u32,
    /// How many waited at the server when it last told.
    others: usize,
}

/// A waiter's place in its line.
pub(super) struct Seat {
    pub(super) plan: Plan,
    pub(super) since: Instant,
    /// Rung when it is worth looking again.
    pub(super) bell: Notify,
    /// Rung when a lease has come that nobody asked for just now.
    served: Notify,
    state: Mutex<SeatState>,
}

struct SeatState {
    claim: Claim,
    /// Whether the backend may know the claim.
    sent: bool,
    /// What the backend last answered, while that was busy.
    place: Option<Place>,
    /// A grant that came before the answer that tells the place.
    early: Option<Grant>,
    granted: Option<Arc<Hold>>,
}

/// A place in the server's line.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// When the claim was sent that it was answered to.
    pub(super) asked: Instant,
    /// The last fence of the lock at that time.
    pub(super) fence: u64,
}

impl Seat {
    pub(super) fn new(plan: Plan, claim: Claim, since: Instant) -> Arc<Self> {
        let state = SeatState { claim, sent: false, place: None, early: None, granted: None };
        let (bell, served) = (Notify::new(), Notify::new());
        Arc::new(Self { plan, since, bell, served, state: Mutex::new(state) })
    }

    /// The claim, for sending.
    pub(super) fn send(&self) -> Claim {
        let mut state = self.state();
        state.sent = true;
        state.claim.clone()
    }

    /// Go on as another owner; answers the claim to withdraw.
    pub(super) fn renew_owner(&self, owner: Owner) -> Claim {
        let mut state = self.state();
        state.sent = false;
        (state.place, state.early) = (None, None);
        let old = state.claim.clone();
        state.claim.owner = owner;
        old
    }

    /// The claim that the backend may know and that nobody will use.
    pub(super) fn take_sent(&self) -> Option<Claim> {
        let mut state = self.state();
        std::mem::take(&mut state.sent).then(|| state.claim.clone())
    }

    /// The lease it was given.
    pub(super) fn take_granted(&self) -> Option<Arc<Hold>> {
        self.state().granted.take()
    }

    /// Whether a lease waits to be taken.
    pub(super) fn is_served(&self) -> bool {
        self.state().granted.is_some()
    }

    /// Ready when it has been given a lease.
    pub(super) async fn served(&self) {
        self.served.notified().await;
    }

    /// Remember what the backend answered; answers a grant that came before.
    pub(super) fn set_place(&self, place: Place) -> Option<Grant> {
        let mut state = self.state();
        state.place = Some(place);
        state.early.take()
    }

    fn owner(&self) -> Owner {
        self.state().claim.owner
    }

    fn state(&self) -> MutexGuard<'_, SeatState> {
        lock(&self.state)
    }
}

impl Lines {
    /// Take the last place; answers what is heard there. One that only tries
    /// takes none when the lock is held in this client.
    pub(super) fn join(&self, seat: &Arc<Seat>, only_try: bool) -> Option<Arc<Word>> {
        let mut lines = lock(&self.lines);
        let line = lines.entry(seat.plan.name.clone()).or_default();
        if only_try && line.holder.is_some() {
            return None;
        }
        line.seats.push_back(seat.clone());
        Some(line.word.clone())
    }

    /// Who in this client holds the lock.
    pub(super) fn holder(&self, name: &LockName) -> Option<Owner> {
        lock(&self.lines).get(name)?.holder
    }

    /// Whether the seat is the one to ask the backend.
    pub(super) fn is_turn_of(&self, seat: &Arc<Seat>) -> bool {
        let lines = lock(&self.lines);
        let line = lines.get(&seat.plan.name);
        line.is_some_and(|line| line.holder.is_none() && line.is_head(seat))
    }

    /// The head of the line, if it is the one that the server handed the lock to,
    /// and its place in the server's line. If it does not know that yet, it is
    /// left the grant.
    pub(super) fn waiting(&self, grant: &Grant) -> Option<(Arc<Seat>, Place)> {
        let lines = lock(&self.lines);
        let line = lines.get(&grant.name).filter(|line| line.holder.is_none())?;
        let seat = line.seats.front().filter(|seat| seat.owner() == grant.owner)?;
        let mut state = seat.state();
        match state.place {
            Some(place) => Some((seat.clone(), place)),
            None => {
                state.early = Some(grant.clone());
                None
            }
        }
    }

    /// Leave the line, wherever the seat stands in it.
    pub(super) fn leave(&self, seat: &Arc<Seat>) {
        self.change(&seat.plan.name, |line| {
            line.seats.retain(|other| !Arc::ptr_eq(other, seat));
        });
    }

    /// Whom `owner`, about to release, may hand the lock to, and their claim,
    /// which counts as sent from here on.
    pub(super) fn successor(&self, name: &LockName, owner: Owner) -> Option<(Arc<Seat>, Claim)> {
        let lines = lock(&self.lines);
        let line = lines.get(name).filter(|line| line.holder == Some(owner))?;
        let fair = line.others == 0 || line.streak < MAX_STREAK;
        let seat = line.seats.front().filter(|_| fair)?;
        Some((seat.clone(), seat.send()))
    }

    /// Give the lease to the head of the line, who leaves it as the holder. No
    /// when it has left before, or has been given one; else `keep` decides,
    /// before the waiter can see the lease, and so before it can release it.
    pub(super) fn serve(
        &self,
        from: From,
        seat: &Arc<Seat>,
        hold: &Arc<Hold>,
        keep: impl FnOnce() -> bool,
    ) -> bool {
        let mut lines = lock(&self.lines);
        let Some(line) = lines.get_mut(&seat.plan.name) else { return false };
        let before = match from {
            From::Server => None,
            From::Holder { owner, .. } => Some(owner),
        };
        let awaited = line.is_head(seat) && seat.owner() == hold.held.owner;
        if line.holder != before || !awaited || !keep() {
            return false;
        }
        line.seats.pop_front();
        line.holder = Some(hold.held.owner);
        line.word.busy();
        match from {
            From::Server => line.streak = 0,
            From::Holder { others, .. } => {
                line.streak += 1;
                line.others = others;
            }
        }
        let mut state = seat.state();
        state.sent = false;
        state.granted = Some(hold.clone());
        drop(state);
        seat.served.notify_one();
        seat.bell.notify_one();
        true
    }

    /// `owner` does not hold the lock any more: its head may ask the backend.
    pub(super) fn vacate(&self, name: &LockName, owner: Owner, others: usize) {
        self.change(name, |line| {
            if line.holder == Some(owner) {
                line.holder = None;
                line.others = others;
            }
        });
    }

    /// The claims that the backend may know and that nobody will use any more,
    /// of everybody who waits.
    pub(super) fn take_sent(&self) -> Vec<Claim> {
        let lines = lock(&self.lines);
        lines.values().flat_map(|line| &line.seats).filter_map(|seat| seat.take_sent()).collect()
    }

    /// Let the head of the line look again.
    pub(super) fn ring(&self, name: &LockName) {
        self.change(name, |_| ());
    }

    /// Let every head look again.
    pub(super) fn ring_all(&self) {
        lock(&self.lines).values().for_each(Line::ring);
    }

    fn change(&self, name: &LockName, change: impl FnOnce(&mut Line)) {
        let mut lines = lock(&self.lines);
        let Some(line) = lines.get_mut(name) else { return };
        change(line);
        line.ring();
        if line.holder.is_none() && line.seats.is_empty() {
            lines.remove(name);
        }
    }
}

impl Line {
    fn is_head(&self, seat: &Arc<Seat>) -> bool {
        self.seats.front().is_some_and(|head| Arc::ptr_eq(head, seat))
    }

    fn ring(&self) {
        if let Some(head) = self.seats.front().filter(|_| self.holder.is_none()) {
            head.bell.notify_one();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
