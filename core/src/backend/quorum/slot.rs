//! One lock on one node: plain transitions; storage is somebody else's. The
//! same as `lua/vote.lua` and its neighbours do on a Redis server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::node::{Ask, CLAMP, Ends, Kept, Return, Role, Vote, Vow};
use crate::backend::{Holder, Mode};
use crate::name::Owner;

/// The address of a client on its node.
pub(super) type Address = u64;

/// Microseconds of the node's wall clock, by which it does everything.
type Micros = u64;

/// A ballot older than this is stale, so that a record can be forgotten later
/// than that after its last use.
const OLDEST: Micros = 12 * 3_600_000_000;

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The largest ballot that was granted or used up.
    stored: u64,
    /// The largest ballot of a lease that was released.
    freed: u64,
    tenant: Option<Tenant>,
    line: VecDeque<Waiter>,
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
    label: Arc<str>,
    until: Micros,
}

impl Slot {
    /// Drop what time has ended. Every transition does this first.
    fn expire(&mut self, now: Micros) {
        self.tenant.take_if(|tenant| tenant.expires <= now);
        self.line.retain(|waiter| waiter.until > now);
    }

    /// `floor` is the end of the node's last quarantine, which is over.
    pub(super) fn vote(&mut self, ask: &Ask, from: Address, floor: Micros, now: Micros) -> Vote {
        self.expire(now);
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
            return Vote::Granted { waiting: self.line.len() };
        }
        let place = self.line.iter().position(|w| w.owner == ask.claim.owner);
        let ahead = place.unwrap_or(self.line.len());
        if self.tenant.is_none() && self.is_turn(ask, ahead, now) {
            return self.grant(ask, from, floor, now);
        }
        self.queue(ask, from, place, now);
        match &self.tenant {
            None => Vote::Reserved { ahead },
            Some(tenant) => {
                let free_in = Some(Duration::from_micros(tenant.expires - now));
                Vote::Busy { holder: tenant.ballot, free_in, ahead }
            }
        }
    }

    fn is_turn(&self, ask: &Ask, ahead: usize, now: Micros) -> bool {
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
        // Not the reverse: who came since they were counted would be forgotten.
        if let (Role::First { waiting: 1.. }, Some(keep)) = (ask.role, ask.claim.place) {
            self.reserved_until = now + micros(keep);
        }
        self.stored = ask.ballot;
        self.tenant = Some(Tenant {
            owner: ask.claim.owner,
            ballot: ask.ballot,
            client: from,
            label: ask.claim.label.clone(),
            expires: now + micros(ask.claim.ttl),
        });
        Vote::Granted { waiting: self.line.len() }
    }

    /// Take a place, or note that there is a line elsewhere.
    fn queue(&mut self, ask: &Ask, from: Address, place: Option<usize>, now: Micros) {
        let Some(keep) = ask.claim.place else { return };
        let until = now + micros(keep);
        match (ask.role, place) {
            (Role::Arbiter, Some(at)) => self.line[at].until = until,
            (Role::Arbiter, None) => self.line.push_back(Waiter {
                owner: ask.claim.owner,
                client: from,
                label: ask.claim.label.clone(),
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
        let next = back.next.as_ref().map(|next| match floor {
            // Who held it says whose turn it is.
            Ok(floor) if held => self.grant(next, from, floor, now),
            Ok(floor) => self.vote(next, from, floor, now),
            Err(ends_in) => Vote::Quarantined { ends_in },
        });
        (held, next)
    }

    /// It was its turn, and still is: only the other nodes do not know it yet.
    fn put_back(&mut self, had: Tenant, until: Micros) {
        let Tenant { owner, client, label, .. } = had;
        self.line.retain(|w| w.owner != owner);
        self.line.push_front(Waiter { owner, client, label, until });
    }

    /// `open`: the node is not in quarantine.
    ///
    /// A lease that is renewed is held on a majority, so nobody else is the
    /// holder, and whoever is refused here is refused there too. Its ballot need
    /// not be larger than those of attempts that failed; only one that was
    /// released is never taken in again.
    pub(super) fn renew(&mut self, vow: &Vow, from: Address, open: bool, now: Micros) -> Kept {
        self.expire(now);
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
        if !open || vow.ballot <= self.freed {
            return Kept::No;
        }
        self.stored = self.stored.max(vow.ballot);
        let (owner, label) = (claim.owner, claim.label.clone());
        self.tenant = Some(Tenant { owner, ballot: vow.ballot, client: from, label, expires });
        Kept::TakenIn
    }

    /// Answers who held it.
    pub(super) fn evict(&mut self, now: Micros) -> Option<Tenant> {
        self.expire(now);
        let tenant = self.tenant.take()?;
        self.freed = self.freed.max(tenant.ballot);
        Some(tenant)
    }

    /// Whose turn it is, when nobody holds the lock, and how many wait behind.
    pub(super) fn turn(&self) -> Option<(&Waiter, usize)> {
        let first = self.line.front().filter(|_| self.tenant.is_none())?;
        Some((first, self.line.len() - 1))
    }

    /// The first of the line cannot hear us: it is dead.
    pub(super) fn drop_first(&mut self) {
        self.line.pop_front();
    }

    pub(super) fn waiting(&self) -> usize {
        self.line.len()
    }

    pub(super) fn forget_line(&mut self) {
        self.line.clear();
        self.reserved_until = 0;
    }

    /// Who holds, and who waits.
    #[allow(clippy::type_complexity)] // the two halves of `Seen`
    pub(super) fn look(&mut self, now: Micros) -> (Option<(u64, Holder)>, Vec<Arc<str>>) {
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
        let waiters = self.line.iter().filter(|waiter| Some(waiter.owner) != owner);
        (holder, waiters.map(|waiter| waiter.label.clone()).collect())
    }
}

fn micros(span: Duration) -> Micros {
    u64::try_from(span.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX / 4)
}
