//! What the votes on a claim come to.

use std::time::Duration;

use super::node::Vote;
use crate::backend::Answer;

/// What one node has said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Unasked,
    Nothing,
    Failure,
    Vote(Vote),
}

/// The votes so far.
pub(super) struct Tally {
    pub(super) heard: Vec<Heard>,
    /// Which node keeps the line.
    pub(super) arbiter: usize,
    /// It would share the lock.
    pub(super) is_shared: bool,
    /// The only turn that it has asked for.
    pub(super) wanted: Option<u64>,
    /// Of the turns up to this it would share none.
    pub(super) too_old: u64,
}

/// What to do about them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Enough votes.
    Won {
        /// What they are for.
        fence: u64,
    },
    /// Not enough, and nobody else has: keep those that were given, and ask again.
    Again {
        /// With a ballot that is chosen anew.
        afresh: bool,
        /// For this turn, where the nodes have told several: give back what was granted
        /// in others.
        wanted: Option<u64>,
    },
    /// Too few nodes accept so large a ballot, or a larger one: start anew as
    /// another owner, whose ballots may be smaller.
    TooLarge,
    /// Give back what was given. `None`: there is no quorum to be had.
    Lost(Option<Answer>),
}

impl Tally {
    fn quorum(&self) -> usize {
        self.heard.len() / 2 + 1
    }

    pub(super) fn is_won(&self) -> bool {
        self.granted() >= self.quorum() && !self.would_pass()
    }

    /// It would share the lock, and one who would not stands before it. Only order depends
    /// on it: whoever would be alone waits until all who share have ended.
    fn would_pass(&self) -> bool {
        let is_behind =
            |vote| matches!(vote, Vote::Busy { ahead: 1.., .. } | Vote::Reserved { ahead: 1.. });
        self.is_shared && self.arbiter().is_some_and(is_behind)
    }

    /// Whether what is still to come cannot make a quorum, neither for this ballot
    /// nor, where nobody is before us, for a larger or a smaller one.
    pub(super) fn is_lost(&self) -> bool {
        let open = self.heard.iter().filter(|heard| **heard == Heard::Nothing).count();
        let may_win = self.granted() + open >= self.quorum() && !self.would_pass();
        let depends = |votes| votes < self.quorum() && votes + open >= self.quorum();
        let larger = depends(self.granted() + self.stale());
        let smaller = depends(self.ahead());
        !may_win && (self.is_in_line() || !larger && !smaller)
    }

    /// How many wait behind us in the line, if it is our turn in it.
    pub(super) fn waiting(&self) -> Option<usize> {
        match self.arbiter() {
            Some(Vote::Granted { waiting, .. }) => Some(waiting),
            _ => None,
        }
    }

    /// How many wait in the line, if it is our turn in it, and somebody who does
    /// not know that withholds the votes that we need.
    pub(super) fn turn_elsewhere(&self) -> Option<usize> {
        let withheld = self.votes().any(|vote| matches!(vote, Vote::Reserved { .. }));
        self.waiting().filter(|_| withheld && !self.is_won())
    }

    /// What the keeper of the line says.
    pub(super) fn arbiter(&self) -> Option<Vote> {
        match self.heard[self.arbiter] {
            Heard::Vote(vote) => Some(vote),
            _ => None,
        }
    }

    /// Whether somebody stands before us there.
    fn is_in_line(&self) -> bool {
        matches!(self.arbiter(), Some(Vote::Busy { .. } | Vote::Reserved { .. }))
    }

    fn votes(&self) -> impl Iterator<Item = Vote> {
        self.heard.iter().filter_map(|heard| match heard {
            Heard::Vote(vote) => Some(*vote),
            _ => None,
        })
    }

    /// How many have granted, for one and the same fence.
    fn granted(&self) -> usize {
        self.fences().map(|fence| self.granted_for(fence)).max().unwrap_or_default()
    }

    fn granted_for(&self, fence: u64) -> usize {
        self.fences().filter(|other| *other == fence).count()
    }

    /// What was granted by each.
    fn fences(&self) -> impl Iterator<Item = u64> {
        self.votes().filter_map(|vote| match vote {
            Vote::Granted { fence, .. } => Some(fence),
            _ => None,
        })
    }

    /// The turn of each where it shares, or others do.
    fn turns(&self) -> impl Iterator<Item = u64> {
        self.votes().filter_map(|vote| match vote {
            Vote::Granted { fence: turn, .. } | Vote::Other { turn } => Some(turn),
            _ => None,
        })
    }

    /// The wanted turn, if a node has granted a later one and will not begin it.
    pub(super) fn too_old(&self) -> Option<u64> {
        let wanted = self.wanted?;
        let is_later = |vote| matches!(vote, Vote::Stale { above } if above >= wanted);
        self.votes().any(is_later).then_some(wanted)
    }

    /// That of most nodes, of several the largest.
    fn chosen(&self) -> Option<u64> {
        let of = |turn| self.turns().filter(|other| *other == turn).count();
        let turns = self.turns().filter(|turn| *turn > self.too_old);
        turns.max_by_key(|turn| (of(*turn), *turn))
    }

    pub(super) fn stale(&self) -> usize {
        self.votes().filter(|vote| matches!(vote, Vote::Stale { .. })).count()
    }

    fn ahead(&self) -> usize {
        self.votes().filter(|vote| *vote == Vote::Ahead).count()
    }

    /// `kept_out`: how long a ballot above this one would not be accepted.
    pub(super) fn outcome(&self, kept_out: impl Fn(u64) -> Duration) -> Outcome {
        if self.is_won()
            && let Some(fence) = self.fences().max_by_key(|fence| self.granted_for(*fence))
        {
            return Outcome::Won { fence };
        }
        if self.ahead() >= self.quorum() {
            return Outcome::TooLarge;
        }
        let granted = self.granted();
        let mut closed = Vec::new();
        let mut afresh = 0;
        for vote in self.votes() {
            match vote {
                Vote::Quarantined { ends_in } => closed.push(ends_in),
                Vote::Stale { above } if kept_out(above) > Duration::ZERO => {
                    closed.push(kept_out(above));
                }
                Vote::Stale { .. } => afresh += 1,
                _ => {}
            }
        }
        // Not against the keeper of the line, who has others before us.
        let told = self.turns().count();
        if told + afresh >= self.quorum() && !self.is_in_line() {
            let is_split = told > granted;
            return match self.chosen().filter(|_| is_split) {
                None if is_split => Outcome::Lost(Some(Answer::Tied)),
                wanted => Outcome::Again { afresh: true, wanted },
            };
        }
        if self.votes().any(|vote| matches!(vote, Vote::Busy { .. } | Vote::Reserved { .. })) {
            return self.contended(granted, closed.len());
        }
        closed.sort_unstable();
        let missing = self.quorum() - granted - afresh;
        let ends_in = closed.get(missing - 1).copied();
        Outcome::Lost(ends_in.map(|ends_in| Answer::Quarantined { ends_in }))
    }

    fn contended(&self, granted: usize, closed: usize) -> Outcome {
        if let Some(Vote::Busy { ahead, .. } | Vote::Reserved { ahead }) = self.arbiter() {
            let missing = self.quorum().saturating_sub(granted);
            let (free_in, fence) = (self.free_in(missing), self.largest_holder());
            return Outcome::Lost(Some(Answer::Busy { free_in, ahead, fence }));
        }
        // Whoever has the vote of the line's keeper goes on, so that of many who
        // split the votes one wins; unless somebody may hold the lock already.
        let silent = self.heard.len() - self.votes().count();
        match self.waiting() {
            Some(_) if self.votes_of_a_rival() + silent + closed < self.quorum() => {
                Outcome::Again { afresh: false, wanted: None }
            }
            _ => Outcome::Lost(Some(Answer::Tied)),
        }
    }

    /// When so many busy nodes more are free, if nobody renews; where fewer were asked, when
    /// those are.
    fn free_in(&self, missing: usize) -> Option<Duration> {
        let mut ends: Vec<Duration> = self
            .votes()
            .filter_map(|vote| match vote {
                Vote::Busy { free_in, .. } => free_in,
                _ => None,
            })
            .collect();
        ends.sort_unstable();
        ends.get(missing.checked_sub(1)?).or(ends.last()).copied()
    }

    fn holders(&self) -> impl Iterator<Item = u64> {
        self.votes().filter_map(|vote| match vote {
            Vote::Busy { holder, .. } => Some(holder),
            _ => None,
        })
    }

    fn largest_holder(&self) -> u64 {
        self.holders().max().unwrap_or_default()
    }

    /// How many nodes one and the same other has, at most.
    fn votes_of_a_rival(&self) -> usize {
        self.holders()
            .map(|rival| self.holders().filter(|other| *other == rival).count())
            .max()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANTED: Vote = Vote::Granted { waiting: 0, fence: 9 };
    const WON: Outcome = Outcome::Won { fence: 9 };
    const RESERVED: Vote = Vote::Reserved { ahead: 2 };
    const LATER: Duration = Duration::from_secs(7);

    fn busy(holder: u64) -> Vote {
        Vote::Busy { holder, free_in: Some(Duration::from_millis(holder)), ahead: 1 }
    }

    /// Of three nodes, the first of which keeps the line.
    fn outcome(votes: [Option<Vote>; 3]) -> Outcome {
        let heard = votes.map(|vote| vote.map_or(Heard::Failure, Heard::Vote)).to_vec();
        let tally = Tally { heard, arbiter: 0, is_shared: false, wanted: None, too_old: 0 };
        tally.outcome(|above| if above > 1000 { LATER } else { Duration::ZERO })
    }

    #[test]
    fn a_majority_wins_whatever_the_others_say() {
        assert_eq!(outcome([Some(GRANTED), None, Some(GRANTED)]), WON);
        assert_eq!(outcome([Some(busy(5)), Some(GRANTED), Some(GRANTED)]), WON);
    }

    #[test]
    fn who_stands_in_the_line_gives_back_and_waits() {
        let waits = |free_in, fence| {
            let free_in = Some(Duration::from_millis(free_in));
            Outcome::Lost(Some(Answer::Busy { free_in, ahead: 1, fence }))
        };
        assert_eq!(outcome([Some(busy(5)), Some(busy(5)), Some(GRANTED)]), waits(5, 5));
        assert_eq!(outcome([Some(busy(5)), Some(busy(8)), None]), waits(8, 8));
        let behind = Outcome::Lost(Some(Answer::Busy { free_in: None, ahead: 2, fence: 0 }));
        assert_eq!(outcome([Some(RESERVED), Some(RESERVED), Some(GRANTED)]), behind);
    }

    #[test]
    fn of_split_votes_the_arbiters_goes_on() {
        let again = Outcome::Again { afresh: false, wanted: None };
        assert_eq!(outcome([Some(GRANTED), Some(busy(5)), Some(busy(6))]), again);
    }

    #[test]
    fn nobody_goes_on_against_one_who_may_hold_it() {
        let tied = || Outcome::Lost(Some(Answer::Tied));
        assert_eq!(outcome([Some(GRANTED), Some(busy(5)), Some(busy(5))]), tied());
        assert_eq!(outcome([Some(GRANTED), Some(busy(5)), None]), tied());
        let quarantined = Vote::Quarantined { ends_in: LATER };
        assert_eq!(outcome([Some(GRANTED), Some(busy(5)), Some(quarantined)]), tied());
        assert_eq!(outcome([None, Some(busy(5)), Some(GRANTED)]), tied());
    }

    #[test]
    fn a_ballot_that_is_too_small_or_too_large_is_chosen_anew() {
        let stale = Vote::Stale { above: 9 };
        let again = || Outcome::Again { afresh: true, wanted: None };
        assert_eq!(outcome([Some(stale), Some(GRANTED), None]), again());
        assert_eq!(outcome([Some(stale), Some(stale), Some(busy(4))]), again());
        let tied = || Outcome::Lost(Some(Answer::Tied));
        assert_eq!(outcome([Some(Vote::Ahead), Some(GRANTED), Some(busy(4))]), tied());
        let too_large = [Some(Vote::Ahead), Some(Vote::Ahead), Some(GRANTED)];
        assert_eq!(outcome(too_large), Outcome::TooLarge);
    }

    #[test]
    fn it_is_not_lost_while_the_last_may_accept_another_ballot() {
        let failure = Heard::Failure;
        let (stale, ahead) = (Heard::Vote(Vote::Stale { above: 9 }), Heard::Vote(Vote::Ahead));
        let is_lost = |first, second| {
            let heard = vec![first, second, Heard::Nothing];
            Tally { heard, arbiter: 0, is_shared: false, wanted: None, too_old: 0 }.is_lost()
        };
        assert!(!is_lost(stale, failure) && !is_lost(failure, stale));
        assert!(!is_lost(ahead, stale) && !is_lost(ahead, failure));
        // Whatever it says: enough accept another, or nobody does, or it is not our turn.
        assert!(is_lost(stale, stale) && is_lost(ahead, ahead) && is_lost(failure, failure));
        assert!(is_lost(Heard::Vote(busy(5)), stale));
    }

    #[test]
    fn a_quarantine_lasts_until_enough_nodes_are_out_of_it() {
        let ends = |seconds| Vote::Quarantined { ends_in: Duration::from_secs(seconds) };
        let until = |ends_in| Outcome::Lost(Some(Answer::Quarantined { ends_in }));
        let (three, five) = (Duration::from_secs(3), Duration::from_secs(5));
        assert_eq!(outcome([Some(ends(5)), Some(ends(3)), Some(GRANTED)]), until(three));
        assert_eq!(outcome([Some(ends(5)), Some(ends(3)), None]), until(five));
        let wild = Vote::Stale { above: 2000 };
        assert_eq!(outcome([Some(wild), None, Some(GRANTED)]), until(LATER));
    }

    #[test]
    fn without_a_quorum_there_is_no_answer() {
        assert_eq!(outcome([None, None, Some(GRANTED)]), Outcome::Lost(None));
    }

    fn granted(fence: u64) -> Vote {
        Vote::Granted { waiting: 0, fence }
    }

    /// What the votes on one who would share the lock come to.
    fn shared(votes: [Vote; 3]) -> Outcome {
        let heard = votes.map(Heard::Vote).to_vec();
        Tally { heard, arbiter: 0, is_shared: true, wanted: None, too_old: 0 }
            .outcome(|_| Duration::ZERO)
    }

    #[test]
    fn a_turn_is_held_when_a_majority_tells_it() {
        assert_eq!(shared([granted(8), granted(7), granted(7)]), Outcome::Won { fence: 7 });
        let again = |turn| Outcome::Again { afresh: true, wanted: Some(turn) };
        assert_eq!(shared([granted(5), granted(8), granted(7)]), again(8));
        assert_eq!(shared([granted(5), granted(5), granted(7)]), Outcome::Won { fence: 5 });
        assert_eq!(shared([granted(5), Vote::Other { turn: 5 }, granted(7)]), again(5));
        let stale = Vote::Stale { above: 9 };
        let afresh = Outcome::Again { afresh: true, wanted: None };
        assert_eq!(shared([granted(5), stale, stale]), afresh);
    }

    #[test]
    fn who_would_share_does_not_pass_one_who_stands_before_it_and_would_not() {
        let waits = |ahead| Vote::Busy { holder: 7, free_in: None, ahead };
        let busy = Outcome::Lost(Some(Answer::Busy { free_in: None, ahead: 1, fence: 7 }));
        assert_eq!(shared([waits(1), granted(7), granted(7)]), busy);
        assert_eq!(shared([waits(0), granted(7), granted(7)]), Outcome::Won { fence: 7 });
    }
}
