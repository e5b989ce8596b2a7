//! What a client knows of its owners: where they stand, and what is still to
//! be cleaned up after them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::cluster::{Change, SessionId};
use super::rest::Rest;
use super::sessions::Session;
use super::slots::{Slot, Slots};
use crate::backend::record::Retired;
use crate::backend::{Claim, Mode};
use crate::name::{LockName, Owner};
use crate::time::Instant;

/// An owner's key in the line of its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: LockName,
    /// The revision that created it.
    pub(super) created: u64,
    /// Of the lease, when it is one: who holds the lock alone has that as its fence.
    pub(super) fence: u64,
    /// Which of the permits it has.
    pub(super) permit: u32,
    pub(super) session: SessionId,
    /// Whether that session is for this lock alone.
    pub(super) is_alone: bool,
    /// How many stood before it when it came, besides the holder.
    pub(super) ahead: usize,
    /// The key that is watched, and for what: one that stands before this one or, if
    /// there is none, this one, if nobody will look at it for long.
    pub(super) watched: Option<(String, Change)>,
    /// What was watched has gone.
    pub(super) is_called: bool,
    /// Whether others waited when it took the lock.
    pub(super) is_wanted: bool,
}

#[derive(Default)]
pub(super) struct Places {
    state: Mutex<State>,
    /// Rung when something was answered.
    bell: Notify,
}

#[derive(Default)]
struct State {
    places: BTreeMap<Owner, Place>,
    /// Who watches which key.
    watchers: BTreeMap<String, BTreeSet<Owner>>,
    /// The keys that they have.
    slots: Slots,
    /// Released or withdrawn; what they ask now is refused.
    retired: Retired,
    /// Those of them whose leases others have.
    handed_on: Retired,
    /// Of those, what gave its lock back to rest and is not cleaned up after,
    resting: BTreeMap<Owner, Rest>,
    /// and what did so last. Their keys stay.
    rested: Retired,
    /// What was sent of theirs and has not been answered.
    requests: BTreeMap<Owner, Requests>,
    /// Retired owners whose key may still be there, and since when.
    owed: BTreeMap<Owner, (LockName, Instant)>,
    /// The same in the order of time.
    due: BTreeSet<(Instant, Owner)>,
}

#[derive(Default)]
struct Requests {
    under_way: u32,
    /// Some were given up without an answer.
    are_lost: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    CarriedOut,
    NotCarriedOut,
    /// It may be carried out late.
    Lost,
}

/// What is left of an owner that is retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// A key, perhaps.
    Key(Slot),
    /// A key, perhaps, or a request that may yet make it.
    Late(Slot),
}

/// The slot of who has none: there is no such key.
fn none(owner: Owner) -> Slot {
    Slot::of(Mode::Exclusive, owner)
}

impl State {
    /// Answers the key that nobody watches any more.
    fn remove(&mut self, owner: Owner) -> (Option<Place>, Option<String>) {
        let Some(place) = self.places.remove(&owner) else { return (None, None) };
        let key = place.watched.clone().map(|(key, _)| key).filter(|key| {
            let Some(owners) = self.watchers.get_mut(key) else { return false };
            owners.remove(&owner);
            owners.is_empty() && self.watchers.remove(key).is_some()
        });
        (Some(place), key)
    }

    fn send(&mut self, owner: Owner) {
        self.requests.entry(owner).or_default().under_way += 1;
        self.slots.add_maker(owner);
    }

    fn settle(&mut self, owner: Owner) {
        self.pay(owner);
        self.slots.give_back(owner);
    }

    fn owe(&mut self, owner: Owner, name: LockName, since: Instant) {
        self.due.insert((since, owner));
        self.owed.insert(owner, (name, since));
    }

    fn pay(&mut self, owner: Owner) -> Option<LockName> {
        let (name, since) = self.owed.remove(&owner)?;
        self.due.remove(&(since, owner));
        Some(name)
    }

    /// `None` while something is under way.
    fn left(&mut self, owner: Owner, is_deleted: bool) -> Option<Left> {
        let slot = self.slots.of(owner);
        match self.requests.get(&owner) {
            Some(requests) if requests.under_way > 0 => None,
            Some(_) => Some(Left::Late(slot.unwrap_or(none(owner)))),
            None => match slot.filter(|_| self.slots.makers(owner) > 0 && !is_deleted) {
                Some(slot) => {
                    self.send(owner);
                    Some(Left::Key(slot))
                }
                None => {
                    self.settle(owner);
                    Some(Left::Nothing)
                }
            },
        }
    }
}

impl Place {
    pub(super) fn new(claim: &Claim, created: u64, session: &Session) -> Self {
        let name = claim.name.clone();
        Self {
            name,
            created,
            fence: created,
            permit: 0,
            session: session.id,
            is_alone: session.is_alone,
            ahead: 0,
            watched: None,
            is_called: false,
            is_wanted: false,
        }
    }
}

impl Places {
    pub(super) fn get(&self, owner: Owner) -> Option<Place> {
        self.state().places.get(&owner).cloned()
    }

    /// Answers the key that nobody watches any more, and the one that somebody
    /// watches from here on; an owner that is retired has no place any more.
    pub(super) fn set(
        &self,
        owner: Owner,
        place: Place,
    ) -> (Option<String>, Option<(String, Change)>) {
        let mut state = self.state();
        if state.retired.contains(owner) {
            return (None, None);
        }
        let watched = place.watched.clone();
        let is_same = |old: &Place| old.watched == watched;
        if state.places.get(&owner).is_some_and(is_same) {
            state.places.insert(owner, place);
            return (None, None);
        }
        let (_, unwatched) = state.remove(owner);
        state.places.insert(owner, place);
        if let Some((key, _)) = &watched {
            state.watchers.entry(key.clone()).or_default().insert(owner);
        }
        (unwatched, watched)
    }

    /// Change it, if the owner has one.
    pub(super) fn change(&self, owner: Owner, change: impl FnOnce(&mut Place)) {
        if let Some(place) = self.state().places.get_mut(&owner) {
            change(place);
        }
    }

    /// Answers the key that nobody watches any more, too.
    pub(super) fn remove(&self, owner: Owner) -> (Option<Place>, Option<String>) {
        self.state().remove(owner)
    }

    /// Forget all that live with a session that is over; answers what nobody
    /// watches any more.
    pub(super) fn remove_session(&self, session: SessionId) -> Vec<String> {
        let mut state = self.state();
        let its = |(owner, place): (&Owner, &Place)| (place.session == session).then_some(*owner);
        let owners: Vec<Owner> = state.places.iter().filter_map(its).collect();
        owners.into_iter().filter_map(|owner| state.remove(owner).1).collect()
    }

    /// The lock of whoever watches a key, which has gone and is not watched any more.
    pub(super) fn call(&self, key: &str) -> Option<LockName> {
        let mut state = self.state();
        let owners = state.watchers.remove(key)?;
        let mut name = None;
        for owner in owners {
            if let Some(place) = state.places.get_mut(&owner) {
                (place.watched, place.is_called) = (None, true);
                name = Some(place.name.clone());
            }
        }
        name
    }

    /// Nothing is watched any more; answers those who hold a lock in a session of
    /// their own.
    pub(super) fn stop_watching_all(&self) -> Vec<(Owner, Place)> {
        let mut state = self.state();
        state.watchers.clear();
        state.places.values_mut().for_each(|place| place.watched = None);
        let alone = state.places.iter().filter(|(_, place)| place.is_alone);
        alone.map(|(owner, place)| (*owner, place.clone())).collect()
    }

    pub(super) fn is_retired(&self, owner: Owner) -> bool {
        self.state().retired.contains(owner)
    }

    /// The slot of an owner that asks; one that is retired takes none any more.
    pub(super) fn take_slot(&self, owner: Owner, name: &LockName, mode: Mode) -> Slot {
        let mut state = self.state();
        match state.retired.contains(owner) {
            true => state.slots.of(owner).unwrap_or(none(owner)),
            false => state.slots.take(owner, name, mode),
        }
    }

    /// Its slot; one that has none has nothing under its own name either.
    pub(super) fn slot(&self, owner: Owner) -> Slot {
        self.state().slots.of(owner).unwrap_or(none(owner))
    }

    /// It asks no more, and what it has is to be cleaned up.
    pub(super) fn retire(&self, owner: Owner, name: &LockName, now: Instant) {
        let mut state = self.state();
        state.retired.insert(owner);
        if state.slots.makers(owner) > 0 {
            if !state.owed.contains_key(&owner) {
                state.owe(owner, name.clone(), now);
            }
        } else {
            state.settle(owner);
        }
    }

    /// Another owner has its key, which is not its own to delete any more.
    pub(super) fn hand_on(&self, owner: Owner) {
        let mut state = self.state();
        state.retired.insert(owner);
        state.handed_on.insert(owner);
        state.slots.give_up(owner);
        state.pay(owner);
    }

    pub(super) fn is_handed_on(&self, owner: Owner) -> bool {
        self.state().handed_on.contains(owner)
    }

    /// It has the key of a lease that was handed on to it; not if it is retired.
    pub(super) fn adopt(&self, owner: Owner, name: &LockName, slot: Slot) {
        let mut state = self.state();
        if !state.retired.contains(owner) {
            state.slots.adopt(owner, name, slot);
        }
    }

    /// The same of one whose lock is to rest.
    pub(super) fn retire_to_rest(&self, owner: Owner, name: &LockName, rest: Rest, now: Instant) {
        let mut state = self.state();
        state.retired.insert(owner);
        if state.rested.contains(owner) {
            return;
        }
        state.rested.insert(owner);
        state.resting.insert(owner, rest);
        state.owe(owner, name.clone(), now);
    }

    /// What is owed of one whose lock is to rest.
    pub(super) fn rest_of(&self, owner: Owner) -> Option<Rest> {
        self.state().resting.get(&owner).copied()
    }

    /// Whether it gave its lock back to rest.
    pub(super) fn has_rested(&self, owner: Owner) -> bool {
        self.state().rested.contains(owner)
    }

    /// There is nothing that could rest.
    pub(super) fn rests_no_more(&self, owner: Owner) {
        self.state().resting.remove(&owner);
    }

    /// Wait until nothing is under way of one whose lock rests; answers whether something
    /// may yet come late.
    pub(super) async fn left_resting(&self, owner: Owner) -> bool {
        loop {
            let rung = self.bell.notified();
            match self.state().requests.get(&owner) {
                Some(requests) if requests.under_way > 0 => {}
                late => return late.is_some(),
            }
            rung.await;
        }
    }

    /// Whether nothing is under way that may make its key.
    pub(super) fn is_quiet(&self, owner: Owner) -> bool {
        !self.state().requests.contains_key(&owner)
    }

    /// A request found that it has no key, and made none. Nor did another, if
    /// that was the only one.
    pub(super) fn has_nothing(&self, owner: Owner) {
        let mut state = self.state();
        if state.slots.makers(owner) <= 1 && !state.requests.contains_key(&owner) {
            state.slots.give_back(owner);
        }
    }

    /// How many requests may have made its key, if all of them are answered.
    pub(super) fn makers_when_quiet(&self, owner: Owner) -> Option<u32> {
        let state = self.state();
        (!state.requests.contains_key(&owner)).then(|| state.slots.makers(owner))
    }

    /// What those requests made was deleted; unless there are more by now, it has nothing.
    pub(super) fn was_deleted(&self, owner: Owner, makers: u32) {
        let mut state = self.state();
        if state.slots.makers(owner) == makers && !state.requests.contains_key(&owner) {
            state.slots.give_back(owner);
        }
    }

    /// Whether nothing of an owner has been sent that could have made its key; it
    /// is then forgotten.
    pub(super) fn was_not_sent(&self, owner: Owner) -> bool {
        let mut state = self.state();
        let is_clean = state.slots.makers(owner) == 0
            && !state.requests.contains_key(&owner)
            && !state.places.contains_key(&owner);
        if is_clean {
            state.slots.give_back(owner);
        }
        is_clean
    }

    /// Wait until nothing of a retired owner is under way, and tell what is left.
    /// If that is a key, its deletion counts as sent from here on: nobody else
    /// deletes it, and nobody has its slot, before that is answered.
    pub(super) async fn left(&self, owner: Owner, is_deleted: bool) -> Left {
        loop {
            let rung = self.bell.notified();
            if let Some(left) = self.state().left(owner, is_deleted) {
                return left;
            }
            rung.await;
        }
    }

    /// Its key was deleted.
    pub(super) fn settle(&self, owner: Owner) {
        let mut state = self.state();
        // If there is something, somebody else deletes it once more.
        if !state.requests.contains_key(&owner) {
            state.settle(owner);
        }
    }

    /// It is kept out, whatever is on its way.
    pub(super) fn settle_late(&self, owner: Owner) {
        let mut state = self.state();
        state.slots.give_up(owner);
        state.requests.remove(&owner);
        state.resting.remove(&owner);
        state.pay(owner);
    }

    /// Some of what should have been cleaned up by this time, the oldest first.
    pub(super) fn owed(&self, by: Instant, most: usize) -> Vec<(Owner, LockName)> {
        let state = self.state();
        let due = state.due.iter().take_while(|(since, _)| *since < by).take(most);
        due.filter_map(|(_, owner)| Some((*owner, state.owed.get(owner)?.0.clone()))).collect()
    }

    /// It could not be cleaned up: others come first the next time.
    pub(super) fn put_off(&self, owner: Owner, now: Instant) {
        let mut state = self.state();
        if let Some(name) = state.pay(owner) {
            state.owe(owner, name, now);
        }
    }

    /// Something is about to be sent for it; no if it is retired: whoever cleans
    /// up after it waits for what is under way, and for nothing else.
    pub(super) fn send(&self, owner: Owner) -> bool {
        let mut state = self.state();
        let is_retired = state.retired.contains(owner);
        if !is_retired {
            state.send(owner);
        }
        !is_retired
    }

    /// And has ended.
    pub(super) fn answered(&self, owner: Owner, how: Sent) {
        let mut state = self.state();
        if how == Sent::NotCarriedOut {
            state.slots.remove_maker(owner);
        }
        if let Entry::Occupied(mut entry) = state.requests.entry(owner) {
            let requests = entry.get_mut();
            requests.under_way -= 1;
            requests.are_lost |= how == Sent::Lost;
            if requests.under_way == 0 && !requests.are_lost {
                entry.remove();
            }
        }
        drop(state);
        self.bell.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
