//! One claim, put to all nodes.

use std::sync::Arc;

use super::attempts::{Attempt, Standing};
use super::node::{Ask, Ends, Return, Role, Said, Vote};
use super::owed::Debt;
use super::round::Round;
use super::tally::{Heard, Outcome, Tally};
use super::{LAG, Quorum};
use crate::backend::{Answer, Claim};
use crate::error::Error;

impl Quorum {
    /// Ask all nodes at once; only who knows that others are before it asks the
    /// keeper of the line first, and the others when it has its vote.
    pub(super) async fn ask(&self, claim: &Claim) -> Result<Answer, Error> {
        let now = self.runtime.now();
        let Some(attempt) = self.attempts.begin(claim, now, |lead| self.choose_ballot(lead)) else {
            return Ok(Answer::Retired);
        };
        let arbiter = self.arbiter(&claim.name);
        let is_shared = claim.mode.is_shared();
        let tally = |round: &Round<'_, Said>| tally(round, arbiter, &attempt, attempt.wanted);
        let to_arbiter = attempt.ask(Role::Arbiter);
        let (mut to_others, as_first);
        let mut round = Round::of(self.nodes.len());
        round.ask(arbiter, self.vote(arbiter, &to_arbiter));
        to_others = attempt.ask(attempt.standing.role());
        // Who shares is told the turn there, lest each of many begins another.
        let joins = is_shared
            && attempt.standing != Standing::Nowhere
            && (attempt.wanted, attempt.too_old) == (None, 0);
        if attempt.standing == Standing::Behind || joins {
            self.hear_arbiter(&mut round, arbiter).await;
            let tally = tally(&round);
            match tally.arbiter() {
                Some(Vote::Granted { waiting, fence }) => {
                    to_others.role = Role::First { waiting };
                    to_others.wanted = Some(fence).filter(|_| is_shared && fence > attempt.too_old);
                }
                // Only there, if nobody is before one who would share.
                Some(Vote::Busy { ahead: 0, .. }) if is_shared => {}
                Some(Vote::Busy { .. } | Vote::Reserved { .. }) => {
                    return self.conclude(&attempt, &tally, || self.no_quorum(&round));
                }
                _ => {}
            }
        }
        for node in (0..self.nodes.len()).filter(|node| *node != arbiter) {
            round.ask(node, self.vote(node, &to_others));
        }
        let tally =
            |round: &Round<'_, Said>| self::tally(round, arbiter, &attempt, to_others.wanted);
        self.hear_enough(&mut round, tally).await;
        // It is our turn there too, only the other nodes do not know it.
        if let Some(waiting) = tally(&round).turn_elsewhere() {
            as_first = Ask { role: Role::First { waiting }, ..to_others.clone() };
            for (node, heard) in tally(&round).heard.into_iter().enumerate() {
                if matches!(heard, Heard::Vote(Vote::Reserved { .. })) {
                    round.ask(node, self.vote(node, &as_first));
                }
            }
            self.hear_enough(&mut round, tally).await;
        }
        let tally = tally(&round);
        if is_shared && tally.stale() > 0 {
            // Those who are nearer use up ballots while this one is on its way: the next is to
            // be larger when it arrives.
            let lead = 2 * self.runtime.now().since(now);
            self.attempts.change(claim.owner, |attempt| attempt.lead = lead);
        }
        self.conclude(&attempt, &tally, || self.no_quorum(&round))
    }

    /// Wait for the votes that decide, and a while for the keeper of the line,
    /// who alone knows how long there is to wait, and whom one that shares would pass.
    async fn hear_enough(
        &self,
        round: &mut Round<'_, Said>,
        tally: impl Fn(&Round<'_, Said>) -> Tally,
    ) {
        let is_decided = |round: &Round<'_, Said>| {
            let tally = tally(round);
            tally.is_won() || tally.is_lost()
        };
        round.until(|node, said| self.hear(node, said), is_decided).await;
        let tally = tally(round);
        if tally.is_shared || !tally.is_won() {
            self.hear_arbiter(round, tally.arbiter).await;
        }
    }

    async fn hear_arbiter(&self, round: &mut Round<'_, Said>, arbiter: usize) {
        if round.answer(arbiter).is_some() {
            return;
        }
        let hear = |node: usize, said: &Said| self.hear(node, said);
        tokio::select! {
            biased;
            () = round.until(hear, |round| round.answer(arbiter).is_some()) => {}
            () = self.runtime.sleep(LAG) => {}
        }
    }

    pub(super) fn hear(&self, node: usize, said: &Said) {
        let now = self.runtime.now();
        self.ballots.read(node, said.micros, now);
        match said.vote {
            Vote::Busy { holder: ballot, .. } | Vote::Other { turn: ballot } => {
                self.ballots.heard(ballot, now);
            }
            Vote::Quarantined { ends_in } => self.close(node, now + ends_in),
            _ => {}
        }
    }

    /// What the votes mean for the attempt; gives back what is not to be kept.
    pub(super) fn conclude(
        &self,
        attempt: &Attempt,
        tally: &Tally,
        failure: impl FnOnce() -> Error,
    ) -> Result<Answer, Error> {
        let (owner, now) = (attempt.claim.owner, self.runtime.now());
        let outcome = tally.outcome(|above| self.ballots.heard(above, now));
        let answer = match outcome {
            Outcome::Won { fence } => {
                if attempt.claim.mode.is_shared() {
                    self.yield_others(attempt, tally, fence);
                }
                return Ok(Answer::Granted { fence, slot: 0, term: None });
            }
            // Two who think that another node keeps the line could each keep from
            // the other what it needs.
            Outcome::Again { afresh: false, .. } if self.runtime.random().is_multiple_of(8) => {
                Answer::Tied
            }
            // The nodes have not come to one turn by that either: start anew without any, lest
            // a turn goes on for nobody but those who ask for it.
            Outcome::Again { .. } if attempt.wanted.is_some() || tally.too_old().is_some() => {
                Answer::Tied
            }
            Outcome::Again { afresh, wanted } => {
                if let Some(turn) = wanted {
                    self.yield_others(attempt, tally, turn);
                }
                self.attempts.change(owner, |attempt| {
                    attempt.stale |= afresh;
                    attempt.wanted = wanted;
                });
                return Ok(Answer::Tied);
            }
            Outcome::TooLarge => Answer::Retired,
            Outcome::Lost(answer) => answer.ok_or_else(failure)?,
        };
        self.give_up(attempt, tally, answer);
        Ok(answer)
    }

    /// Give back the votes. Who only tries, or starts anew, is done with it; who
    /// waits goes on with another ballot and, if only nodes that have not heard of
    /// a release yet are in its way, stays first in the line.
    fn give_up(&self, attempt: &Attempt, tally: &Tally, answer: Answer) {
        let owner = attempt.claim.owner;
        let starts_anew = answer == Answer::Retired;
        let is_over = starts_anew || attempt.claim.place.is_none() && answer != Answer::Tied;
        let place = attempt.claim.place.filter(|_| answer == Answer::Tied);
        let back = |what| self.back(attempt, if is_over { Ends::Attempt } else { what });
        let to_arbiter = back(Ends::Vote { place });
        let to_others = back(Ends::Vote { place: None });
        for (node, heard) in tally.heard.iter().enumerate() {
            let back = if node == tally.arbiter { &to_arbiter } else { &to_others };
            match heard {
                Heard::Unasked => {}
                Heard::Failure => self.owe(node, Some(attempt.began), back),
                // There is no vote, but perhaps a place. Where others share another turn, it may
                // do so too, by an answer that was not heard.
                Heard::Vote(vote)
                    if !matches!(vote, Vote::Granted { .. } | Vote::Other { .. })
                        && !starts_anew => {}
                _ => self.owed.tell(node, back.clone(), back.ask(&self.nodes[node])),
            }
        }
        if starts_anew {
            self.attempts.retire(owner);
        }
        if is_over {
            self.attempts.forget(owner);
        }
        let stands = match (answer, tally.waiting()) {
            (Answer::Busy { .. }, _) => Standing::Behind,
            (_, Some(waiting)) if place.is_some() => Standing::First(waiting),
            _ => Standing::Nowhere,
        };
        let too_old = tally.too_old();
        self.attempts.change(owner, |attempt| {
            (attempt.stale, attempt.wanted, attempt.standing) = (true, None, stands);
            attempt.too_old = too_old.unwrap_or_default().max(attempt.too_old);
        });
    }

    /// Give back what was or may have been granted in other turns than this. Whose turn it is
    /// at the keeper of the line stays the first there.
    fn yield_others(&self, attempt: &Attempt, tally: &Tally, turn: u64) {
        for (node, heard) in tally.heard.iter().enumerate() {
            let told = match heard {
                Heard::Vote(Vote::Granted { fence: told, .. } | Vote::Other { turn: told }) => told,
                _ => continue,
            };
            if *told != turn {
                let place = attempt.claim.place.filter(|_| node == tally.arbiter);
                let back = self.back(attempt, Ends::Vote { place });
                self.owed.tell(node, back.clone(), back.ask(&self.nodes[node]));
            }
        }
    }

    fn back(&self, attempt: &Attempt, what: Ends) -> Debt {
        let claim = &attempt.claim;
        let back = Return {
            name: claim.name.clone(),
            owner: claim.owner,
            mode: claim.mode,
            ballot: attempt.ballot,
            what,
            next: None,
        };
        let until = self.attempts.end(self.runtime.now(), claim.ttl);
        Debt { back: Arc::new(back), until }
    }
}

fn tally(round: &Round<'_, Said>, arbiter: usize, attempt: &Attempt, wanted: Option<u64>) -> Tally {
    let heard = (0..round.nodes()).map(|node| match round.answer(node) {
        None if !round.is_asked(node) => Heard::Unasked,
        None => Heard::Nothing,
        Some(Err(_)) => Heard::Failure,
        Some(Ok(said)) => Heard::Vote(said.vote),
    });
    let (is_shared, too_old) = (attempt.claim.mode.is_shared(), attempt.too_old);
    Tally { heard: heard.collect(), arbiter, is_shared, wanted, too_old }
}
