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
        let Some(attempt) = self.attempts.begin(claim, now, || self.choose_ballot()) else {
            return Ok(Answer::Retired);
        };
        let arbiter = self.arbiter(&claim.name);
        let ask = |role| Ask { claim: claim.clone(), ballot: attempt.ballot, role };
        let to_arbiter = ask(Role::Arbiter);
        let (to_others, as_first);
        let mut round = Round::of(self.nodes.len());
        round.ask(arbiter, self.vote(arbiter, &to_arbiter));
        let mut role = attempt.standing.role();
        if attempt.standing == Standing::Behind {
            self.hear_arbiter(&mut round, arbiter).await;
            let tally = tally(&round, arbiter);
            match tally.arbiter() {
                Some(Vote::Granted { waiting }) => role = Role::First { waiting },
                Some(Vote::Busy { .. } | Vote::Reserved { .. }) => {
                    return self.conclude(&attempt, &tally, || self.no_quorum(&round));
                }
                _ => {}
            }
        }
        to_others = ask(role);
        for node in (0..self.nodes.len()).filter(|node| *node != arbiter) {
            round.ask(node, self.vote(node, &to_others));
        }
        self.hear_enough(&mut round, arbiter).await;
        // It is our turn there too, only the other nodes do not know it.
        if let Some(waiting) = tally(&round, arbiter).turn_elsewhere() {
            as_first = ask(Role::First { waiting });
            for (node, heard) in tally(&round, arbiter).heard.into_iter().enumerate() {
                if matches!(heard, Heard::Vote(Vote::Reserved { .. })) {
                    round.ask(node, self.vote(node, &as_first));
                }
            }
            self.hear_enough(&mut round, arbiter).await;
        }
        self.conclude(&attempt, &tally(&round, arbiter), || self.no_quorum(&round))
    }

    /// Wait for the votes that decide, and a while for the keeper of the line,
    /// who alone knows how long there is to wait.
    async fn hear_enough(&self, round: &mut Round<'_, Said>, arbiter: usize) {
        let is_decided = |round: &Round<'_, Said>| {
            let tally = tally(round, arbiter);
            tally.is_won() || tally.is_lost()
        };
        round.until(|node, said| self.hear(node, said), is_decided).await;
        if !tally(round, arbiter).is_won() {
            self.hear_arbiter(round, arbiter).await;
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
            Vote::Busy { holder, .. } => drop(self.ballots.heard(holder, now)),
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
            Outcome::Won => {
                return Ok(Answer::Granted { fence: attempt.ballot, slot: 0, term: None });
            }
            // Two who think that another node keeps the line could each keep from
            // the other what it needs.
            Outcome::Again { afresh: false } if self.runtime.random().is_multiple_of(8) => {
                Answer::Tied
            }
            Outcome::Again { afresh } => {
                self.attempts.change(owner, |attempt| attempt.stale |= afresh);
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
        let until = self.attempts.end(self.runtime.now(), attempt.claim.ttl);
        let back = |what| Debt {
            back: Arc::new(Return {
                name: attempt.claim.name.clone(),
                owner,
                ballot: attempt.ballot,
                what: if is_over { Ends::Attempt } else { what },
                next: None,
            }),
            until,
        };
        let to_arbiter = back(Ends::Vote { place });
        let to_others = back(Ends::Vote { place: None });
        for (node, heard) in tally.heard.iter().enumerate() {
            let back = if node == tally.arbiter { &to_arbiter } else { &to_others };
            match heard {
                Heard::Unasked => {}
                Heard::Failure => self.owe(node, Some(attempt.began), back),
                // There is no vote, but perhaps a place.
                Heard::Vote(vote) if !matches!(vote, Vote::Granted { .. }) && !starts_anew => {}
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
        self.attempts.change(owner, |attempt| (attempt.stale, attempt.standing) = (true, stands));
    }
}

fn tally(round: &Round<'_, Said>, arbiter: usize) -> Tally {
    let heard = (0..round.nodes()).map(|node| match round.answer(node) {
        None if !round.is_asked(node) => Heard::Unasked,
        None => Heard::Nothing,
        Some(Err(_)) => Heard::Failure,
        Some(Ok(said)) => Heard::Vote(said.vote),
    });
    Tally { heard: heard.collect(), arbiter }
}
