//! One lock on one node: plain transitions; storage is somebody else's. The
//! same as `lua/vote.lua` and its neighbours do on a Redis server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::node::{Ask, CLAMP, Ends, Kept, Return, Role, Seen, Vote, Vow};
use super::turn::Turn;
use crate::backend::{Holder, Mode};
use crate::name::{LockName, Owner};

/// The address of a client on its node.
pub(super) type Address = u64;

/// Microseconds of the node's wall clock, by which it does everything.
pub(super) type Micros = u64;

/// A ballot older than this is stale, so that a record can be forgotten later
/// than that after its last use.
pub(super) const OLDEST: Micros = 12 * 3_600_000_000;

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The largest ballot that was granted or used up.
    pub(super) stored: u64,
    /// The largest ballot of a lease that was released, or turn that was broken.
    pub(super) freed: u64,
    /// Who is alone.
    pub(super) tenant: Option<Tenant>,
    pub(super) turn: Turn,
    pub(super) line: VecDeque<Waiter>,
    /// Until when the line that is kept on another node is known to live.
    reserved_until: Micros,
}

#[derive(Debug)]
pub(super) struct Tenant {
    owner: Owner,
    ballot: u64,
    pub(super) client: Address,
    label: Arc<str>,
    expires: Micros,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) owner: Owner,
    pub(super) client: Address,
    pub(super) label: Arc<str>,
    pub(super) mode: Mode,
    pub(super) until: Micros,
}

impl Slot {
    /// Drop what time has ended. Every transition does this first.
    fn expire(&mut self, now: Micros) {
        self.tenant.take_if(|tenant| tenant.expires <= now);
        self.turn.expire(now);
        self.line.retain(|waiter| waiter.until > now);
    }

    /// `floor` is the end of the node's last quarantine, which is over.
    pub(super) fn vote(&mut self, ask: &Ask, from: Address, floor: Micros, now: Micros) -> Vote {
        self.expire(now);
        if ask.claim.mode.is_shared() {
            return self.vote_shared(ask, from, floor, now);
        }
        let stored = self.stored.max(floor);
        if let Some(tenant) = self.tenant.as_mut().filter(|t| t.owner == ask.claim.owner) {
            if ask.ballot != tenant.ballot {
                if ask.ballot <= stored {
                    return Vote::Stale { above: stored };
                }
                if ask.ballot > now + micros(CLAMP) {
                    return Vote::Ahead;
                }
            }
            (tenant.ballot, self.stored) = (ask.ballot, self.stored.max(ask.ballot));
            tenant.expires = now + micros(ask.claim.ttl);
            return Vote::Granted { waiting: self.line.len(), fence: ask.ballot };
        }
        let place = self.line.iter().position(|w| w.owner == ask.claim.owner);
        let ahead = place.unwrap_or(self.line.len());
        let is_free = self.is_free();
        if is_free && self.is_turn(ask, ahead, now) {
            return self.grant(ask, from, floor, now);
        }
        self.queue(ask, from, place, now);
        if is_free { Vote::Reserved { ahead } } else { self.busy(ahead, now) }
    }

    /// Nobody holds it, neither alone nor with others.
    fn is_free(&self) -> bool {
        self.tenant.is_none() && !self.turn.is_alive()
    }

    pub(super) fn busy(&self, ahead: usize, now: Micros) -> Vote {
        let free_in = match &self.tenant {
            Some(tenant) => Duration::from_micros(tenant.expires - now),
            None => self.turn.ends_in(now),
        };
        Vote::Busy { holder: self.holder(), free_in: Some(free_in), ahead }
    }

    /// The ballot of who is alone, or the turn of those who share it; of nobody, zero.
    pub(super) fn holder(&self) -> u64 {
        self.tenant.as_ref().map_or(self.turn.number, |tenant| tenant.ballot)
    }

    pub(super) fn is_turn(&self, ask: &Ask, ahead: usize, now: Micros) -> bool {
        match ask.role {
            Role::Arbiter => ahead == 0,
            Role::Newcomer => ahead == 0 && self.reserved_until <= now,
            Role::First { .. } => true,
        }
    }

    fn grant(&mut self, ask: &Ask, from: Address, floor: Micros, now: Micros) -> Vote {
        let above = self.stored.max(floor).max(now.saturating_sub(OLDEST));
        if ask.ballot <= above {
            return Vote::Stale { above };
        }
        if ask.ballot > now + micros(CLAMP) {
            return Vote::Ahead;
        }
        self.line.retain(|w| w.owner != ask.claim.owner);
        self.reserve(ask, now);
        self.stored = ask.ballot;
        self.tenant = Some(Tenant {
            owner: ask.claim.owner,
            ballot: ask.ballot,
            client: from,
            label: ask.claim.label.clone(),
            expires: now + micros(ask.claim.ttl),
        });
        Vote::Granted { waiting: self.line.len(), fence: ask.ballot }
    }

    /// Note that others wait in the line on another node.
    pub(super) fn reserve(&mut self, ask: &Ask, now: Micros) {
        // Not the reverse: who came since they were counted would be forgotten.
        if let (Role::First { waiting: 1.. }, Some(keep)) = (ask.role, ask.claim.place) {
            self.reserved_until = now + micros(keep);
        }
    }

    /// Take a place, or note that there is a line elsewhere.
    pub(super) fn queue(&mut self, ask: &Ask, from: Address, place: Option<usize>, now: Micros) {
        let Some(keep) = ask.claim.place else { return };
        let until = now + micros(keep);
        match (ask.role, place) {
            (Role::Arbiter, Some(at)) => self.line[at].until = until,
            (Role::Arbiter, None) => self.line.push_back(Waiter {
                owner: ask.claim.owner,
                client: from,
                label: ask.claim.label.clone(),
                mode: ask.claim.mode,
                until,
            }),
            _ => self.reserved_until = self.reserved_until.max(until),
        }
    }

    /// Answers whether it was held, and the vote on the next. `floor` as above, or
    /// how long the quarantine lasts.
    pub(super) fn give_back(
        &mut self,
        back: &Return,
        from: Address,
        floor: Result<Micros, Duration>,
        now: Micros,
    ) -> (bool, Option<Vote>) {
        self.expire(now);
        let held = match back.mode {
            Mode::Exclusive => self.give_back_alone(back, now),
            _ => self.give_back_shared(back, now),
        };
        let next = back.next.as_ref().map(|next| match floor {
            // Who held it says whose turn it is.
            Ok(floor) if held => self.grant(next, from, floor, now),
            Ok(floor) => self.vote(next, from, floor, now),
            Err(ends_in) => Vote::Quarantined { ends_in },
        });
        (held, next)
    }

    fn give_back_alone(&mut self, back: &Return, now: Micros) -> bool {
        // The same attempt may have asked again, by a larger ballot, and this be late.
        let is_meant = |t: &mut Tenant| t.owner == back.owner && t.ballot <= back.ballot;
        let had = self.tenant.take_if(is_meant);
        let held = had.is_some();
        // A ballot that is too far ahead was granted by nobody, and would keep
        // all others out.
        if back.ballot <= now + micros(CLAMP) {
            self.stored = self.stored.max(back.ballot);
            if back.what == Ends::Lease {
                self.freed = self.freed.max(back.ballot);
            }
        }
        match (back.what, had) {
            (Ends::Lease | Ends::Attempt, _) => self.line.retain(|w| w.owner != back.owner),
            (Ends::Vote { place: Some(keep) }, Some(had)) => self.put_back(had, now + micros(keep)),
            _ => {}
        }
        held
    }

    /// It was its turn, and still is: only the other nodes do not know it yet.
    fn put_back(&mut self, had: Tenant, until: Micros) {
        let Tenant { owner, client, label, .. } = had;
        self.line.retain(|w| w.owner != owner);
        self.line.push_front(Waiter { owner, client, label, mode: Mode::Exclusive, until });
    }

    /// `open`: the node is not in quarantine.
    ///
    /// A lease that is renewed is held on a majority, so nobody else is the
    /// holder, and whoever is refused here is refused there too. Its ballot need
    /// not be larger than those of attempts that failed; only one that was
    /// released is never taken in again.
    pub(super) fn renew(&mut self, vow: &Vow, from: Address, open: bool, now: Micros) -> Kept {
        self.expire(now);
        if vow.claim.mode.is_shared() {
            return self.renew_shared(vow, from, open, now);
        }
        let claim = &vow.claim;
        let expires = now + micros(claim.ttl);
        if let Some(tenant) = &mut self.tenant {
            if tenant.owner != claim.owner {
                return Kept::No;
            }
            tenant.expires = expires;
            // One without a label is not known any more.
            if !claim.label.is_empty() {
                tenant.label = claim.label.clone();
            }
            // It may have been granted by an earlier ballot of the attempt.
            tenant.ballot = tenant.ballot.max(vow.ballot);
            self.stored = self.stored.max(vow.ballot);
            return Kept::Yes;
        }
        if !open || vow.ballot <= self.freed || self.turn.is_alive() {
            return Kept::No;
        }
        self.stored = self.stored.max(vow.ballot);
        let (owner, label) = (claim.owner, claim.label.clone());
        self.tenant = Some(Tenant { owner, ballot: vow.ballot, client: from, label, expires });
        Kept::TakenIn
    }

    /// Take it from who holds it by this ballot or turn or a smaller one; those are over,
    /// whether they were here or not. Answers the clients of those who held it.
    pub(super) fn evict(&mut self, up_to: u64, now: Micros) -> Vec<Address> {
        self.expire(now);
        let mut clients = Vec::new();
        if self.turn.is_alive() && self.turn.number <= up_to {
            let turn;
            (turn, clients) = self.turn.evict();
            self.freed = self.freed.max(turn);
        }
        if let Some(tenant) = self.tenant.take_if(|tenant| tenant.ballot <= up_to) {
            self.freed = self.freed.max(tenant.ballot);
            clients.push(tenant.client);
        }
        // One that is too far ahead was granted by nobody, and would keep all out.
        if up_to <= now + micros(CLAMP) {
            // Neither a renewal nor a late vote brings it back.
            self.freed = self.freed.max(up_to);
            self.stored = self.stored.max(up_to);
        }
        clients
    }

    /// Whose turn it is at this moment: the first of the line when nobody holds the lock,
    /// and where it is shared all up to the first who would not share it.
    pub(super) fn next(&self) -> Vec<(Owner, Address)> {
        let next = |waiter: &Waiter| (waiter.owner, waiter.client);
        if self.is_free() {
            return self.line.front().map(next).into_iter().collect();
        }
        if self.tenant.is_some() || !self.turn.is_open() {
            return Vec::new();
        }
        self.line.iter().take_while(|waiter| waiter.mode.is_shared()).map(next).collect()
    }

    /// Its client cannot hear us: it is dead.
    pub(super) fn drop_dead(&mut self, owner: Owner) {
        self.line.retain(|waiter| waiter.owner != owner);
    }

    pub(super) fn waiting(&self) -> usize {
        self.line.len()
    }

    pub(super) fn forget_line(&mut self) {
        self.line.clear();
        self.reserved_until = 0;
    }

    /// Who holds it alone, who shares it, and who waits.
    pub(super) fn look(&mut self, name: LockName, now: Micros) -> Seen {
        self.expire(now);
        let holder = self.tenant.as_ref().map(|tenant| {
            let holder = Holder {
                label: tenant.label.clone(),
                mode: Mode::Exclusive,
                slot: 0,
                fence: tenant.ballot,
                held_for: Duration::from_micros(now.saturating_sub(tenant.ballot)),
                free_in: Duration::from_micros(tenant.expires - now),
                resting: false,
            };
            (tenant.ballot, holder)
        });
        // It may have been taken in by a renewal while it stood in line here.
        let owner = self.tenant.as_ref().map(|tenant| tenant.owner);
        let holds = |waiting: Owner| Some(waiting) == owner || self.turn.has(waiting);
        let waiters = self.line.iter().filter(|waiter| !holds(waiter.owner));
        let waiters = waiters.map(|waiter| waiter.label.clone()).collect();
        Seen { name, holder, sharers: self.turn.look(now), waiters }
    }
}

pub(super) fn micros(span: Duration) -> Micros {
    u64::try_from(span.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX / 4)
}
