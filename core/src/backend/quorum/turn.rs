//! Those who share one lock on one node: plain transitions, the same as
//! `lua/vote_share.lua` and its neighbours do on a Redis server.
//!
//! All who share at the same time are one holder, whose name is the number of their
//! *turn*. A node has one turn at a time. Somebody shares the lock while a majority has
//! them in one and the same turn, and that is their fence. So what is true of those who
//! are alone is true of turns: no two are held at once, nor one beside a holder who is
//! alone, and each is larger than all that were held before. The protocol was worked out,
//! and looked at to the end, in `tests/model`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::node::{Ask, CLAMP, Ends, Kept, Return, Role, Vote, Vow};
use super::slot::{Address, Micros, OLDEST, Slot, Waiter, micros};
use crate::backend::{Holder, Mode};
use crate::name::Owner;

/// What a node knows of those who share the lock.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The fence of all who share; of nobody, 0.
    pub(super) number: u64,
    /// Votes may join it.
    is_open: bool,
    shares: BTreeMap<Owner, Share>,
    /// The largest ballot that anybody who shared gave back.
    returned: u64,
}

#[derive(Debug)]
struct Share {
    /// The largest that it came with.
    ballot: u64,
    client: Address,
    label: Arc<str>,
    since: Micros,
    expires: Micros,
}

impl Turn {
    /// Drop what time has ended. A turn is over when its last share is.
    pub(super) fn expire(&mut self, now: Micros) {
        self.shares.retain(|_, share| share.expires > now);
        if self.shares.is_empty() {
            self.number = 0;
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.shares.is_empty()
    }

    /// Whether votes may join, where the node's last quarantine was long ago.
    pub(super) fn is_open(&self) -> bool {
        self.is_alive() && self.is_open
    }

    pub(super) fn has(&self, owner: Owner) -> bool {
        self.shares.contains_key(&owner)
    }

    /// When the last of them ends.
    pub(super) fn ends_in(&self, now: Micros) -> Duration {
        let last = self.shares.values().map(|share| share.expires).max().unwrap_or_default();
        Duration::from_micros(last.saturating_sub(now))
    }

    fn begin(&mut self, number: u64, is_open: bool) {
        (self.number, self.is_open) = (number, is_open);
        self.shares.clear();
    }

    /// No share is begun by this ballot or a smaller one. A record can be forgotten.
    fn spent(&self, now: Micros) -> u64 {
        self.returned.max(now.saturating_sub(OLDEST))
    }

    fn take(&mut self, owner: Owner, share: Share) {
        if let Some(known) = self.shares.get_mut(&owner) {
            known.ballot = known.ballot.max(share.ballot);
            known.expires = share.expires;
            // One without a label is not known any more.
            if !share.label.is_empty() {
                known.label = share.label;
            }
        } else {
            self.shares.insert(owner, share);
        }
    }

    /// End the share of this owner; answers it.
    fn end(&mut self, owner: Owner) -> Option<Share> {
        let share = self.shares.remove(&owner)?;
        if self.shares.is_empty() {
            self.number = 0;
        }
        Some(share)
    }

    /// Take the lock from all of them; answers the turn, and whom to tell. None of them
    /// comes back by what it has sent before.
    pub(super) fn evict(&mut self) -> (u64, Vec<Address>) {
        let number = std::mem::take(&mut self.number);
        let shares = std::mem::take(&mut self.shares);
        let largest = shares.values().map(|share| share.ballot).max().unwrap_or_default();
        self.returned = self.returned.max(largest);
        (number, shares.values().map(|share| share.client).collect())
    }

    pub(super) fn look(&self, now: Micros) -> Vec<(Owner, Holder)> {
        let holder = |(owner, share): (&Owner, &Share)| {
            let holder = Holder {
                label: share.label.clone(),
                mode: Mode::Shared,
                slot: 0,
                fence: self.number,
                held_for: Duration::from_micros(now.saturating_sub(share.since)),
                free_in: Duration::from_micros(share.expires - now),
                resting: false,
            };
            (*owner, holder)
        };
        self.shares.iter().map(holder).collect()
    }
}

impl Slot {
    /// A vote on who would share the lock. `floor` is the end of the node's last
    /// quarantine, which is over.
    pub(super) fn vote_shared(
        &mut self,
        ask: &Ask,
        from: Address,
        floor: Micros,
        now: Micros,
    ) -> Vote {
        let owner = ask.claim.owner;
        let place = self.line.iter().position(|waiter| waiter.owner == owner);
        let ahead = self.ahead_of_sharer(place);
        if self.tenant.is_some() {
            self.queue(ask, from, place, now);
            return self.busy(ahead, now);
        }
        if ask.ballot > now + micros(CLAMP) {
            return Vote::Ahead;
        }
        let (turn, spent) = (&self.turn, self.turn.spent(now));
        let joined = turn.has(owner);
        if turn.is_alive() {
            if ask.wanted.is_some_and(|wanted| wanted != turn.number) {
                return Vote::Other { turn: turn.number };
            }
            let is_closed = !turn.is_open || turn.number <= floor;
            if is_closed || !joined && !self.is_turn(ask, ahead, now) {
                self.queue(ask, from, place, now);
                return match ask.role {
                    Role::Newcomer if !is_closed => Vote::Reserved { ahead },
                    _ => self.busy(ahead, now),
                };
            }
            if !joined && ask.ballot <= spent {
                return Vote::Stale { above: spent };
            }
        } else {
            if !self.is_turn(ask, ahead, now) {
                self.queue(ask, from, place, now);
                return Vote::Reserved { ahead };
            }
            if let Some(above) = self.keeps_from_beginning(ask, spent, floor, now) {
                return Vote::Stale { above };
            }
            let number = ask.wanted.unwrap_or(ask.ballot);
            self.turn.begin(number, true);
            self.stored = number;
        }
        self.reserve(ask, now);
        self.line.retain(|waiter| waiter.owner != owner);
        let (label, expires) = (ask.claim.label.clone(), now + micros(ask.claim.ttl));
        let share = Share { ballot: ask.ballot, client: from, label, since: now, expires };
        self.turn.take(owner, share);
        Vote::Granted { waiting: self.line.len(), fence: self.turn.number }
    }

    /// What the ballot must exceed to begin the turn, if it does not.
    fn keeps_from_beginning(
        &self,
        ask: &Ask,
        spent: u64,
        floor: Micros,
        now: Micros,
    ) -> Option<u64> {
        let least = self.stored.max(floor).max(now.saturating_sub(OLDEST));
        let wanted = ask.wanted.unwrap_or(ask.ballot);
        let begins = ask.ballot > spent && wanted > least && wanted <= ask.ballot;
        // Who wants a turn that is too old asks for none the next time, who wants one that
        // is too new by a larger ballot.
        let exceeds = if wanted > ask.ballot { wanted } else { 0 };
        (!begins).then(|| spent.max(least).max(exceeds))
    }

    /// How many stand before one who would share the lock, if any of them would not: the
    /// others come in together with it.
    fn ahead_of_sharer(&self, place: Option<usize>) -> usize {
        let ahead = place.unwrap_or(self.line.len());
        if self.line.iter().take(ahead).all(|waiter| waiter.mode.is_shared()) { 0 } else { ahead }
    }

    /// Answers whether it shared the lock.
    pub(super) fn give_back_shared(&mut self, back: &Return, now: Micros) -> bool {
        let stays =
            |share: &Share| matches!(back.what, Ends::Vote { .. }) && share.ballot > back.ballot;
        // The same attempt may have asked again, by a larger ballot, and this be late.
        let stays = self.turn.shares.get(&back.owner).is_some_and(stays);
        let had = if stays { None } else { self.turn.end(back.owner) };
        let held = had.is_some();
        // One that is too far ahead was granted by nobody, and would keep all out.
        if held || back.ballot <= now + micros(CLAMP) {
            self.turn.returned = self.turn.returned.max(back.ballot);
        }
        match (back.what, had) {
            (Ends::Lease | Ends::Attempt, _) => self.line.retain(|w| w.owner != back.owner),
            (Ends::Vote { place: Some(keep) }, Some(Share { client, label, .. })) => {
                self.line.retain(|waiter| waiter.owner != back.owner);
                let (owner, mode, until) = (back.owner, Mode::Shared, now + micros(keep));
                self.line.push_front(Waiter { owner, client, label, mode, until });
            }
            _ => {}
        }
        held
    }

    /// `open`: the node is not in quarantine.
    pub(super) fn renew_shared(
        &mut self,
        vow: &Vow,
        from: Address,
        open: bool,
        now: Micros,
    ) -> Kept {
        let (claim, turn) = (&vow.claim, &mut self.turn);
        let (label, expires) = (claim.label.clone(), now + micros(claim.ttl));
        let share = Share { ballot: vow.ballot, client: from, label, since: now, expires };
        if turn.has(claim.owner) {
            if turn.number == vow.fence {
                turn.take(claim.owner, share);
                return Kept::Yes;
            }
            // What it shares here is no part of its lease.
            turn.end(claim.owner);
        }
        let is_spent = vow.ballot <= turn.spent(now) || vow.fence <= self.freed;
        let is_other = turn.is_alive() && turn.number != vow.fence;
        let too_far = vow.ballot > now + micros(CLAMP);
        if self.tenant.is_some() || is_other || !open || is_spent || too_far {
            return Kept::No;
        }
        if !turn.is_alive() {
            // It may be older than a lease of one who was alone: nobody else is to be let
            // into a turn from before that.
            let least = self.stored.max(now.saturating_sub(OLDEST));
            turn.begin(vow.fence, vow.fence >= least);
            self.stored = self.stored.max(vow.fence);
        }
        turn.take(claim.owner, share);
        Kept::TakenIn
    }
}
