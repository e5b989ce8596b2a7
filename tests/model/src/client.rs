//! One attempt for the lock, and the lease it may become.

/// How far an attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Nothing was sent.
    #[default]
    Idle,
    /// A round of votes was sent.
    Asking,
    /// It became a lease, which may be past its deadline.
    Leased,
    /// It gave up, and gave back.
    Withdrawn,
    /// It was a lease, and gave back.
    Released,
}

/// The client of one attempt. Its clock is not kept but what is left by it,
/// in ticks which it may count more slowly than they pass.
///
/// What was sent can arrive at any later time, many times or never. So the
/// requests under way are not kept either: `votes`, `renewed` and `stage` say
/// what was ever sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Client {
    pub(crate) stage: Stage,
    /// It would share the lock.
    pub(crate) shared: bool,
    /// That of the current round, in the end that of the lease; of one that is
    /// shared, the largest that it has sent with anything.
    pub(crate) ballot: u8,
    /// Of a lease that is shared.
    pub(crate) turn: u8,
    /// Ballots it asked for, one bit each.
    pub(crate) votes: u16,
    /// Turns that it asked for, one bit each.
    pub(crate) wants: u16,
    /// Rounds of votes it has begun.
    pub(crate) rounds: u8,
    /// Until the deadline of the lease, or what will be it: sent + ttl - margin.
    pub(crate) left: u8,
    /// Likewise for the current renewal round.
    pub(crate) renewal: u8,
    /// Ballots by which it has sent renewals, one bit each.
    pub(crate) renewals: u16,
    /// Its clock loses no tick for so long.
    pub(crate) steady: u8,
}

impl Client {
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Withdrawn | Stage::Released)
    }

    pub(crate) fn runs(&self) -> bool {
        matches!(self.stage, Stage::Asking | Stage::Leased)
    }

    /// That of the lease, if it is one.
    pub(crate) fn fence(&self) -> u8 {
        if self.shared { self.turn } else { self.ballot }
    }

    /// The ballot of its last round of votes.
    pub(crate) fn last_vote(&self) -> u8 {
        self.votes.checked_ilog2().unwrap_or(0) as u8
    }

    /// By its own clock, it is a holder.
    pub(crate) fn holds(&self) -> bool {
        self.stage == Stage::Leased && self.left > 0
    }

    /// A true tick passes.
    pub(crate) fn tick(&mut self, loses_it: bool, ttl: u8) {
        if loses_it {
            // Any ttl ticks in a row have one lost tick at most.
            self.steady = ttl - 1;
        } else {
            self.steady = self.steady.saturating_sub(1);
            self.left = self.left.saturating_sub(1);
            self.renewal = self.renewal.saturating_sub(1);
        }
    }
}
