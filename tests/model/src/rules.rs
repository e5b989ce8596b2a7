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
    /// Nobody is granted the lock alone where anybody shares it.
    WriterWaits,
    /// Nobody is let in to share where somebody holds the lock alone.
    ReaderWaits,
    /// A renewal of one who is alone takes nothing where anybody shares.
    NoHealAmongReaders,
    /// A renewal of one who shares takes nothing where somebody is alone.
    NoHealBesideWriter,
    /// Who shares has the answers of a quorum that tell one and the same turn.
    OneTurn,
    /// A turn that a vote begins is larger than the stored ballot.
    TurnsRise,
    /// A node's turn does not change while anybody shares.
    TurnStays,
    /// A vote joins no turn that a renewal began anew below the stored ballot, nor
    /// one that does not exceed the floor.
    OldTurnsAreClosed,
    /// A vote joins only by a ballot larger than any that one who shared gave back.
    JoinIsUnspent,
    /// A renewal of one who shares is kept only in the turn that is its fence.
    RenewalOfItsTurn,
    /// What is given back is the largest ballot, also of those of renewals.
    LargestIsReturned,
    /// Who gives back ends its own share only.
    OwnShareOnly,
}

/// All rules.
pub const RULES: [Rule; 29] = [
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
    Rule::WriterWaits,
    Rule::ReaderWaits,
    Rule::NoHealAmongReaders,
    Rule::NoHealBesideWriter,
    Rule::OneTurn,
    Rule::TurnsRise,
    Rule::TurnStays,
    Rule::OldTurnsAreClosed,
    Rule::JoinIsUnspent,
    Rule::RenewalOfItsTurn,
    Rule::LargestIsReturned,
    Rule::OwnShareOnly,
];

/// What must hold in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// Who holds the lock alone is the only holder at that true time.
    Exclusion,
    /// What becomes held has a larger fence than all that was held before; who
    /// shares may have the same as others who share.
    Fences,
    /// All who share at the same true time have the same fence.
    Turns,
    /// No node makes an owner its holder after that owner gave back there.
    NoZombie,
    /// Nobody holds the lock while another does. Those who share break this, as
    /// they should. It is watched only when nothing else is.
    Alone,
}
