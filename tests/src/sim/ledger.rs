//! What must hold at every moment of a simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use leasehold::{Lease, LockName, Owner};

/// Watches all leases of one simulation.
pub(super) struct Ledger {
    state: Mutex<State>,
    /// Servers whose clocks jump end leases too early, and forget what they were
    /// told; only the fences are left.
    only_fences: bool,
}

#[derive(Default)]
struct State {
    leases: BTreeMap<String, Vec<Watched>>,
    highest: BTreeMap<String, Highest>,
    over: BTreeSet<(String, u64)>,
    /// By server, who has ended there.
    /// Up to which ballot of the owner the server has heard that it is over.
    ended: BTreeMap<(usize, Owner), u64>,
    /// Until when a lock rests.
    rests: BTreeMap<String, Duration>,
    grants: u64,
    broken: Vec<String>,
}

/// The largest fence that was granted of a lock.
#[derive(Default)]
struct Highest {
    fence: u64,
    /// It is that of a turn that several share.
    is_shared: bool,
    /// Of each of its permits.
    by_slot: BTreeMap<u32, u64>,
}

/// How a task asks for a lock in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Alone,
    Shared,
    Permits(u32),
}

struct Watched {
    lease: Weak<Lease>,
    kind: Kind,
    was_over: bool,
}

impl Ledger {
    pub(super) fn new(only_fences: bool) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), only_fences })
    }

    /// The largest fence that was granted so far.
    pub(super) fn highest(&self, name: &str) -> u64 {
        self.state().highest.get(name).map_or(0, |highest| highest.fence)
    }

    /// A task was given a lease, after it had asked when `before` was the
    /// highest fence.
    pub(super) fn granted(&self, lease: Lease, kind: Kind, before: u64) -> Arc<Lease> {
        let lease = Arc::new(lease);
        let name = lease.name().to_owned();
        let mut state = self.state();
        state.grants += 1;
        let others = state.leases.entry(name.clone()).or_default();
        others.retain(|other| other.lease.strong_count() > 0);
        let valid = |other: &Watched| {
            other.lease.upgrade().filter(|other| other.is_valid()).map(|lease| (lease, other.kind))
        };
        let valid: Vec<(Arc<Lease>, Kind)> = match lease.is_valid() && !self.only_fences {
            true => others.iter().filter_map(valid).collect(),
            false => Vec::new(),
        };
        let double = too_many(&lease, kind, &valid);
        others.push(Watched { lease: Arc::downgrade(&lease), kind, was_over: false });
        if let Some(other) = double {
            state.broken.push(format!("two hold {name}: {other:?} and {lease:?}, {kind:?}"));
        }
        // While nobody else holds it, every grant is later than those that are known.
        let in_order = lease.is_valid() && !self.only_fences;
        let highest = state.highest.entry(name.clone()).or_default();
        if let Some(broken) = highest.rise(&lease, kind, in_order, before) {
            state.broken.push(format!("{name}: {broken}"));
        }
        lease
    }

    /// A lock was given back to rest until then.
    pub(super) fn rests(&self, name: &str, until: Duration) {
        self.state().rests.insert(name.to_owned(), until);
    }

    /// A task was given a lease, and the rest of its lock is over.
    pub(super) fn wakes(&self, lease: &Lease, now: Duration) {
        let mut state = self.state();
        let until = state.rests.get(lease.name()).copied().unwrap_or_default();
        if now < until && lease.is_valid() {
            let broken = format!("granted at {now:?}, and it rests until {until:?}: {lease:?}");
            state.broken.push(broken);
        }
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

    /// A task has given a lease back; nothing may renew it from here on. Of those who
    /// share a fence it is not known who renews.
    pub(super) fn given_back(&self, name: &str, kind: Kind, fence: u64) {
        if kind == Kind::Shared {
            return;
        }
        self.state().over.insert((name.to_owned(), fence));
    }

    pub(super) fn renewing(&self, name: &LockName, fence: u64) {
        let mut state = self.state();
        if state.over.contains(&(name.as_str().to_owned(), fence)) {
            state.broken.push(format!("renewed after release: {name:?}, fence {fence}"));
        }
    }

    /// A server has heard that it is over with this owner, up to a ballot: the same
    /// attempt may ask again by a larger one, which is given back then.
    pub(super) fn ended(&self, server: usize, owner: Owner, ballot: u64) {
        let mut state = self.state();
        let ended = state.ended.entry((server, owner)).or_default();
        *ended = ballot.max(*ended);
    }

    /// A server has made it the holder, perhaps long after it was asked to.
    pub(super) fn made_holder(&self, server: usize, owner: Owner, ballot: u64) {
        let mut state = self.state();
        let ended = state.ended.get(&(server, owner));
        if ended.is_some_and(|ended| ballot <= *ended) && !self.only_fences {
            state.broken.push(format!("held on server {server} after its end: {owner:?}"));
        }
    }

    /// A server has lost its data.
    pub(super) fn forgot(&self, server: usize) {
        self.state().ended.retain(|(other, _), _| *other != server);
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

/// One that cannot be held beside this one, if there is any.
fn too_many<'a>(lease: &Lease, kind: Kind, others: &'a [(Arc<Lease>, Kind)]) -> Option<&'a Lease> {
    let is_many = match kind {
        Kind::Alone | Kind::Shared => false,
        Kind::Permits(permits) => others.len() >= permits as usize,
    };
    let disturbs = |other: &&(Arc<Lease>, Kind)| match (kind, other.1) {
        (Kind::Shared, Kind::Shared) => false,
        (Kind::Permits(_), Kind::Permits(_)) => is_many || other.0.slot() == lease.slot(),
        _ => true,
    };
    others.iter().find(disturbs).map(|(other, _)| &**other)
}

impl Highest {
    /// Take in the fence of a lease; answers what is wrong with it.
    fn rise(&mut self, lease: &Lease, kind: Kind, in_order: bool, before: u64) -> Option<String> {
        let (fence, is_shared) = (lease.fence(), kind == Kind::Shared);
        let known = match lease.slot() {
            Some(slot) => {
                let highest = self.by_slot.entry(slot).or_default();
                std::mem::replace(highest, fence.max(*highest))
            }
            None => self.fence,
        };
        let before = if in_order { known.max(before) } else { before };
        // Its turn may be known from others who share it.
        let joins = is_shared && fence == before && (self.is_shared || before < self.fence);
        if fence >= self.fence {
            (self.fence, self.is_shared) = (fence, is_shared);
        }
        (fence <= before && !joins).then(|| format!("fence {fence} after {before}, {kind:?}"))
    }
}
