//! Who waits in this client, name by name, first come first served.
//!
//! Only the head of a line talks to the backend, and only while nobody in this
//! client holds the lock for itself alone: whoever does hands it to the head when it
//! is done. Those who share it are not in the way: a place in the backend's line
//! keeps later ones, of any client, from passing whoever waits for their end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Hold;
use super::pauses::RECHECK;
use super::seat::{Busy, Seat};
use super::turn::Turn;
use super::word::Word;
use crate::backend::{Claim, Grant, Mode};
use crate::name::{ByName, Hashing, LockName, Owner, take};
use crate::runtime::Runtime;
use crate::time::Instant;

/// How often in a row a lock is handed on inside this client while others
/// wait at the server.
const MAX_STREAK: u32 = 8;
/// So many times in a second a client asks again at most, for all that it waits
/// for: more would crowd out its renewals.
const RECHECKS: u32 = 1000;

pub(super) struct Lines {
    clock: Arc<dyn Runtime>,
    state: Mutex<State>,
    /// Rung when there is a head that may keep others waiting.
    pub(super) watch: Notify,
}

#[derive(Default)]
struct State {
    lines: ByName<Line>,
    /// How many have a head that asks the backend.
    asking: usize,
    /// Those whose head may keep others waiting, by when it has its turn.
    turns: BTreeSet<(Instant, LockName)>,
    /// Somebody looks after them.
    is_watched: bool,
    tickets: u64,
}

/// Where a lease comes from.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// The backend granted it to who waits for that answer, and sees it without being woken.
    Asked,
    /// The backend granted it unasked.
    Server,
    /// The holder in this client handed it over, and so many wait at the server.
    Holder { owner: Owner, others: usize },
}

#[derive(Default)]
struct Line {
    word: Arc<Word>,
    /// Who holds it alone.
    holder: Option<Owner>,
    /// By ticket, which is the order in which they came.
    seats: BTreeMap<u64, Arc<Seat>>,
    /// How often the lock was handed on since it was last taken at the server.
    streak: u32,
    /// How many waited at the server when it last told.
    others: usize,
    /// Of the head, while it is to ask the backend.
    turn: Option<Turn>,
    /// Under which time it is found.
    noted: Option<Instant>,
}

impl Lines {
    pub(super) fn by(clock: Arc<dyn Runtime>) -> Self {
        let lines = ByName::with_hasher(Hashing(clock.random() as u64));
        let state = Mutex::new(State { lines, ..State::default() });
        Self { clock, state, watch: Notify::new() }
    }

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
        seat.set_ticket(ticket);
        state.lines.entry(name.clone()).or_default();
        self.change(&mut state, name, |line, _| {
            line.seats.insert(ticket, seat.clone());
            line.word.clone()
        })
    }

    /// Whether anybody waits for the backend.
    pub(super) fn are_asking(&self) -> bool {
        lock(&self.state).asking > 0
    }

    /// Who in this client holds the lock alone.
    pub(super) fn holder(&self, name: &LockName) -> Option<Owner> {
        lock(&self.state).lines.get(name)?.holder
    }

    /// Who waits in this client and not at the backend, first come first.
    pub(super) fn unseen(&self, name: &LockName) -> Vec<Arc<str>> {
        let state = lock(&self.state);
        let seats = state.lines.get(name).into_iter().flat_map(|line| line.seats.values());
        seats.filter(|seat| !seat.is_sent()).map(|seat| seat.plan.label.clone()).collect()
    }

    /// Whether the seat is the one to ask the backend.
    pub(super) fn is_turn_of(&self, seat: &Arc<Seat>) -> bool {
        let state = lock(&self.state);
        let line = state.lines.get(&seat.plan.name);
        line.is_some_and(|line| line.holder.is_none() && line.is_head(seat))
    }

    /// The claim of the head, for sending; it has an answer `by` then. `None` if it is
    /// not its turn any more.
    pub(super) fn send(&self, seat: &Arc<Seat>, recheck: Duration, by: Instant) -> Option<Claim> {
        self.change(&mut lock(&self.state), &seat.plan.name, |line, _| {
            let turn = line.turn.as_mut().filter(|turn| turn.is_of(seat))?;
            turn.ask(by);
            Some(seat.send(recheck))
        })?
    }

    /// The head has its answer, and asks again after this long, or when rung.
    pub(super) fn pause(&self, seat: &Arc<Seat>, pause: Duration) {
        self.change(&mut lock(&self.state), &seat.plan.name, |line, now| {
            if let Some(turn) = line.turn.as_mut().filter(|turn| turn.is_of(seat)) {
                turn.pause(now + pause);
            }
        });
    }

    /// Let others go before heads that have not asked when it was time, nor by any of
    /// the last looks: they are not polled. Answers what they have asked
    /// before, to be withdrawn; `None` if there is nobody to look after.
    pub(super) fn pass_over(&self, new_owner: impl Fn() -> Owner) -> Option<Vec<Claim>> {
        let (now, mut state) = (self.clock.now(), lock(&self.state));
        let late = state.turns.iter().take_while(|(due, _)| *due <= now);
        let late: Vec<LockName> = late.map(|(_, name)| name.clone()).collect();
        let mut claims = Vec::new();
        for name in late {
            state.tickets += 1;
            let ticket = state.tickets;
            let passed = self.change(&mut state, &name, |line, _| {
                let is_alone = line.seats.len() == 1;
                let is_over = line.turn.as_mut()?.is_over(is_alone);
                is_over.then(|| line.pass_over(ticket))?
            });
            claims.extend(passed.flatten().and_then(|seat| seat.give_up_claim(new_owner())));
        }
        state.is_watched = !state.turns.is_empty();
        state.is_watched.then_some(claims)
    }

    /// The head of the line, if it is the one that the server handed the lock to,
    /// and what it was answered last. If that is yet to come, it is left the grant.
    pub(super) fn waiting(&self, grant: &Grant) -> Option<(Arc<Seat>, Busy)> {
        let state = lock(&self.state);
        let line = state.lines.get(&grant.name).filter(|line| line.holder.is_none())?;
        let seat = line.head().filter(|seat| seat.owner() == grant.owner)?;
        Some((seat.clone(), seat.busy_before(grant)?))
    }

    /// Leave the line, wherever the seat stands in it. Only who stood right
    /// behind the head has anything to do then.
    pub(super) fn leave(&self, seat: &Arc<Seat>) {
        self.change(&mut lock(&self.state), &seat.plan.name, |line, now| {
            let was_head = line.is_head(seat);
            line.seats.remove(&seat.ticket());
            if was_head {
                line.ring(now);
            }
        });
    }

    /// Whom `owner`, about to release, may hand the lock to, and their claim,
    /// which counts as sent from here on.
    pub(super) fn successor(&self, name: &LockName, owner: Owner) -> Option<(Arc<Seat>, Claim)> {
        let state = lock(&self.state);
        let line = state.lines.get(name).filter(|line| line.holder == Some(owner))?;
        let fair = line.others == 0 || line.streak < MAX_STREAK;
        // One of another kind asks the backend, whose line is of the holder's kind.
        let goes_with = |seat: &&Arc<Seat>| Mode::Exclusive.goes_with(seat.plan.mode);
        let seat = line.head().filter(|_| fair).filter(goes_with)?;
        Some((seat.clone(), seat.send(state.recheck())))
    }

    /// Give the lease to the head of the line, who leaves it as the holder. No
    /// when it has left before, or has been given one; else `keep` decides,
    /// before the waiter can see the lease, and so before it can release it.
    pub(super) fn serve(
        &self,
        from: Source,
        seat: &Arc<Seat>,
        hold: &Arc<Hold>,
        keep: impl FnOnce() -> bool,
    ) -> bool {
        let served = self.change(&mut lock(&self.state), &seat.plan.name, |line, now| {
            let before = match from {
                Source::Asked | Source::Server => None,
                Source::Holder { owner, .. } => Some(owner),
            };
            let awaited = line.is_head(seat) && seat.owner() == hold.held.owner;
            if line.holder != before || !awaited || !keep() {
                return false;
            }
            line.seats.pop_first();
            line.hold(hold, now);
            match from {
                Source::Asked | Source::Server => line.streak = 0,
                Source::Holder { others, .. } => {
                    line.streak += 1;
                    line.others = others;
                }
            }
            true
        });
        if served == Some(true) {
            seat.give(hold.clone());
            if !matches!(from, Source::Asked) {
                seat.wake();
            }
        }
        served == Some(true)
    }

    /// `owner` does not hold the lock any more: its head may ask the backend.
    pub(super) fn vacate(&self, name: &LockName, owner: Owner, others: usize) {
        self.change(&mut lock(&self.state), name, |line, now| {
            if line.holder == Some(owner) {
                line.holder = None;
                line.others = others;
                line.ring(now);
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
        self.change(&mut lock(&self.state), name, Line::ring);
    }

    /// Let heads look again, as many as may ask at once: the others do when it
    /// is time for them.
    pub(super) fn ring_all(&self) {
        let mut state = lock(&self.state);
        let asking = state.lines.iter().filter(|(_, line)| line.asks());
        let asking = asking.take(RECHECKS as usize).map(|(name, _)| name.clone());
        for name in asking.collect::<Vec<_>>() {
            self.change(&mut state, &name, Line::ring);
        }
    }

    /// Change a line that is there, which goes when nobody is left in it.
    fn change<T>(
        &self,
        state: &mut State,
        name: &LockName,
        change: impl FnOnce(&mut Line, Instant) -> T,
    ) -> Option<T> {
        let line = state.lines.get_mut(name)?;
        let now = self.clock.now();
        let asked = line.asks();
        let changed = change(line, now);
        line.begin_turn(now);
        state.asking = state.asking + usize::from(line.asks()) - usize::from(asked);
        let (noted, due) = (line.noted, line.is_waited_for());
        line.noted = due;
        if line.holder.is_none() && line.seats.is_empty() {
            take(&mut state.lines, name);
        }
        if noted != due {
            state.turns.extend(due.map(|at| (at, name.clone())));
            if let Some(at) = noted {
                state.turns.remove(&(at, name.clone()));
            }
            if !state.turns.is_empty() && !std::mem::replace(&mut state.is_watched, true) {
                self.watch.notify_one();
            }
        }
        Some(changed)
    }
}

impl State {
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

    /// The head has left as a holder. Who shares keeps nobody of this client from asking.
    fn hold(&mut self, hold: &Hold, now: Instant) {
        if hold.held.mode.is_shared() {
            self.holder = None;
            self.word.answered();
            self.begin_turn(now);
            self.ring(now);
        } else {
            self.holder = Some(hold.held.owner);
            self.word.busy();
        }
    }

    /// Whoever has come to the head has its turn now.
    fn begin_turn(&mut self, now: Instant) {
        let head = self.head().filter(|_| self.asks());
        let is_new = |head: &&Arc<Seat>| !self.turn.as_ref().is_some_and(|turn| turn.is_of(head));
        match head {
            None => self.turn = None,
            Some(head) if is_new(&head) => self.turn = Some(Turn::begin(head, now)),
            Some(_) => {}
        }
    }

    /// When the head has its turn, if it keeps anybody waiting who is behind it, or may
    /// do so at the backend.
    fn is_waited_for(&self) -> Option<Instant> {
        let keeps = self.seats.len() > 1 || self.head().is_some_and(|head| head.is_sent());
        self.turn.as_ref().filter(|_| keeps).map(|turn| turn.due)
    }

    /// Let the head go to the end of the line; answers who that was.
    fn pass_over(&mut self, ticket: u64) -> Option<Arc<Seat>> {
        let (_, seat) = self.seats.pop_first()?;
        seat.set_ticket(ticket);
        self.seats.insert(ticket, seat.clone());
        self.turn = None;
        if let Some(head) = self.head() {
            head.bell.notify_one();
        }
        Some(seat)
    }

    fn doubt(&self) {
        if let Some(head) = self.head() {
            head.doubt();
        }
    }

    fn ring(&mut self, now: Instant) {
        if let Some(head) = self.head().filter(|_| self.holder.is_none()) {
            head.bell.notify_one();
            if let Some(turn) = &mut self.turn {
                turn.hurry(now);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
