//! Who waits in this client, name by name, first come first served.
//!
//! Only the head of a line talks to the backend, and only while nobody in this
//! client holds the lock: whoever does hands it to the head when it is done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::pauses::{RECHECK, place_for};
use super::word::Word;
use super::{Hold, Plan};
use crate::backend::{Claim, Grant};
use crate::name::{LockName, Owner};
use crate::time::Instant;

/// How often in a row a lock is handed on inside this client while others
/// wait at the server.
const MAX_STREAK: u32 = 8;
/// So many times in a second a client asks again at most, for all that it waits
/// for: more would crowd out its renewals.
const RECHECKS: u32 = 1000;

#[derive(Default)]
pub(super) struct Lines {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: BTreeMap<LockName, Line>,
    /// How many have a head that asks the backend.
    asking: usize,
    tickets: u64,
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
    /// By ticket, which is the order in which they came.
    seats: BTreeMap<u64, Arc<Seat>>,
    /// How often the lock was handed on since it was last taken at the server.
    streak: u32,
    /// How many waited at the server when it last told.
    others: usize,
}

/// A waiter's place in its line.
pub(super) struct Seat {
    pub(super) plan: Plan,
    pub(super) since: Instant,
    ticket: AtomicU64,
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
    /// Whether it might before it was sent the last time.
    sent_before: bool,
    /// What the backend last answered, while that was busy.
    place: Option<Place>,
    /// A grant that came before the answer that tells the place.
    early: Option<Grant>,
    granted: Option<Arc<Hold>>,
    /// There was a hint that a lease may be gone, after the claim was sent.
    is_doubted: bool,
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
        let state = SeatState {
            claim,
            sent: false,
            sent_before: false,
            place: None,
            early: None,
            granted: None,
            is_doubted: false,
        };
        let (ticket, bell, served) = (AtomicU64::new(0), Notify::new(), Notify::new());
        Arc::new(Self { plan, since, ticket, bell, served, state: Mutex::new(state) })
    }

    /// The claim, for sending. It is sent again `recheck` after its answer, and
    /// the place that it asks for lasts well beyond that.
    pub(super) fn send(&self, recheck: Duration) -> Claim {
        let mut state = self.state();
        (state.sent_before, state.sent) = (state.sent, true);
        state.is_doubted = false;
        if let Some(place) = &mut state.claim.place {
            *place = place_for(recheck);
        }
        state.claim.clone()
    }

    /// It has certainly not left this client.
    pub(super) fn was_not_sent(&self) {
        let mut state = self.state();
        state.sent = state.sent_before;
    }

    /// Go on as another owner; answers the claim to withdraw.
    pub(super) fn renew_owner(&self, owner: Owner) -> Claim {
        let mut state = self.state();
        (state.sent, state.sent_before) = (false, false);
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

    /// Whether what its last claim was granted may be gone by now.
    pub(super) fn is_doubted(&self) -> bool {
        self.state().is_doubted
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
    /// How long a waiter waits before it asks again: so that all of this client
    /// together do not ask too often.
    pub(super) fn recheck(&self) -> Duration {
        lock(&self.state).recheck()
    }

    /// Take the last place; answers what is heard there. One that only tries
    /// takes none when the lock is held in this client.
    pub(super) fn join(&self, seat: &Arc<Seat>, only_try: bool) -> Option<Arc<Word>> {
        let mut state = lock(&self.state);
        let name = &seat.plan.name;
        if only_try && state.lines.get(name).is_some_and(|line| line.holder.is_some()) {
            return None;
        }
        state.tickets += 1;
        let ticket = state.tickets;
        seat.ticket.store(ticket, Ordering::Relaxed);
        state.lines.entry(name.clone()).or_default();
        state.change(name, |line| {
            line.seats.insert(ticket, seat.clone());
            line.word.clone()
        })
    }

    /// Who in this client holds the lock.
    pub(super) fn holder(&self, name: &LockName) -> Option<Owner> {
        lock(&self.state).lines.get(name)?.holder
    }

    /// Who waits in this client and not at the backend, first come first.
    pub(super) fn unseen(&self, name: &LockName) -> Vec<Arc<str>> {
        let state = lock(&self.state);
        let seats = state.lines.get(name).into_iter().flat_map(|line| line.seats.values());
        seats.filter(|seat| !seat.state().sent).map(|seat| seat.plan.label.clone()).collect()
    }

    /// Whether the seat is the one to ask the backend.
    pub(super) fn is_turn_of(&self, seat: &Arc<Seat>) -> bool {
        let state = lock(&self.state);
        let line = state.lines.get(&seat.plan.name);
        line.is_some_and(|line| line.holder.is_none() && line.is_head(seat))
    }

    /// The head of the line, if it is the one that the server handed the lock to,
    /// and its place in the server's line. If it does not know that yet, it is
    /// left the grant.
    pub(super) fn waiting(&self, grant: &Grant) -> Option<(Arc<Seat>, Place)> {
        let state = lock(&self.state);
        let line = state.lines.get(&grant.name).filter(|line| line.holder.is_none())?;
        let seat = line.head().filter(|seat| seat.owner() == grant.owner)?;
        let mut seated = seat.state();
        match seated.place {
            Some(place) => Some((seat.clone(), place)),
            None => {
                seated.early = Some(grant.clone());
                None
            }
        }
    }

    /// Leave the line, wherever the seat stands in it. Only who stood right
    /// behind the head has anything to do then.
    pub(super) fn leave(&self, seat: &Arc<Seat>) {
        let ticket = seat.ticket.load(Ordering::Relaxed);
        lock(&self.state).change(&seat.plan.name, |line| {
            let was_head = line.is_head(seat);
            line.seats.remove(&ticket);
            if was_head {
                line.ring();
            }
        });
    }

    /// Whom `owner`, about to release, may hand the lock to, and their claim,
    /// which counts as sent from here on.
    pub(super) fn successor(&self, name: &LockName, owner: Owner) -> Option<(Arc<Seat>, Claim)> {
        let state = lock(&self.state);
        let line = state.lines.get(name).filter(|line| line.holder == Some(owner))?;
        let fair = line.others == 0 || line.streak < MAX_STREAK;
        let seat = line.head().filter(|_| fair)?;
        Some((seat.clone(), seat.send(state.recheck())))
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
        let mut state = lock(&self.state);
        let served = state.change(&seat.plan.name, |line| {
            let before = match from {
                From::Server => None,
                From::Holder { owner, .. } => Some(owner),
            };
            let awaited = line.is_head(seat) && seat.owner() == hold.held.owner;
            if line.holder != before || !awaited || !keep() {
                return false;
            }
            line.seats.pop_first();
            line.holder = Some(hold.held.owner);
            line.word.busy();
            match from {
                From::Server => line.streak = 0,
                From::Holder { others, .. } => {
                    line.streak += 1;
                    line.others = others;
                }
            }
            true
        });
        if served != Some(true) {
            return false;
        }
        let mut seated = seat.state();
        seated.sent = false;
        seated.granted = Some(hold.clone());
        drop(seated);
        seat.served.notify_one();
        seat.bell.notify_one();
        true
    }

    /// `owner` does not hold the lock any more: its head may ask the backend.
    pub(super) fn vacate(&self, name: &LockName, owner: Owner, others: usize) {
        lock(&self.state).change(name, |line| {
            if line.holder == Some(owner) {
                line.holder = None;
                line.others = others;
                line.ring();
            }
        });
    }

    /// The claims that the backend may know and that nobody will use any more,
    /// of everybody who waits.
    pub(super) fn take_sent(&self) -> Vec<Claim> {
        let state = lock(&self.state);
        let seats = state.lines.values().flat_map(|line| line.seats.values());
        seats.filter_map(|seat| seat.take_sent()).collect()
    }

    /// A hint that leases of this name, or any, may be gone: also one that was granted
    /// and whose answer is on its way, or not taken up yet.
    pub(super) fn doubt(&self, name: Option<&LockName>) {
        let state = lock(&self.state);
        match name {
            Some(name) => state.lines.get(name).into_iter().for_each(Line::doubt),
            None => state.lines.values().for_each(Line::doubt),
        }
    }

    /// Let the head of the line look again.
    pub(super) fn ring(&self, name: &LockName) {
        lock(&self.state).lines.get(name).inspect(|line| line.ring());
    }

    /// Let heads look again, as many as may ask at once: the others do when it
    /// is time for them.
    pub(super) fn ring_all(&self) {
        let state = lock(&self.state);
        let asking = state.lines.values().filter(|line| line.asks());
        asking.take(RECHECKS as usize).for_each(Line::ring);
    }
}

impl State {
    /// Change a line that is there, which goes when nobody is left in it.
    fn change<T>(&mut self, name: &LockName, change: impl FnOnce(&mut Line) -> T) -> Option<T> {
        let line = self.lines.get_mut(name)?;
        let asked = line.asks();
        let changed = change(line);
        self.asking = self.asking + usize::from(line.asks()) - usize::from(asked);
        if line.holder.is_none() && line.seats.is_empty() {
            self.lines.remove(name);
        }
        Some(changed)
    }

    fn recheck(&self) -> Duration {
        let asking = u32::try_from(self.asking).unwrap_or(u32::MAX);
        RECHECK.max(Duration::from_secs(1) / RECHECKS * asking)
    }
}

impl Line {
    fn head(&self) -> Option<&Arc<Seat>> {
        self.seats.first_key_value().map(|(_, seat)| seat)
    }

    fn is_head(&self, seat: &Arc<Seat>) -> bool {
        self.head().is_some_and(|head| Arc::ptr_eq(head, seat))
    }

    /// Whether its head asks the backend.
    fn asks(&self) -> bool {
        self.holder.is_none() && !self.seats.is_empty()
    }

    fn doubt(&self) {
        if let Some(head) = self.head() {
            head.state().is_doubted = true;
        }
    }

    fn ring(&self) {
        if let Some(head) = self.head().filter(|_| self.holder.is_none()) {
            head.bell.notify_one();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
