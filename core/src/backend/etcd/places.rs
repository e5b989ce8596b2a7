//! What a client knows of its owners: where they stand, and what is still to
//! be cleaned up after them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::cluster::SessionId;
use super::sessions::Session;
use crate::backend::Claim;
use crate::backend::record::Retired;
use crate::name::{LockName, Owner};
use crate::time::Instant;

/// An owner's key in the line of its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: LockName,
    pub(super) label: Arc<str>,
    /// The revision that created it, which is the fence.
    pub(super) created: u64,
    pub(super) session: SessionId,
    /// Whether that session is for this lock alone.
    pub(super) is_alone: bool,
    /// How many stood before it when it came, besides the holder.
    pub(super) ahead: usize,
    /// The key that is watched because it stands before this one.
    pub(super) watched: Option<String>,
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
    /// Released or withdrawn; what they ask now is refused.
    retired: Retired,
    /// What was sent of theirs and has not been answered.
    requests: BTreeMap<Owner, Requests>,
    /// Retired owners whose key may still be there, and since when.
    owed: BTreeMap<Owner, (LockName, Instant)>,
}

#[derive(Default)]
struct Requests {
    under_way: u32,
    /// Some were given up without an answer.
    are_lost: bool,
}

impl Place {
    pub(super) fn new(claim: &Claim, created: u64, session: &Session) -> Self {
        let (name, label, session) = (claim.name.clone(), claim.label.clone(), session.id);
        Self { name, label, created, session, is_alone: false, ahead: 0, watched: None }
    }
}

impl Places {
    /// Only as many as can matter, whatever happens.
    const MAX_REQUESTS: usize = 65_536;

    pub(super) fn get(&self, owner: Owner) -> Option<Place> {
        self.state().places.get(&owner).cloned()
    }

    /// Answers what it was before; one that is retired has none any more.
    pub(super) fn set(&self, owner: Owner, place: Place) -> Option<Place> {
        let mut state = self.state();
        match state.retired.contains(owner) {
            true => Some(place),
            false => state.places.insert(owner, place),
        }
    }

    /// Change it, if the owner has one.
    pub(super) fn change(&self, owner: Owner, change: impl FnOnce(&mut Place)) {
        if let Some(place) = self.state().places.get_mut(&owner) {
            change(place);
        }
    }

    pub(super) fn remove(&self, owner: Owner) -> Option<Place> {
        self.state().places.remove(&owner)
    }

    /// Forget all that live with a session that is over.
    pub(super) fn remove_session(&self, session: SessionId) {
        self.state().places.retain(|_, place| place.session != session);
    }

    /// The lock of whoever watches a key, which is not watched any more.
    pub(super) fn stop_watching(&self, key: &str) -> Option<LockName> {
        let mut name = None;
        for place in self.state().places.values_mut() {
            if place.watched.take_if(|watched| watched == key).is_some() {
                name = Some(place.name.clone());
            }
        }
        name
    }

    /// Nothing is watched any more.
    pub(super) fn stop_watching_all(&self) {
        self.state().places.values_mut().for_each(|place| place.watched = None);
    }

    pub(super) fn is_watched(&self, key: &str) -> bool {
        self.state().places.values().any(|place| place.watched.as_deref() == Some(key))
    }

    pub(super) fn is_retired(&self, owner: Owner) -> bool {
        self.state().retired.contains(owner)
    }

    /// It asks no more, and what it has is to be cleaned up.
    pub(super) fn retire(&self, owner: Owner, name: &LockName, now: Instant) {
        let mut state = self.state();
        state.retired.insert(owner);
        state.owed.entry(owner).or_insert_with(|| (name.clone(), now));
    }

    /// All is cleaned up after it.
    pub(super) fn settle(&self, owner: Owner) {
        let mut state = self.state();
        state.owed.remove(&owner);
        state.requests.remove(&owner);
    }

    /// What should have been cleaned up by this time.
    pub(super) fn owed(&self, by: Instant) -> Vec<(Owner, LockName)> {
        let state = self.state();
        let owed = state.owed.iter().filter(|(_, (_, since))| *since < by);
        owed.map(|(owner, (name, _))| (*owner, name.clone())).collect()
    }

    /// Something is about to be sent for it; no if it is retired: whoever cleans
    /// up after it waits for what is under way, and for nothing else.
    pub(super) fn send(&self, owner: Owner) -> bool {
        let mut state = self.state();
        if state.retired.contains(owner) {
            return false;
        }
        state.requests.entry(owner).or_default().under_way += 1;
        if state.requests.len() > Self::MAX_REQUESTS {
            state.requests.pop_first();
        }
        true
    }

    /// And answered; or its answer is lost.
    pub(super) fn answered(&self, owner: Owner, is_lost: bool) {
        if let Entry::Occupied(mut entry) = self.state().requests.entry(owner) {
            let requests = entry.get_mut();
            requests.under_way -= 1;
            requests.are_lost |= is_lost;
            if requests.under_way == 0 && !requests.are_lost {
                entry.remove();
            }
        }
        self.bell.notify_waiters();
    }

    /// Wait until nothing of it is under way. Answers whether something may yet
    /// be carried out that was given up.
    pub(super) async fn all_answered(&self, owner: Owner) -> bool {
        loop {
            let rung = self.bell.notified();
            match self.state().requests.get(&owner) {
                None => return false,
                Some(Requests { under_way: 0, are_lost }) => return *are_lost,
                Some(_) => {}
            }
            rung.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
