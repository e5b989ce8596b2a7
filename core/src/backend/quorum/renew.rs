//! Renewals, which bring a lease to the nodes that do not have it yet.

use std::sync::Arc;
use std::time::Duration;

use super::Quorum;
use super::node::{Ends, Kept, Renewed, Return, Vow};
use super::owed::Debt;
use super::round::{Asking, Round};
use crate::backend::{Claim, Held, Mode, Renewal};
use crate::error::Error;

impl Quorum {
    pub(super) async fn renew_or_heal(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        leases.iter().try_for_each(|held| self.check_ttl(held.ttl))?;
        let vows: Vec<Vow> = leases.iter().map(|held| self.vow(held)).collect();
        let ask = |node: usize| self.noted(node, self.renew_at(node, &vows));
        let mut round = Round::of_all((0..self.nodes.len()).map(ask));
        let is_decided = |round: &Round<'_, Renewed>| {
            (0..vows.len()).all(|at| self.renewal(round, at, round.open()) != Renewal::Unknown)
        };
        // Who is slow does not make the others' answers late.
        self.hear_soon(&mut round, is_decided).await;
        let round = self.ask_all(round, |_| true).await?;
        let silent = round.nodes() - round.answers().count();
        let renewals: Vec<_> = (0..vows.len()).map(|at| self.renewal(&round, at, silent)).collect();
        for (at, vow) in vows.iter().enumerate() {
            let taken_in = round.answers().any(|said| said.kept.get(at) == Some(&Kept::TakenIn));
            if taken_in && renewals[at] == Renewal::Gone {
                self.take_back(vow);
            }
        }
        Ok(renewals)
    }

    fn renew_at<'a>(&'a self, node: usize, vows: &'a [Vow]) -> Asking<'a, Renewed> {
        let asking = self.nodes[node].renew(vows);
        if !vows.iter().any(|vow| vow.claim.mode.is_shared()) {
            return asking;
        }
        Box::pin(async move {
            let renewed = asking.await?;
            // Who only renews is not to choose by a clock that was read long ago.
            if let Some(micros) = renewed.said.micros {
                self.ballots.read(node, micros, self.runtime.now());
            }
            Ok(renewed)
        })
    }

    /// So many nodes may yet say anything. A lease that no node remembers was
    /// lost, even if all would take it in: a renewal never takes a lock again.
    fn renewal(&self, round: &Round<'_, Renewed>, at: usize, silent: usize) -> Renewal {
        let count = |what| round.answers().filter(|said| said.kept.get(at) == Some(&what)).count();
        let (kept, held) = (count(Kept::Yes), count(Kept::Yes) + count(Kept::TakenIn));
        match self.majority() {
            majority if kept > 0 && held >= majority => Renewal::Kept,
            majority if kept + silent == 0 || held + silent < majority => Renewal::Gone,
            _ => Renewal::Unknown,
        }
    }

    fn take_back(&self, vow: &Vow) {
        let back = Arc::new(Return {
            name: vow.claim.name.clone(),
            owner: vow.claim.owner,
            mode: vow.claim.mode,
            ballot: vow.ballot,
            what: Ends::Lease,
            next: None,
        });
        let debt = Debt { back, until: self.attempts.end(self.runtime.now(), vow.claim.ttl) };
        for (number, node) in self.nodes.iter().enumerate() {
            self.owed.tell(number, debt.clone(), debt.ask(node));
        }
    }

    fn vow(&self, held: &Held) -> Vow {
        let choose = || self.choose_ballot(Duration::ZERO);
        let asked = self.attempts.renew(held.owner, held.ttl, self.runtime.now(), choose);
        let ballot = match (&asked, held.mode) {
            (_, Mode::Exclusive) => held.fence,
            (Some(attempt), _) => attempt.ballot,
            // It is kept where it is held, and taken in nowhere.
            (None, _) => 0,
        };
        let claim = Claim {
            name: held.name.clone(),
            owner: held.owner,
            ttl: held.ttl,
            // Nodes count the whole of it alike.
            delay: Duration::ZERO,
            mode: held.mode,
            label: asked.map_or_else(|| "".into(), |attempt| attempt.claim.label),
            place: None,
            renewed: held.renewed,
        };
        Vow { claim, ballot, fence: held.fence }
    }
}
