//! One node again: those who share the lock. And the protocol of sharing, from
//! which the library is to be written; names in parentheses are rules.
//!
//! # The idea
//! All who share at the same time are one holder, whose name is the number of
//! their *turn*. A node has one turn at a time, as it has one holder. Somebody
//! shares the lock while a quorum has them in one and the same turn, and that is
//! their fence. So everything that is true of holders who are alone is true of
//! turns: no two are held at once, nor one beside a holder who is alone, and each
//! is larger than all that were held before.
//!
//! # What a node knows
//! As before: `stored`, `freed`, the holder who is alone, the end of the
//! quarantine. None of its answers to those who are alone changes, but that they
//! find it busy while anybody shares, with their votes (`WriterWaits`) and their
//! renewals (`NoHealAmongReaders`). In Redis the lock's key exists as long as the
//! last share and is no owner's: the scripts for those who are alone stay as they
//! are. In addition:
//!
//! * `turn`: the number of the turn, whether it is *open* to votes, and the
//!   *shares*: by owner, the largest ballot it came with, and when it expires. A
//!   turn is over when its last share is. A new turn, and a holder who is alone,
//!   begin with none of the old shares.
//! * `returned`: the largest ballot that anybody who shared gave back. `stored`
//!   does not rise by these, and `returned` not by those who are alone.
//! * `floor`: the end of the quarantine. Up to it no turn is begun, and none is
//!   joined: a node may have come back with an older record, in which a turn lives
//!   that was over. Where records are forgotten, `floor` and
//!   `returned` are never less than the age of what may have been (12 h before now).
//!
//! A ballot has two uses. It numbers a client's messages, so that those from
//! before a return are known by it. And it is the number of the turn that it
//! begins. Many who join a turn do not outbid each other.
//!
//! # Messages to a node
//! **Vote** (owner, ballot T, the wanted turn or none). The first that fits:
//!
//! 1. In quarantine: `Quarantined` (`Quarantine`). Somebody is alone: `Busy`
//!    (`ReaderWaits`). T is more than the clamp ahead: `Ahead` (`Clamp`).
//! 2. Anybody shares, another turn than the wanted: `Other` with the turn
//!    (`TurnStays`); nothing changes.
//! 3. Anybody shares, and the turn is closed or not above the floor: `Busy`
//!    (`OldTurnsAreClosed`).
//! 4. The owner shares: its share has the larger of its ballot and T, and expires
//!    a ttl from now. `Granted` with the turn.
//! 5. Others share: if T <= `returned`, `Stale` (`JoinIsUnspent`); else the owner
//!    has a share, and `Granted` with the turn.
//! 6. Nobody shares: if T <= `returned`, `Stale` (`JoinIsUnspent`). The turn is to
//!    be the wanted or else T, never more than T; if it is not above `stored`
//!    (`TurnsRise`) and the floor (`Floor`), `Stale`. Else it begins, open, with
//!    this share; `stored` is its number; `Granted` with the turn.
//!
//! **Return** (owner, ballot T) of a lease or an attempt. The owner's share ends,
//! nobody else's (`OwnShareOnly`); `returned` is T if that is larger (`Burn`). **Return of
//! a round**: the same, but a share that came by a larger ballot stays
//! (`ReturnOfItsRound`).
//!
//! **Renewal** (owner, ballot T, fence):
//!
//! 1. The owner shares in the turn that is its fence: as 4 above, also in
//!    quarantine. `Kept`. In another turn: that share ends, being no part of the
//!    lease, and we go on.
//! 2. `No`, if somebody is alone (`NoHealBesideWriter`), if anybody
//!    shares in another turn (`RenewalOfItsTurn`), in quarantine
//!    (`NoHealInQuarantine`), if T <= `returned` (`FreedStaysFree`), or if T is
//!    beyond the clamp (`Clamp`).
//! 3. Others share in that turn, open or closed: it joins them. `TakenIn`.
//! 4. Nobody shares: the turn begins anew with this share, and `stored` is at
//!    least its number. It is closed if that was below `stored` before
//!    (`OldTurnsAreClosed`): the renewal may be older than a writer's lease, and
//!    nobody else is to be let into a turn from before it. `TakenIn`.
//!
//! # What a client does
//! * It takes a ballot as for an exclusive lock, larger than all that it has sent
//!   for this owner, and sends votes to all nodes, at first without a wanted turn.
//!   Held when q nodes have granted in this round (`AnswersOfThisRound`), before
//!   the deadline by a second reading of the clock (`SecondReading`), and all of
//!   these told the same turn (`OneTurn`): the fence.
//! * Where the nodes have begun different turns and none has a quorum, it chooses
//!   one: that of most nodes, of several the largest. It gives the round back where
//!   another was told, and asks all for the chosen one, by a larger ballot. Who
//!   knows that others wait asks the arbiter first, and then the others for the
//!   arbiter's turn, by the same ballot. If the chosen turn is `Stale`, or too few
//!   nodes are in it, it gives back all that it has and starts anew without, and does
//!   not choose that turn again: else turns could go on for nobody but those who ask
//!   for them. What is wanted decides nothing about safety: any number will do.
//! * A renewal carries the fence and a ballot, which should be chosen anew each
//!   time: what others give back is above an old one, and would keep it from nodes
//!   that do not have it yet. It counts as all renewals do: a quorum kept it or
//!   took it in, in time (`RenewalInTime`). A node where the lease is in another
//!   turn does not count.
//! * It gives back by the largest ballot that it has sent with a vote *or a
//!   renewal* (`LargestIsReturned`).
//!
//! # What is promised
//! Who is alone is the only holder. All who share at the same time have the same
//! fence. Who becomes a holder alone has a fence larger than all before; who
//! becomes one that shares, larger than those of all who were alone before, and
//! not smaller than any that was shared. No share comes back after its return.
//!
//! # What is not
//! * That a turn can always be joined. On a node that lost its shares (restarted,
//!   or out of reach for a ttl) and was granting or burning larger ballots, or was in
//!   quarantine, the turn is closed. Where that is so on too many nodes, who comes
//!   wait until all who share have ended, as behind a writer. Nobody can join in
//!   between, so it ends when they do.
//! * That who races others to begin a turn has it in one round trip.
//! * That a lease is healed on a node where others give back larger ballots; it is
//!   by its next renewal, if that has a larger one.
//! * Order, and that writers do not starve: that is for the line, at the arbiter. A
//!   node may answer `Busy` at any time, or close its turn.
//!
//! # Not in the model
//! A ballot that is given back and beyond the clamp is noted only where there was a
//! share to end: else nobody granted it, and it would keep others out.
//!
//! Evicting those who share must leave a mark by *turn*, as their next renewal comes
//! with a larger ballot: `freed` = the turn, and no renewal of a fence up to
//! `freed` takes anything. It is the `freed` of those who were alone: who shares a
//! larger turn is not kept out by it. A ticket carries the largest ballot beside the fence, and
//! whoever adopts it goes on above that.

use std::hash::{Hash, Hasher};

use crate::node::Node;
use crate::rules::Rule;
use crate::scenario::Scenario;
use crate::world::ATTEMPTS;

/// That of one owner; nothing when `expires` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Share {
    pub(crate) ballot: u8,
    pub(crate) expires: u8,
}

/// The turn of those who share, and what is left of earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    /// The fence of all who share.
    pub(crate) number: u8,
    /// Votes may join.
    pub(crate) open: bool,
    /// By owner.
    pub(crate) shares: [Share; ATTEMPTS],
    /// The largest ballot that anybody who shares has given back.
    pub(crate) returned: u8,
}

impl Turn {
    fn begin(&mut self, number: u8, open: bool) {
        (self.number, self.open) = (number, open);
        self.shares = Default::default();
    }

    pub(crate) fn end(&mut self) {
        self.begin(0, false);
    }

    /// Anybody shares.
    pub(crate) fn is_alive(&self, now: u8) -> bool {
        self.shares.iter().any(|share| share.expires > now)
    }

    /// Forget what ends by then.
    pub(crate) fn tidy(&mut self, now: u8) {
        let over = self.shares.iter_mut().filter(|share| share.expires <= now);
        over.for_each(|share| *share = Share::default());
        if !self.is_alive(now) {
            self.end();
        }
    }
}

/// In most worlds there is nothing to mix.
impl Hash for Turn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if *self == Self::default() {
            return state.write_u8(0);
        }
        [1, self.number, u8::from(self.open), self.returned]
            .iter()
            .for_each(|b| state.write_u8(*b));
        self.shares.iter().for_each(|share| share.hash(state));
    }
}

/// Which turns the node has told each attempt in its current round, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    pub(crate) turns: [u16; ATTEMPTS],
}

impl Told {
    /// Forget what was told to any but these.
    pub(crate) fn retain(&mut self, attempts: u8) {
        for (i, turns) in self.turns.iter_mut().enumerate() {
            if attempts & (1 << i) == 0 {
                *turns = 0;
            }
        }
    }
}

impl Hash for Told {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if *self == Self::default() {
            return state.write_u8(0);
        }
        state.write_u8(1);
        self.turns.iter().for_each(|turns| turns.hash(state));
    }
}

impl Node {
    /// The turn that it may share, if any. `wanted`: no other will do.
    pub(crate) fn vote_shared(
        &mut self,
        owner: u8,
        ballot: u8,
        wanted: u8,
        time: u8,
        with: &Scenario,
    ) -> Option<u8> {
        let (now, floor) = (time + self.ahead, self.floor(with));
        let held = self.holder(time).is_some() && with.keeps_to(Rule::ReaderWaits);
        let too_far = ballot > now + with.clamp && with.keeps_to(Rule::Clamp);
        if now < self.quarantine_end || held || too_far {
            return None;
        }
        let record = &mut self.record;
        let turn = &mut record.turn;
        let spent = ballot <= turn.returned && with.keeps_to(Rule::JoinIsUnspent);
        let lasts = turn.is_alive(now);
        let fits = wanted == 0 || wanted == turn.number;
        let share = &mut turn.shares[usize::from(owner)];
        if lasts && (fits || with.keeps_to(Rule::TurnStays)) {
            let joined = share.expires > now;
            let open = turn.open && turn.number > floor;
            let closed = !open && with.keeps_to(Rule::OldTurnsAreClosed);
            if !fits || closed || spent && !joined {
                return None;
            }
            let ballot = if joined { ballot.max(share.ballot) } else { ballot };
            *share = Share { ballot, expires: now + with.ttl };
            return Some(turn.number);
        }
        let number = if wanted == 0 { ballot } else { wanted };
        let rises = number > record.stored.max(floor) || !with.keeps_to(Rule::TurnsRise);
        if spent || !rises {
            return None;
        }
        record.stored = record.stored.max(number);
        record.holder = None;
        if lasts {
            turn.number = number;
        } else {
            turn.begin(number, true);
        }
        turn.shares[usize::from(owner)] = Share { ballot, expires: now + with.ttl };
        Some(number)
    }

    /// A lease or an attempt is given back; a lease that is shared needs no mark
    /// of its own.
    pub(crate) fn give_back_shared(&mut self, owner: u8, ballot: u8, with: &Scenario) {
        let turn = &mut self.record.turn;
        turn.shares[usize::from(owner)] = Share::default();
        if !with.keeps_to(Rule::OwnShareOnly) {
            turn.end();
        }
        if with.keeps_to(Rule::Burn) {
            turn.returned = turn.returned.max(ballot);
        }
        self.given_back |= 1 << owner;
    }

    /// What an earlier round came to is given back; the attempt goes on.
    pub(crate) fn give_back_round_shared(&mut self, owner: u8, ballot: u8, with: &Scenario) {
        let turn = &mut self.record.turn;
        let share = &mut turn.shares[usize::from(owner)];
        if share.ballot <= ballot || !with.keeps_to(Rule::ReturnOfItsRound) {
            *share = Share::default();
        }
        turn.returned = turn.returned.max(ballot);
    }

    /// Whether the lease was kept, whose fence is `fence`.
    pub(crate) fn renew_shared(
        &mut self,
        owner: u8,
        ballot: u8,
        fence: u8,
        time: u8,
        with: &Scenario,
    ) -> bool {
        let now = time + self.ahead;
        let held = self.holder(time).is_some() && with.keeps_to(Rule::NoHealBesideWriter);
        let record = &mut self.record;
        let turn = &mut record.turn;
        let fits = turn.number == fence || !with.keeps_to(Rule::RenewalOfItsTurn);
        let share = &mut turn.shares[usize::from(owner)];
        if share.expires > now {
            if fits {
                *share = Share { ballot: ballot.max(share.ballot), expires: now + with.ttl };
                return true;
            }
            // What it shares here is no part of its lease.
            *share = Share::default();
        }
        let spent = ballot <= turn.returned && with.keeps_to(Rule::FreedStaysFree);
        let quarantined = now < self.quarantine_end && with.keeps_to(Rule::NoHealInQuarantine);
        let too_far = ballot > now + with.clamp && with.keeps_to(Rule::Clamp);
        let lasts = turn.is_alive(now);
        if held || spent || quarantined || too_far || (lasts && !fits) {
            return false;
        }
        if !lasts {
            // What was granted here since, or may have been, others must exceed.
            turn.begin(fence, fence >= record.stored);
            record.stored = record.stored.max(fence);
            record.holder = None;
        }
        turn.shares[usize::from(owner)] = Share { ballot, expires: now + with.ttl };
        true
    }
}
