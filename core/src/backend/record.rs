//! One lock's state on a server that is ours to program: who holds it, who
//! waits, the last fence. Plain transitions; storage is somebody else's.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Claim, Holder, Mode, Status};
use crate::name::{LockName, Owner};
use crate::time::Instant;

/// The address of a client on its server, for wakes and proofs of death.
pub(super) type Address = u64;

/// The server's clocks at the moment of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) wall_micros: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) fence: u64,
    /// Several only where all of them share the lock, in the same way.
    pub(super) tenants: Vec<Tenant>,
    pub(super) line: VecDeque<Waiter>,
}

/// How long after its last grant a free lock's record can be dropped. By then the
/// clock in the next fence is past the last one, as long as nobody sets it back;
/// whoever drops a record remembers the largest fence of all that were dropped, and
/// begins a new one [after](Record::after) that.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tenant {
    pub(super) owner: Owner,
    pub(super) client: Address,
    pub(super) label: Arc<str>,
    pub(super) mode: Mode,
    pub(super) fence: u64,
    pub(super) slot: u32,
    pub(super) since: Instant,
    pub(super) expires: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) owner: Owner,
    pub(super) client: Address,
    pub(super) label: Arc<str>,
    pub(super) mode: Mode,
    pub(super) ttl: Duration,
    pub(super) until: Instant,
}

/// How a lock rests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) lasts: Duration,
    /// The address that stands for nobody.
    pub(super) client: Address,
}

impl Record {
    /// A lock of which nothing is known but that it never had a fence above this one.
    pub(super) fn after(fence: u64) -> Self {
        Self { fence, ..Self::default() }
    }

    /// Drop what time has ended. Every transition does this first.
    pub(super) fn expire(&mut self, now: Instant) {
        self.tenants.retain(|tenant| tenant.expires > now);
        self.line.retain(|waiter| waiter.until > now);
    }

    /// Drop what belonged to a client that is proven dead.
    pub(super) fn bury(&mut self, client: Address) {
        self.tenants.retain(|tenant| tenant.client != client);
        self.line.retain(|waiter| waiter.client != client);
    }

    /// Whose ends may let the claim advance: the one just before it in the line, so that
    /// a death wakes one; for the first all who keep it out, for any of them may be the
    /// last that does.
    #[cfg(feature = "sqlite")]
    pub(super) fn before(&self, claim: &Claim) -> Vec<Address> {
        let ahead = self.line.iter().take_while(|w| w.owner != claim.owner).last();
        let mut before = match ahead {
            _ if self.tenants.iter().any(|t| t.owner == claim.owner) => Vec::new(),
            _ if self.other_kind(claim.mode).is_some() => self.clients(),
            Some(ahead) => vec![ahead.client],
            None if self.has_room(claim.mode) => Vec::new(),
            None => self.tenants.iter().map(|t| t.client).collect(),
        };
        before.sort_unstable();
        before.dedup();
        before
    }

    /// In which way the name is used that does not go with this one.
    fn other_kind(&self, mode: Mode) -> Option<Mode> {
        let mut in_use =
            self.tenants.iter().map(|t| t.mode).chain(self.line.iter().map(|w| w.mode));
        in_use.find(|used| !used.goes_with(mode))
    }

    /// Everyone's clients.
    #[cfg(feature = "sqlite")]
    pub(super) fn clients(&self) -> Vec<Address> {
        self.tenants.iter().map(|t| t.client).chain(self.line.iter().map(|w| w.client)).collect()
    }

    /// How many wait, `besides` not counted.
    pub(super) fn waiters_besides(&self, besides: Option<Owner>) -> usize {
        self.line.iter().filter(|w| Some(w.owner) != besides).count()
    }

    pub(super) fn claim(&mut self, claim: &Claim, from: Address, now: Now) -> Answer {
        self.expire(now.instant);
        if let Some(tenant) = self.tenant(claim.owner) {
            tenant.expires = now.instant + claim.ttl;
            return tenant.granted();
        }
        let place = self.line.iter().position(|w| w.owner == claim.owner);
        if let Some(mode) = self.other_kind(claim.mode) {
            return Answer::OtherKind { mode };
        }
        let ahead = place.unwrap_or(self.line.len());
        if ahead == 0 && self.has_room(claim.mode) {
            return self.grant(Waiter::of(claim, from), now);
        }
        self.wait(claim, from, now)
    }

    /// Stand in the line, if the claim wants to, and be told that the lock is busy.
    pub(super) fn wait(&mut self, claim: &Claim, from: Address, now: Now) -> Answer {
        let place = self.line.iter().position(|w| w.owner == claim.owner);
        let ahead = place.unwrap_or(self.line.len());
        if let Some(keep) = claim.place {
            let until = now.instant + keep;
            match place {
                // It may be heard somewhere else by now.
                Some(at) => (self.line[at].until, self.line[at].client) = (until, from),
                None => self.line.push_back(Waiter { until, ..Waiter::of(claim, from) }),
            }
        }
        let lapse = self.tenants.iter().map(|t| t.expires);
        // All who share it keep an exclusive one out, and any of those who count makes room.
        let lapse = match claim.mode {
            Mode::Counted { .. } => lapse.min(),
            Mode::Exclusive | Mode::Shared => lapse.max(),
        };
        let free_in = lapse.or(self.line.front().map(|w| w.until));
        let free_in = free_in.map(|at| at.since(now.instant));
        Answer::Busy { free_in, ahead, fence: self.fence }
    }

    fn tenant(&mut self, owner: Owner) -> Option<&mut Tenant> {
        self.tenants.iter_mut().find(|tenant| tenant.owner == owner)
    }

    /// Whether one more may hold it in this way, those who wait aside.
    fn has_room(&self, mode: Mode) -> bool {
        match mode {
            _ if self.tenants.is_empty() => true,
            Mode::Exclusive => false,
            Mode::Shared => self.tenants.iter().all(|t| t.mode == mode),
            Mode::Counted { permits } => self.tenants.len() < permits as usize,
        }
    }

    fn grant(&mut self, to: Waiter, now: Now) -> Answer {
        self.line.retain(|w| w.owner != to.owner);
        // Those who share a turn share its fence.
        if to.mode != Mode::Shared || self.tenants.is_empty() {
            // The clock term lets a record be dropped a day after its last use, and
            // keeps fences rising when data was lost while the clock is sane.
            self.fence = (self.fence + 1).max(now.wall_micros);
        }
        let slots = || 0..u32::MAX;
        let slot = slots().find(|slot| self.tenants.iter().all(|t| t.slot != *slot)).unwrap_or(0);
        let tenant = Tenant {
            owner: to.owner,
            client: to.client,
            label: to.label,
            mode: to.mode,
            fence: self.fence,
            slot: if matches!(to.mode, Mode::Counted { .. }) { slot } else { 0 },
            since: now.instant,
            expires: now.instant + to.ttl,
        };
        let granted = tenant.granted();
        self.tenants.push(tenant);
        granted
    }

    /// Hand the lock, if there is room, to the first of the line for a while; never
    /// for longer than its ttl, to which the next renewal would cut it down.
    pub(super) fn hand_on(&mut self, window: Duration, now: Now) -> Option<(Waiter, Answer)> {
        self.expire(now.instant);
        let mut first = self.next_in_line()?.clone();
        first.ttl = first.ttl.min(window);
        let granted = self.grant(first.clone(), now);
        Some((first, granted))
    }

    /// Whether `owner` held the lock and so has its ttl restarted.
    pub(super) fn renew(&mut self, owner: Owner, ttl: Duration, now: Instant) -> bool {
        self.expire(now);
        let Some(tenant) = self.tenant(owner) else { return false };
        tenant.expires = now + ttl;
        true
    }

    /// Whether `owner` holds the lock and so shows another label.
    pub(super) fn relabel(&mut self, owner: Owner, label: &Arc<str>, now: Instant) -> bool {
        self.expire(now);
        let Some(tenant) = self.tenant(owner) else { return false };
        tenant.label = label.clone();
        true
    }

    /// Make `to` the holder in the place of `from`, as part of `client`; no if neither
    /// of them holds it.
    pub(super) fn transfer(
        &mut self,
        from: Owner,
        to: &Claim,
        client: Address,
        now: Instant,
    ) -> bool {
        self.expire(now);
        if let Some(tenant) = self.tenant(to.owner) {
            tenant.expires = now + to.ttl;
            return true;
        }
        let Some(tenant) = self.tenant(from) else { return false };
        (tenant.owner, tenant.client, tenant.label) = (to.owner, client, to.label.clone());
        tenant.expires = now + to.ttl;
        true
    }

    /// Give back what `owner` holds; answers whether it did.
    pub(super) fn release(&mut self, owner: Owner, now: Instant) -> bool {
        self.expire(now);
        let before = self.tenants.len();
        self.tenants.retain(|tenant| tenant.owner != owner);
        self.tenants.len() < before
    }

    /// Give back what `owner` holds alone, and let the lock rest; answers whether it did.
    /// Whose rest it is has no process whose death could end it.
    pub(super) fn rest(&mut self, owner: Owner, rest: Rest, now: Instant) -> bool {
        self.expire(now);
        let Some(tenant) = self.tenant(owner) else { return false };
        (tenant.owner, tenant.client) = (Owner::NOBODY, rest.client);
        (tenant.since, tenant.expires) = (now, now + rest.lasts);
        true
    }

    /// Hand the lock, just released, to `then`, ahead of the line.
    pub(super) fn hand_over(&mut self, then: &Claim, from: Address, now: Now) -> Answer {
        match self.tenants.is_empty() {
            true => self.grant(Waiter::of(then, from), now),
            false => self.claim(then, from, now),
        }
    }

    pub(super) fn withdraw(&mut self, owner: Owner, now: Instant) {
        self.release(owner, now);
        self.line.retain(|w| w.owner != owner);
    }

    /// Whom to wake: the first of the line, when there is room for it.
    pub(super) fn next_in_line(&self) -> Option<&Waiter> {
        self.line.front().filter(|first| self.has_room(first.mode))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.tenants.is_empty() && self.line.is_empty()
    }

    /// Whether nobody needs the record any more. A fence is at least the wall
    /// clock of its grant, so it tells the age.
    pub(super) fn is_forgettable(&self, wall_micros: u64) -> bool {
        let age = Duration::from_micros(wall_micros.saturating_sub(self.fence));
        self.is_idle() && age >= FORGET_AFTER
    }

    pub(super) fn status(&self, name: &LockName, now: Instant) -> Status {
        let holder = |tenant: &Tenant| Holder {
            label: tenant.label.clone(),
            mode: tenant.mode,
            slot: tenant.slot,
            fence: tenant.fence,
            held_for: now.since(tenant.since),
            free_in: tenant.expires.since(now),
            resting: tenant.owner == Owner::NOBODY,
        };
        let holders = self.tenants.iter().map(holder).collect();
        let waiters = self.line.iter().map(|w| w.label.clone()).collect();
        Status { name: name.clone(), fence: self.fence, holders, waiters }
    }
}

impl Tenant {
    fn granted(&self) -> Answer {
        Answer::Granted { fence: self.fence, slot: self.slot, term: None }
    }
}

impl Waiter {
    fn of(claim: &Claim, client: Address) -> Self {
        Self {
            owner: claim.owner,
            client,
            label: claim.label.clone(),
            mode: claim.mode,
            ttl: claim.ttl,
            until: Instant::from_nanos(0),
        }
    }
}

/// The owners that were released or withdrawn last, so that a claim of theirs
/// that comes late is known for what it is.
#[derive(Debug, Default)]
pub(super) struct Retired {
    order: VecDeque<Owner>,
    set: HashSet<Owner>,
}

impl Retired {
    /// A late claim would have to be overtaken by this many retirements.
    const KEPT: usize = 4096;

    pub(super) fn insert(&mut self, owner: Owner) {
        if !self.set.insert(owner) {
            return;
        }
        self.order.push_back(owner);
        if self.order.len() > Self::KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, owner: Owner) -> bool {
        self.set.contains(&owner)
    }
}
