//! What this client has asked for and not yet given up.
//!
//! Nothing that is alive is ever forgotten: an attempt that waits keeps its
//! ballot and its turn, and one that ends must be found to be given back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::node::{Ask, Role};
use crate::backend::Claim;
use crate::backend::record::Retired;
use crate::name::Owner;
use crate::time::{Instant, drift};

/// By owner.
#[derive(Default)]
pub(super) struct Attempts {
    state: Mutex<State>,
    /// For how long something may be on its way, until its connection is given up.
    on_its_way: Duration,
}

#[derive(Default)]
struct State {
    attempts: BTreeMap<Owner, Attempt>,
    /// With so many of them, those are dropped that are over anyway.
    sweep_at: usize,
    retired: Retired,
}

/// One owner's.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) claim: Claim,
    /// What it asks for; of one that shares its lock, the largest by which it has asked for
    /// anything, a renewal too.
    pub(super) ballot: u64,
    /// Whether it is to be chosen anew.
    pub(super) stale: bool,
    /// The turn that it would share, where the nodes have begun several.
    pub(super) wanted: Option<u64>,
    /// The largest turn that too few nodes would let it into, as they have granted later
    /// ones: it is not to be kept alive by those who ask for it.
    pub(super) too_old: u64,
    pub(super) standing: Standing,
    /// By how much the next ballot is to be ahead of the clocks.
    pub(super) lead: Duration,
    /// When it was asked for first.
    pub(super) began: Instant,
    /// When nothing of it can be left on any node unless it is asked again.
    pub(super) until: Instant,
}

impl Attempt {
    pub(super) fn ask(&self, role: Role) -> Ask {
        let (claim, ballot, wanted) = (self.claim.clone(), self.ballot, self.wanted);
        Ask { claim, ballot, role, wanted }
    }
}

/// Where it stands in the line, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Nowhere,
    /// Somebody is before it.
    Behind,
    /// It is its turn; so many wait behind it.
    First(usize),
}

impl Standing {
    /// As whom to ask the nodes that do not keep the line.
    pub(super) fn role(self) -> Role {
        match self {
            Standing::First(waiting) => Role::First { waiting },
            Standing::Nowhere | Standing::Behind => Role::Newcomer,
        }
    }
}

impl Attempts {
    /// Fewer are not worth looking at.
    const FEW: usize = 1024;

    pub(super) fn new(response_timeout: Duration) -> Self {
        let on_its_way = response_timeout.max(Duration::from_secs(5));
        Self { on_its_way, ..Self::default() }
    }

    /// What is sent now is no longer on any node then.
    pub(super) fn end(&self, now: Instant, ttl: Duration) -> Instant {
        now + ttl + drift(ttl) + self.on_its_way
    }

    /// The claim's owner is about to ask, by its old ballot or one that `choose`
    /// answers; `None` when it is retired. Either [`retire`](Self::retire) comes
    /// first, or whoever retires it finds its last ballot.
    pub(super) fn begin(
        &self,
        claim: &Claim,
        now: Instant,
        choose: impl FnOnce(Duration) -> u64,
    ) -> Option<Attempt> {
        let mut state = self.state();
        if state.retired.contains(claim.owner) {
            return None;
        }
        state.sweep(now);
        let attempt = state.attempts.entry(claim.owner).or_insert_with(|| Attempt {
            claim: claim.clone(),
            ballot: 0,
            stale: true,
            wanted: None,
            too_old: 0,
            standing: Standing::Nowhere,
            lead: Duration::ZERO,
            began: now,
            until: now,
        });
        attempt.claim.clone_from(claim);
        attempt.until = self.end(now, claim.ttl);
        if std::mem::take(&mut attempt.stale) {
            attempt.ballot = choose(attempt.lead).max(attempt.ballot + 1);
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

    /// Its lease is about to be renewed, by a new ballot if it is shared. One that is
    /// retired keeps its ballot, which was given back or will be: a larger one could bring
    /// its share back.
    pub(super) fn renew(
        &self,
        owner: Owner,
        ttl: Duration,
        now: Instant,
        choose: impl FnOnce() -> u64,
    ) -> Option<Attempt> {
        let mut state = self.state();
        let is_retired = state.retired.contains(owner);
        let attempt = state.attempts.get_mut(&owner)?;
        if attempt.claim.mode.is_shared() && !is_retired {
            attempt.ballot = choose().max(attempt.ballot + 1);
        }
        // By a shorter ttl perhaps, and then it may yet be held for the one before.
        attempt.until = attempt.until.max(self.end(now, ttl));
        Some(attempt.clone())
    }

    /// What holds by this claim shows another label from its next renewal on.
    pub(super) fn relabel(&self, owner: Owner, label: &Arc<str>) {
        self.change(owner, |attempt| attempt.claim.label = label.clone());
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

    #[cfg(test)]
    fn len(&self) -> usize {
        self.state().attempts.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drop what ended without anybody saying so. Costs little, as it is done
    /// only when there are twice as many as the last time.
    fn sweep(&mut self, now: Instant) {
        if self.attempts.len() >= self.sweep_at.max(Attempts::FEW) {
            self.attempts.retain(|_, attempt| attempt.until > now);
            self.sweep_at = 2 * self.attempts.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Mode;
    use crate::name::LockName;

    const SECOND: Duration = Duration::from_secs(1);

    fn claim(owner: u128, ttl: Duration) -> Claim {
        Claim {
            name: LockName::new("x").expect("a proper name"),
            owner: Owner::from_bits(owner),
            ttl,
            delay: Duration::ZERO,
            mode: Mode::Exclusive,
            label: "".into(),
            place: None,
            renewed: true,
        }
    }

    #[test]
    fn what_lives_is_never_forgotten_and_what_is_over_is() {
        let attempts = Attempts::default();
        let at = |seconds| Instant::from_nanos(seconds * 1_000_000_000);
        let begin = |owner, ttl, now| attempts.begin(&claim(owner, ttl), now, |_| 7).map(drop);
        for owner in 0..100_000 {
            begin(owner, 3600 * SECOND, at(1));
        }
        assert_eq!(attempts.len(), 100_000);
        assert!(attempts.retire(Owner::from_bits(0)).is_some(), "it would not be given back");
        // Most of them end; one is renewed.
        let renewed = Owner::from_bits(1);
        assert!(attempts.renew(renewed, 3600 * SECOND, at(3000), || 8).is_some());
        for owner in 100_000..300_000 {
            begin(owner, SECOND, at(4000 + owner as u64 / 1000));
        }
        assert!(attempts.len() < 50_000, "{} are kept", attempts.len());
        assert!(attempts.retire(renewed).is_some());
    }
}
