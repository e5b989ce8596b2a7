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
    /// That of the current round, in the end that of the lease.
    pub(crate) ballot: u8,
    /// Ballots it asked for, one bit each.
    pub(crate) votes: u16,
    /// Rounds of votes it has begun.
    pub(crate) rounds: u8,
    /// Until the deadline of the lease, or what will be it: sent + ttl - margin.
    pub(crate) left: u8,
    /// Likewise for the current renewal round.
    pub(crate) renewal: u8,
    /// It has sent renewals.
    pub(crate) renewed: bool,
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

    /// By its own clock, it is the holder.
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
