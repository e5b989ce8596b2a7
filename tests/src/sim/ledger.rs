//! What must hold at every moment of a simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use leasehold::backend::{Answer, Claim, Held};
use leasehold::{Lease, Owner};

/// Watches all leases of one simulation.
#[derive(Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leases: BTreeMap<String, Vec<Watched>>,
    highest: BTreeMap<String, u64>,
    over: BTreeSet<(String, u64)>,
    withdrawn: BTreeSet<Owner>,
    grants: u64,
    broken: Vec<String>,
}

struct Watched {
    lease: Weak<Lease>,
    was_over: bool,
}

impl Ledger {
    /// A task was given a lease.
    pub(super) fn granted(&self, lease: Lease) -> Arc<Lease> {
        let lease = Arc::new(lease);
        let name = lease.name().to_owned();
        let mut state = self.state();
        state.grants += 1;
        let others = state.leases.entry(name.clone()).or_default();
        others.retain(|other| other.lease.strong_count() > 0);
        let valid = |other: &Watched| other.lease.upgrade().filter(|other| other.is_valid());
        let double = others.iter().find_map(valid).filter(|_| lease.is_valid());
        others.push(Watched { lease: Arc::downgrade(&lease), was_over: false });
        if let Some(other) = double {
            state.broken.push(format!("two hold {name}: {other:?} and {lease:?}"));
        }
        if lease.is_valid() {
            let highest = state.highest.entry(name.clone()).or_default();
            let (fence, before) = (lease.fence(), *highest);
            *highest = before.max(fence);
            if fence <= before {
                state.broken.push(format!("{name}: fence {fence} after {before}"));
            }
        }
        lease
    }

    /// Look at every lease, from outside its process: over is over.
    pub(super) fn look(&self) {
        let mut state = self.state();
        let State { leases, broken, .. } = &mut *state;
        for watched in leases.values_mut().flatten() {
            let Some(lease) = watched.lease.upgrade() else { continue };
            if watched.was_over && lease.is_valid() {
                broken.push(format!("came back to life: {lease:?}"));
            }
            watched.was_over |= !lease.is_valid();
        }
    }

    /// A task has given a lease back; nothing may renew it from here on.
    pub(super) fn given_back(&self, name: &str, fence: u64) {
        self.state().over.insert((name.to_owned(), fence));
    }

    pub(super) fn renewing(&self, leases: &[Held]) {
        let mut state = self.state();
        let late = leases
            .iter()
            .find(|held| state.over.contains(&(held.name.as_str().to_owned(), held.fence)));
        if let Some(held) = late {
            let broken = format!("renewed after release: {held:?}");
            state.broken.push(broken);
        }
    }

    /// A client has heard that its claim is undone.
    pub(super) fn withdrawn(&self, owner: Owner) {
        self.state().withdrawn.insert(owner);
    }

    /// The server has answered a claim, perhaps a late one.
    pub(super) fn answered(&self, claim: &Claim, answer: Answer) {
        let mut state = self.state();
        if matches!(answer, Answer::Granted { .. }) && state.withdrawn.contains(&claim.owner) {
            state.broken.push(format!("granted after its withdraw: {claim:?}"));
        }
    }

    pub(super) fn broken(&self, what: String) {
        self.state().broken.push(what);
    }

    pub(super) fn grants(&self) -> u64 {
        self.state().grants
    }

    /// What was broken first, if anything was.
    pub(super) fn verdict(&self) -> Result<(), String> {
        self.state().broken.first().map_or(Ok(()), |broken| Err(broken.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
