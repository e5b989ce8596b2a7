//! One node: what it remembers of the lock, and how it answers.

use crate::rules::Rule;
use crate::scenario::Scenario;
use crate::turn::{Told, Turn};

/// Whom the node holds the lock for, until when by its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Holder {
    pub(crate) owner: u8,
    pub(crate) ballot: u8,
    pub(crate) expires: u8,
}

/// What a restart keeps or loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Record {
    /// The largest ballot granted or burned.
    pub(crate) stored: u8,
    /// The largest ballot of a lease that was released.
    pub(crate) freed: u8,
    pub(crate) holder: Option<Holder>,
    pub(crate) turn: Turn,
}

/// A node, and the answers it has sent. An answer once sent can arrive at any
/// later time or never, so the answers are a set: one bit per attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Node {
    pub(crate) record: Record,
    /// What is on the disk: a restart that loses data goes back to it.
    pub(crate) saved: Record,
    /// No votes before this; no ballots up to this. By the node's clock.
    pub(crate) quarantine_end: u8,
    /// By how much its clock is ahead of the true time.
    pub(crate) ahead: u8,
    /// It granted this attempt's ballot in this attempt's current round.
    pub(crate) granted: u8,
    /// Likewise of those who share, and which turns.
    pub(crate) told: Told,
    /// It kept this attempt's lease in this attempt's current renewal round.
    pub(crate) kept: u8,

    /// To it leads another node's name, too, for this attempt's client.
    pub(crate) doubled: u8,
    /// Whose release or withdrawal it has processed, and not forgotten.
    pub(crate) given_back: u8,
}

/// How a vote ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted,
    Quarantined,
    Busy,
    Stale,
    Ahead,
}

impl Node {
    pub(crate) fn vote(&mut self, owner: u8, ballot: u8, time: u8, with: &Scenario) -> Answer {
        let now = time + self.ahead;
        let too_far = ballot > now + with.clamp && with.keeps_to(Rule::Clamp);
        let expires = now + with.ttl;
        if now < self.quarantine_end {
            return Answer::Quarantined;
        }
        let floor = self.floor(with);
        let record = &mut self.record;
        if record.turn.is_alive(now) && with.keeps_to(Rule::WriterWaits) {
            return Answer::Busy;
        }
        if let Some(holder) = record.holder.as_mut().filter(|holder| holder.expires > now) {
            if holder.owner != owner {
                return Answer::Busy;
            } else if ballot == holder.ballot {
                holder.expires = expires;
                return Answer::Granted;
            } else if ballot > record.stored.max(floor) && !too_far {
                *holder = Holder { owner, ballot, expires };
                if with.keeps_to(Rule::RaiseIsStored) {
                    record.stored = ballot;
                }
                return Answer::Granted;
            }
            return Answer::Stale;
        }
        let repeats = ballot == record.stored && !with.keeps_to(Rule::BallotsRise);
        if ballot <= record.stored.max(floor) && !repeats {
            return Answer::Stale;
        } else if too_far {
            return Answer::Ahead;
        }
        record.stored = ballot;
        record.holder = Some(Holder { owner, ballot, expires });
        record.turn.end();
        Answer::Granted
    }

    /// No ballot is granted, and no turn begins, up to this.
    pub(crate) fn floor(&self, with: &Scenario) -> u8 {
        if with.keeps_to(Rule::Floor) { self.quarantine_end } else { 0 }
    }

    /// A lease is given back, or else an attempt that did not become one.
    pub(crate) fn give_back(&mut self, owner: u8, ballot: u8, leased: bool, with: &Scenario) {
        let record = &mut self.record;
        record.holder = record.holder.filter(|holder| holder.owner != owner);
        if with.keeps_to(Rule::Burn) {
            record.stored = record.stored.max(ballot);
        }
        if leased {
            record.freed = record.freed.max(ballot);
        }
        self.given_back |= 1 << owner;
    }

    /// What an earlier round came to is given back; the attempt goes on.
    pub(crate) fn give_back_round(&mut self, owner: u8, ballot: u8, with: &Scenario) {
        let record = &mut self.record;
        let later =
            |holder: &Holder| holder.ballot > ballot && with.keeps_to(Rule::ReturnOfItsRound);
        record.holder = record.holder.filter(|holder| holder.owner != owner || later(holder));
        record.stored = record.stored.max(ballot);
    }

    /// Whether the lease was kept.
    pub(crate) fn renew(&mut self, owner: u8, ballot: u8, time: u8, with: &Scenario) -> bool {
        let now = time + self.ahead;
        let expires = now + with.ttl;
        let record = &mut self.record;
        if let Some(holder) = record.holder.as_mut().filter(|holder| holder.expires > now) {
            if holder.owner == owner {
                holder.expires = expires;
            }
            return holder.owner == owner;
        }
        // The node heals: it holds what it had missed, lost, or let expire.
        let freed = ballot <= record.freed && with.keeps_to(Rule::FreedStaysFree);
        let quarantined = now < self.quarantine_end && with.keeps_to(Rule::NoHealInQuarantine);
        let outbid = ballot <= record.stored && with.strict_heal;
        let shared = record.turn.is_alive(now) && with.keeps_to(Rule::NoHealAmongReaders);
        if freed || quarantined || outbid || shared {
            return false;
        }
        record.stored = record.stored.max(ballot);
        record.holder = Some(Holder { owner, ballot, expires });
        record.turn.end();
        true
    }

    /// A new identity, perhaps with an older record, and with another clock.
    pub(crate) fn restart(&mut self, keeps: bool, ahead: u8, time: u8, with: &Scenario) {
        if !keeps {
            self.record = self.saved;
            self.given_back = 0;
        }
        self.ahead = ahead;
        self.quarantine_end = 0;
        if with.keeps_to(Rule::Quarantine) {
            self.quarantine_end = time + ahead + with.quarantine;
        }
    }

    /// Whether it holds the lock for this owner now.
    pub(crate) fn is_held_by(&self, owner: u8, time: u8) -> bool {
        self.holder(time).is_some_and(|holder| holder.owner == owner)
            || self.record.turn.shares[usize::from(owner)].expires > time + self.ahead
    }

    /// Whom alone it holds the lock for now.
    pub(crate) fn holder(&self, time: u8) -> Option<Holder> {
        self.record.holder.filter(|holder| holder.expires > time + self.ahead)
    }

    /// Forget what can make no difference any more, so that states merge.
    pub(crate) fn tidy(&mut self, time: u8, restarts: u8, with: &Scenario) {
        let now = time + self.ahead;
        // A turn up to the floor is closed, and stays so when that is forgotten.
        let turn = &mut self.record.turn;
        if now >= self.quarantine_end && turn.number <= self.quarantine_end {
            turn.open &= !with.keeps_to(Rule::Floor);
        }
        // One that is as large as the stored ballot must still exceed the floor.
        let least = self.quarantine_end + u8::from(with.is_sharing());
        if now >= self.quarantine_end && least <= self.record.stored {
            self.quarantine_end = 0;
        }
        // An expired holder comes back to life if the clock steps back.
        let lowest = if restarts > 0 { time + with.lowest_clock() } else { now };
        for record in [&mut self.record, &mut self.saved] {
            record.holder = record.holder.filter(|holder| holder.expires > lowest.min(now));
            record.turn.tidy(lowest.min(now));
        }
        if restarts == 0 {
            self.saved = Record::default();
        }
    }
}
