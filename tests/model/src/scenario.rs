//! How large a world is, what may happen in it, and which rules are in force.

use crate::rules::{Property, Rule};

/// The bounds of one search. Times are ticks.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// How many nodes, 4 at most.
    pub nodes: usize,
    /// How many of them make a lease.
    pub quorum: usize,
    /// How many attempts, 3 at most.
    pub attempts: usize,
    /// Which of them share, one bit each; all of these are looked at.
    pub shared: &'static [u8],
    /// Whether one that shares may ask for a turn of its choice, too.
    pub wants: bool,
    /// Whether one that shares may take a larger ballot for a renewal.
    pub fresh: bool,
    /// How many rounds of votes an attempt has.
    pub rounds: u8,
    /// Whether it gives back what a round came to before it asks by a larger
    /// ballot.
    pub yields: bool,
    /// The length of a lease.
    pub ttl: u8,
    /// What a client takes off it.
    pub margin: u8,
    /// Whether a client's clock may lose one tick of any `ttl` in a row.
    pub drift: bool,
    /// How long a restarted node does not vote.
    pub quarantine: u8,
    /// How far a ballot may be ahead of a node's clock.
    pub clamp: u8,
    /// The ballots that are tried, 15 at most.
    pub ballots: &'static [u8],
    /// By how much a node's clock may be ahead of the true time. It is another
    /// of these after each restart.
    pub clocks: &'static [u8],
    /// How far a clock steps back in one restart, at most.
    pub step_back: u8,
    /// How many restarts there are, of all nodes together.
    pub restarts: u8,
    /// Whether a restart may keep the data, too.
    pub kept_restarts: bool,
    /// Whether a restart may bring back older data, not just none.
    pub saves: bool,
    /// Whether a client's name of one node may come to lead to another.
    pub misleading: bool,
    /// Whether leases are renewed.
    pub renewals: bool,
    /// Whether a node heals only ballots larger than the stored one.
    pub strict_heal: bool,
    /// When the time ends.
    pub horizon: u8,
    /// How many states are looked at before the search gives up.
    pub limit: usize,
    /// The rule that is left out.
    pub without: Option<Rule>,
    /// The only property that is watched, else all are.
    pub watched: Option<Property>,
}

/// The bounds of most scenarios, and nothing happens but votes.
pub(crate) const PLAIN: Scenario = Scenario {
    name: "",
    nodes: 3,
    quorum: 2,
    attempts: 2,
    shared: &[0],
    wants: false,
    fresh: false,
    rounds: 1,
    yields: false,
    ttl: 1,
    margin: 0,
    drift: false,
    quarantine: 0,
    clamp: 15,
    ballots: &[1, 2],
    clocks: &[0],
    step_back: 15,
    restarts: 0,
    kept_restarts: false,
    saves: false,
    misleading: false,
    renewals: false,
    strict_heal: false,
    horizon: 2,
    limit: 230_000_000,
    without: None,
    watched: None,
};

impl Scenario {
    /// Whether this rule is in force.
    pub(crate) fn keeps_to(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Whether anybody shares.
    pub(crate) fn is_sharing(&self) -> bool {
        self.shared != [0]
    }

    /// The least that a clock may be ahead.
    pub(crate) fn lowest_clock(&self) -> u8 {
        self.clocks.iter().copied().min().unwrap_or(0)
    }

    /// The same, but one rule is left out.
    #[must_use]
    pub fn without(&self, rule: Rule) -> Self {
        let mut other = self.clone();
        other.without = Some(rule);
        let range = self.clocks.iter().max().map_or(0, |highest| highest - self.lowest_clock());
        match rule {
            Rule::Majority => other.quorum = self.nodes / 2,
            Rule::QuarantineOutlastsClocks => other.quarantine = self.clamp + range - 1,
            Rule::QuarantineOutlastsLeases => other.quarantine = self.ttl - 1,
            Rule::Margin => other.margin = 0,
            _ => {}
        }
        other
    }
}
