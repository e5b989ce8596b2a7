//! What this client has asked for and not yet given up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::node::Role;
use crate::backend::Claim;
use crate::backend::record::Retired;
use crate::name::Owner;

/// By owner.
#[derive(Default)]
pub(super) struct Attempts {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    attempts: BTreeMap<Owner, Attempt>,
    retired: Retired,
}

/// One owner's.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) claim: Claim,
    /// What it asks for.
    pub(super) ballot: u64,
    /// Whether it is to be chosen anew.
    pub(super) stale: bool,
    pub(super) place: Place,
}

/// Where it stands in the line, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    /// Somebody is before it.
    Behind,
    /// It is its turn; so many wait behind it.
    First(usize),
}

impl Place {
    /// As whom to ask the nodes that do not keep the line.
    pub(super) fn role(self) -> Role {
        match self {
            Place::First(waiting) => Role::First { waiting },
            Place::Nowhere | Place::Behind => Role::Newcomer,
        }
    }
}

impl Attempts {
    /// Only as many as can matter, whatever happens.
    const MOST: usize = 65_536;

    /// The claim's owner is about to ask, by its old ballot or one that `choose`
    /// answers; `None` when it is retired. Either [`retire`](Self::retire) comes
    /// first, or whoever retires it finds its last ballot.
    pub(super) fn begin(&self, claim: &Claim, choose: impl FnOnce() -> u64) -> Option<Attempt> {
        let mut state = self.state();
        if state.retired.contains(claim.owner) {
            return None;
        }
        if state.attempts.len() >= Self::MOST {
            state.attempts.pop_first();
        }
        let attempt = state.attempts.entry(claim.owner).or_insert_with(|| Attempt {
            claim: claim.clone(),
            ballot: 0,
            stale: true,
            place: Place::Nowhere,
        });
        attempt.claim.clone_from(claim);
        if std::mem::take(&mut attempt.stale) {
            attempt.ballot = choose().max(attempt.ballot + 1);
        }
        Some(attempt.clone())
    }

    pub(super) fn change(&self, owner: Owner, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.state().attempts.get_mut(&owner) {
            change(attempt);
        }
    }

    pub(super) fn find(&self, owner: Owner) -> Option<Attempt> {
        self.state().attempts.get(&owner).cloned()
    }

    /// Nothing is asked for this owner any more.
    pub(super) fn retire(&self, owner: Owner) -> Option<Attempt> {
        let mut state = self.state();
        state.retired.insert(owner);
        state.attempts.get(&owner).cloned()
    }

    /// Every node knows that.
    pub(super) fn forget(&self, owner: Owner) {
        self.state().attempts.remove(&owner);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
