//! The rules which keep the protocol safe, each of which can be left out.

/// A rule, as it is with all rules in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A ballot is granted only if it is larger than the stored one.
    BallotsRise,
    /// Giving back stores the ballot, so that a late vote finds it spent.
    Burn,
    /// Any two quorums share a node.
    Majority,
    /// A restarted node does not vote for a while.
    Quarantine,
    /// A quarantine ends later, by the new clock, than any ballot granted by the old.
    QuarantineOutlastsClocks,
    /// A quarantine is as long as a lease.
    QuarantineOutlastsLeases,
    /// No ballot is granted up to the end of the quarantine.
    Floor,
    /// A client's deadline comes earlier, by what its clock may lose.
    Margin,
    /// A client looks at its clock again after the last answer.
    SecondReading,
    /// A renewal counts only before the deadline.
    RenewalInTime,
    /// A node does not heal what was released there.
    FreedStaysFree,
    /// A node does not heal in its quarantine.
    NoHealInQuarantine,
    /// A ballot far ahead of the node's clock is not granted.
    Clamp,
    /// A larger ballot of the same owner is stored, too.
    RaiseIsStored,
    /// Answers to an earlier round do not count, of votes or of renewals.
    AnswersOfThisRound,
    /// What is given back of an earlier round leaves a later one's vote alone.
    ReturnOfItsRound,
    /// Of a server to which two names lead one answer counts.
    OneVotePerServer,
}

/// All rules.
pub const RULES: [Rule; 17] = [
    Rule::BallotsRise,
    Rule::Burn,
    Rule::Majority,
    Rule::Quarantine,
    Rule::QuarantineOutlastsClocks,
    Rule::QuarantineOutlastsLeases,
    Rule::Floor,
    Rule::Margin,
    Rule::SecondReading,
    Rule::RenewalInTime,
    Rule::FreedStaysFree,
    Rule::NoHealInQuarantine,
    Rule::Clamp,
    Rule::RaiseIsStored,
    Rule::AnswersOfThisRound,
    Rule::ReturnOfItsRound,
    Rule::OneVotePerServer,
];

/// What must hold in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// No two leases are held at the same true time.
    Exclusion,
    /// What becomes held has a larger fence than all that was held before.
    Fences,
    /// No node makes an owner its holder after that owner gave back there.
    NoZombie,
}
