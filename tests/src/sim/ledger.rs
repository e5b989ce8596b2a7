//! What must hold at every moment of a simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use leasehold::{Leader, LockName, Owner};

use super::held::{Grant, Kind, Letter, Post, Seen};

/// Watches all leases of one simulation.
pub(super) struct Ledger {
    state: Mutex<State>,
    /// Servers whose clocks jump end leases too early, and forget what they were
    /// told; only the fences are left.
    only_fences: bool,
    /// There are several servers, and those that are silent may know who leads.
    several: bool,
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
    /// Leases that are on their way.
    post: Post,
    terms: Terms,
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

/// What is known of who leads.
#[derive(Default)]
struct Terms {
    /// What each has proclaimed, perhaps in vain.
    values: BTreeMap<u64, BTreeSet<String>>,
    /// The last that has begun,
    begun: u64,
    /// and the last that the server has confirmed to be over.
    over: u64,
}

struct Watched {
    held: Weak<dyn Seen>,
    grant: Grant,
    was_over: bool,
}

impl Watched {
    fn is_valid(&self) -> bool {
        self.held.upgrade().is_some_and(|held| held.is_valid())
    }
}

impl Ledger {
    pub(super) fn new(only_fences: bool, several: bool) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), only_fences, several })
    }

    /// The largest fence that was granted so far.
    pub(super) fn highest(&self, name: &str) -> u64 {
        self.state().highest.get(name).map_or(0, |highest| highest.fence)
    }

    /// A task was given a lease, after it had asked when `before` was the
    /// highest fence.
    pub(super) fn granted(&self, held: &Arc<impl Seen>, grant: Grant, before: u64, now: Duration) {
        let is_valid = held.is_valid() && !self.only_fences;
        let mut state = self.state();
        state.grants += 1;
        if is_valid {
            state.post.retain(|letter| now < letter.until);
            let mut on_its_way = state.post.iter().filter(|letter| {
                letter.grant.name == grant.name && !letter.opened.load(Ordering::SeqCst)
            });
            let taken = on_its_way.find(|letter| grant.disturbs(&letter.grant));
            let taken = taken.cloned();
            if let Some(letter) = taken {
                state.broken.push(format!("{grant:?} is granted at {now:?} beside {letter:?}"));
            }
        }
        // While nobody else holds it, every grant is later than those that are known.
        let highest = state.highest.entry(grant.name.clone()).or_default();
        if let Some(broken) = highest.rise(&grant, is_valid, before) {
            state.broken.push(format!("{}: {broken}", grant.name));
        }
        state.watch(held, grant, is_valid);
    }

    /// A task goes on with what a ticket has: nobody else had it meanwhile, and nobody
    /// else has gone on with it.
    pub(super) fn adopted(&self, held: &Arc<impl Seen>, letter: &Letter, grant: Grant) {
        let mut state = self.state();
        state.grants += 1;
        if letter.adopted.swap(true, Ordering::SeqCst) {
            state.broken.push(format!("a ticket was used twice: {letter:?}"));
        }
        let highest = state.highest.get(&grant.name).map_or(0, |highest| match grant.slot {
            Some(slot) => highest.by_slot.get(&slot).copied().unwrap_or_default(),
            None => highest.fence,
        });
        let same = (grant.fence, grant.slot) == (letter.grant.fence, letter.grant.slot);
        if !same || held.is_valid() && highest != grant.fence {
            state.broken.push(format!("after {highest} {letter:?} became {grant:?}"));
        }
        state.watch(held, grant, held.is_valid());
    }

    /// A lease is on its way. It may arrive twice.
    pub(super) fn posted(&self, letter: Letter) {
        self.state().post.push(Arc::new(letter));
    }

    /// One that may have been opened before.
    pub(super) fn letter(&self, random: &mut fastrand::Rng) -> Option<Arc<Letter>> {
        let mut state = self.state();
        let letter = random.choice(state.post.iter()).cloned()?;
        letter.opened.store(true, Ordering::SeqCst);
        // Tried again once, and no more.
        state.post.retain(|other| !(Arc::ptr_eq(other, &letter) && letter.is_adopted()));
        Some(letter)
    }

    /// A lock was given back to rest until then.
    pub(super) fn rests(&self, name: &str, until: Duration) {
        self.state().rests.insert(name.to_owned(), until);
    }

    /// A task was given a lease, and the rest of its lock is over.
    pub(super) fn wakes(&self, held: &impl Seen, name: &str, now: Duration) {
        let mut state = self.state();
        let until = state.rests.get(name).copied().unwrap_or_default();
        if now < until && held.is_valid() {
            let broken = format!("granted at {now:?}, and it rests until {until:?}: {held:?}");
            state.broken.push(broken);
        }
    }

    /// A task leads.
    pub(super) fn leads(&self, term: u64) {
        let terms = &mut self.state().terms;
        terms.begun = terms.begun.max(term);
    }

    /// A leader is about to show a value.
    pub(super) fn proclaims(&self, term: u64, value: &str) {
        let mut state = self.state();
        state.terms.values.entry(term).or_default().insert(value.to_owned());
    }

    /// The server has confirmed that a term is over.
    pub(super) fn resigned(&self, term: u64) {
        let terms = &mut self.state().terms;
        terms.over = terms.over.max(term);
    }

    /// All terms up to this one are over.
    pub(super) fn past(&self) -> u64 {
        let terms = &self.state().terms;
        terms.over.max(terms.begun.saturating_sub(1))
    }

    /// Somebody was told who leads, after it had asked when the terms up to `past` were
    /// over.
    pub(super) fn named(&self, leader: &Leader, past: u64) {
        let mut state = self.state();
        if leader.term <= past && !self.several {
            state.broken.push(format!("a past leader is named, after {past}: {leader:?}"));
        }
        let shown = state.terms.values.get(&leader.term);
        if shown.is_some_and(|shown| !shown.contains(&leader.value)) {
            let broken = format!("{leader:?} has proclaimed only {shown:?}");
            state.broken.push(broken);
        }
    }

    /// Look at every lease, from outside its process: over is over.
    pub(super) fn look(&self) {
        let mut state = self.state();
        let State { leases, broken, .. } = &mut *state;
        for watched in leases.values_mut().flatten() {
            let Some(held) = watched.held.upgrade() else { continue };
            if watched.was_over && held.is_valid() {
                broken.push(format!("came back to life: {held:?}"));
            }
            watched.was_over |= !held.is_valid();
        }
    }

    /// A task has given a lease back; nothing may renew it from here on. Of those who
    /// share a fence it is not known who renews.
    pub(super) fn given_back(&self, grant: &Grant) {
        if grant.kind == Kind::Shared {
            return;
        }
        self.state().over.insert((grant.name.clone(), grant.fence));
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

impl State {
    /// From now on, and see that nobody has what cannot be held beside it.
    fn watch(&mut self, held: &Arc<impl Seen>, grant: Grant, is_valid: bool) {
        let others = self.leases.entry(grant.name.clone()).or_default();
        others.retain(|other| other.held.strong_count() > 0);
        if is_valid {
            let beside: Vec<&Watched> = others.iter().filter(|other| other.is_valid()).collect();
            let is_many = match grant.kind {
                Kind::Permits(permits) => beside.len() >= permits as usize,
                Kind::Alone | Kind::Shared => false,
            };
            let other = beside.iter().find(|other| is_many || grant.disturbs(&other.grant));
            if let Some(other) = other {
                let held = other.held.upgrade();
                self.broken.push(format!("two hold it: {:?}, {held:?} and {grant:?}", other.grant));
            }
        }
        let held: Arc<dyn Seen> = held.clone();
        others.push(Watched { held: Arc::downgrade(&held), grant, was_over: false });
    }
}

impl Highest {
    /// Take in the fence of a lease; answers what is wrong with it.
    fn rise(&mut self, grant: &Grant, in_order: bool, before: u64) -> Option<String> {
        let (fence, kind, is_shared) = (grant.fence, grant.kind, grant.kind == Kind::Shared);
        let known = match grant.slot {
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
