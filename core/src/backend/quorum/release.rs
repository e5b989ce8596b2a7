//! One release, told to all nodes, and the claim that it hands the lock to.

use std::sync::Arc;
use std::time::Duration;

use super::node::{Ends, Return, Returned, Role};
use super::owed::Debt;
use super::round::Round;
use super::tally::{Heard, Tally};
use super::{LAG, Quorum};
use crate::backend::{Answer, Claim, Held, Mode, Released};
use crate::error::Error;

impl Quorum {
    pub(super) async fn hand_back(
        &self,
        held: &Held,
        then: Option<&Claim>,
    ) -> Result<Released, Error> {
        let attempt = self.attempts.retire(held.owner);
        let now = self.runtime.now();
        let arbiter = self.arbiter(&held.name);
        // Larger than that of the lease, whatever was asked before.
        let next = then.map(|then| {
            self.attempts.change(then.owner, |attempt| attempt.stale = true);
            self.attempts.begin(then, now, |lead| self.choose_ballot(lead)).ok_or(Answer::Retired)
        });
        let ask = next.as_ref().and_then(|next| next.as_ref().ok());
        let ballot = match (held.mode, &attempt) {
            (Mode::Exclusive, _) => held.fence,
            (_, Some(attempt)) => attempt.ballot,
            // Forgotten: it was not larger than this.
            (_, None) => self.choose_ballot(Duration::ZERO),
        };
        let back = |next| Debt {
            back: Arc::new(Return {
                name: held.name.clone(),
                owner: held.owner,
                mode: held.mode,
                ballot,
                what: Ends::Lease,
                next,
            }),
            until: self.attempts.end(now, held.ttl),
        };
        let and_next = |role| back(ask.map(|next| next.ask(role)));
        let (to_arbiter, to_others) = (and_next(Role::Arbiter), and_next(Role::Newcomer));
        let questions = (0..self.nodes.len()).map(|node| {
            let debt = if node == arbiter { &to_arbiter } else { &to_others };
            self.noted(node, debt.ask(&self.nodes[node]))
        });
        let mut round = Round::of_all(questions);
        self.hear_release(&mut round, arbiter, ask.is_some()).await;
        let mut round = self.ask_all(round, |_| true).await?;
        self.attempts.forget(held.owner);
        let next = next.map(|next| match next {
            Ok(attempt) => {
                let answer =
                    self.conclude(&attempt, &votes(&round, arbiter), || self.no_quorum(&round));
                // Without a quorum, whoever waits finds out by asking.
                answer.unwrap_or(Answer::Tied)
            }
            Err(retired) => retired,
        });
        let was_held = round.answers().filter(|back| back.held).count();
        let silent = round.nodes() - round.answers().count();
        let others = round.answers().map(|back| back.waiting).max().unwrap_or_default();
        let began = attempt.map(|attempt| attempt.began);
        self.owe_rest(&mut round, began, &back(None));
        let held = was_held > 0 && was_held + silent >= self.majority();
        Ok(Released { held, next, others })
    }

    /// Wait until a majority has or has not had the lease and, if somebody is to
    /// have it next, for their votes and a while for the keeper of the line.
    async fn hear_release(&self, round: &mut Round<'_, Returned>, arbiter: usize, next: bool) {
        let hear = |node: usize, back: &Returned| {
            if let Some(said) = &back.next {
                self.hear(node, said);
            }
        };
        let majority = self.majority();
        let is_decided = |round: &Round<'_, Returned>| {
            let held = round.answers().filter(|back| back.held).count();
            let votes = votes(round, arbiter);
            let is_known = held >= majority || held + round.open() < majority;
            (is_known && round.answers().count() >= majority)
                && (!next || votes.is_won() || votes.is_lost())
        };
        round.until(hear, is_decided).await;
        if next && round.answer(arbiter).is_none() {
            tokio::select! {
                biased;
                () = round.until(hear, |round| round.answer(arbiter).is_some()) => {}
                () = self.runtime.sleep(LAG) => {}
            }
        }
    }
}

/// On the next.
fn votes(round: &Round<'_, Returned>, arbiter: usize) -> Tally {
    let heard = (0..round.nodes()).map(|node| match round.answer(node) {
        None => Heard::Nothing,
        Some(Ok(Returned { next: Some(said), .. })) => Heard::Vote(said.vote),
        Some(_) => Heard::Failure,
    });
    Tally { heard: heard.collect(), arbiter, is_shared: false, wanted: None, too_old: 0 }
}
