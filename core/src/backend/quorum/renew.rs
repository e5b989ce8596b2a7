//! Renewals, which bring a lease to the nodes that do not have it yet.

use super::Quorum;
use super::node::{Ends, Kept, Return, Vow};
use super::round::Round;
use crate::backend::{Claim, Held, Renewal};
use crate::error::Error;

impl Quorum {
    pub(super) async fn renew_or_heal(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        let vows: Vec<Vow> = leases.iter().map(|held| self.vow(held)).collect();
        let round = Round::of_all(self.nodes.iter().map(|node| node.renew(&vows)));
        let is_decided = |round: &Round<'_, Vec<Kept>>| {
            (0..vows.len()).all(|at| self.renewal(round, at, round.open()) != Renewal::Unknown)
        };
        let round = self.ask_all(round, is_decided).await?;
        let silent = round.nodes() - round.answers().count();
        let renewals: Vec<_> = (0..vows.len()).map(|at| self.renewal(&round, at, silent)).collect();
        for (at, vow) in vows.iter().enumerate() {
            let taken_in = round.answers().any(|kept| kept.get(at) == Some(&Kept::TakenIn));
            if taken_in && renewals[at] == Renewal::Gone {
                self.take_back(vow);
            }
        }
        Ok(renewals)
    }

    /// So many nodes may yet say anything. A lease that no node remembers was
    /// lost, even if all would take it in: a renewal never takes a lock again.
    fn renewal(&self, round: &Round<'_, Vec<Kept>>, at: usize, silent: usize) -> Renewal {
        let count = |what| round.answers().filter(|kept| kept.get(at) == Some(&what)).count();
        let (kept, held) = (count(Kept::Yes), count(Kept::Yes) + count(Kept::TakenIn));
        match self.majority() {
            majority if kept > 0 && held >= majority => Renewal::Kept,
            majority if kept + silent == 0 || held + silent < majority => Renewal::Gone,
            _ => Renewal::Unknown,
        }
    }

    fn take_back(&self, vow: &Vow) {
        let back = Return {
            name: vow.claim.name.clone(),
            owner: vow.claim.owner,
            ballot: vow.ballot,
            what: Ends::Lease,
            next: None,
        };
        Round::of_all(self.nodes.iter().map(|node| node.give_back(&back))).send();
    }

    fn vow(&self, held: &Held) -> Vow {
        let asked = self.attempts.find(held.owner).map(|attempt| attempt.claim);
        let claim = Claim {
            name: held.name.clone(),
            owner: held.owner,
            ttl: held.ttl,
            mode: asked.as_ref().map_or_else(Default::default, |claim| claim.mode),
            label: asked.map_or_else(|| "".into(), |claim| claim.label),
            place: None,
            renewed: held.renewed,
        };
        Vow { claim, ballot: held.fence }
    }
}
