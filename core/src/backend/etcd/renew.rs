//! Renewals: one keep-alive for each session, and a look whether the keys are
//! still there.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Etcd;
use super::cluster::{Entry, Step, Txn};
use super::places::Place;
use super::proof::{is_of, strange};
use super::txns::read_one;
use crate::backend::parts::joined;
use crate::backend::{Held, Mode, Renewal};
use crate::error::{Error, Kind};
use crate::together::together;

/// So many keys are read in one transaction. etcd allows for 128 steps.
const BATCH: usize = 100;

impl Etcd {
    pub(super) async fn renew_all(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        for held in leases {
            self.check_ttl(held)?;
        }
        let places = leases.iter().filter_map(|held| self.place_of(held));
        let sessions: BTreeSet<_> = places.map(|place| place.session).collect();
        // One that fails or hangs is no hindrance to the others.
        let kept = together(sessions.iter().map(|id| self.sessions.keep_alive(*id))).await;
        let (mut failed, mut why) = (BTreeSet::new(), None);
        for (id, is_alive) in sessions.iter().zip(kept) {
            match is_alive {
                Ok(true) => {}
                Ok(false) => self.session_over(*id),
                Err(error) => {
                    failed.insert(*id);
                    why.get_or_insert(error);
                }
            }
        }
        if let Some(error) = why.filter(|_| failed.len() == sessions.len()) {
            return Err(error);
        }
        let batches =
            leases.chunks(BATCH).map(async |some| (some.len(), self.look_for(some).await));
        let mut answers = joined(together(batches).await)?;
        self.pay_debts().await;
        for (answer, held) in answers.iter_mut().zip(leases) {
            let session = self.place_of(held).map(|place| place.session);
            if *answer == Renewal::Kept && session.is_some_and(|id| failed.contains(&id)) {
                *answer = Renewal::Unknown;
            }
        }
        Ok(answers)
    }

    /// What it is renewed by is what it was taken with, for as long as it is held.
    fn check_ttl(&self, held: &Held) -> Result<(), Error> {
        let session = self.place_of(held).and_then(|place| self.sessions.get(place.session));
        match session.filter(|session| session.is_alone && !session.lasts(held.ttl)) {
            Some(session) => Err(other_ttl(session.ttl)),
            None => Ok(()),
        }
    }

    /// The revision that created the key of a lease, if it is known here.
    pub(super) fn created(&self, held: &Held) -> Option<u64> {
        match held.mode {
            Mode::Exclusive => Some(held.fence),
            _ => self.place_of(held).map(|place| place.created),
        }
    }

    fn place_of(&self, held: &Held) -> Option<Place> {
        self.places.get(held.owner).filter(|place| place.fence == held.fence)
    }

    /// Which of their keys are there.
    async fn look_for(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        // What has no place here is not asked about.
        let known: Vec<bool> = leases.iter().map(|held| self.place_of(held).is_some()).collect();
        let asked = leases.iter().zip(&known).filter(|(_, known)| **known);
        let then: Vec<Step> =
            asked.map(|(held, _)| read_one(&self.key_of(&held.name, held.owner))).collect();
        if then.is_empty() {
            return Ok(vec![Renewal::Gone; leases.len()]);
        }
        let done = self.history.txn(&Txn { then, ..Txn::default() }).await?;
        let mut reads = done.reads.iter();
        let answer = |(held, known): (&Held, bool)| match known {
            true => self.found_in_renewal(held, reads.next().and_then(|found| found.first())),
            false => Ok(Renewal::Gone),
        };
        leases.iter().zip(known).map(answer).collect()
    }

    /// What became of a lease whose session was kept alive, by what is there now.
    fn found_in_renewal(&self, held: &Held, entry: Option<&Entry>) -> Result<Renewal, Error> {
        let key = self.key_of(&held.name, held.owner);
        let place = self.place_of(held);
        let created = place.as_ref().map(|place| place.created);
        match (entry.filter(|entry| Some(entry.created) == created), place) {
            (Some(entry), _) if !is_of(entry, &key, held.owner) => {
                Err(strange("the key of another owner"))
            }
            (Some(entry), Some(place)) if entry.session == Some(place.session) => Ok(Renewal::Kept),
            (Some(entry), Some(_)) => {
                // A claim of its own that came late has moved it.
                let home = entry.session.and_then(|session| self.sessions.get(session));
                if let Some(home) = home {
                    self.places.change(held.owner, |place| {
                        (place.session, place.is_alone) = (home.id, home.is_alone);
                    });
                }
                Err(Error::unavailable("an earlier claim of this lease came late"))
            }
            _ => {
                self.leave(held.owner);
                Ok(Renewal::Gone)
            }
        }
    }
}

fn other_ttl(ttl: Duration) -> Error {
    let message = format!(
        "an etcd lease has one ttl as long as it lives, and this one has {ttl:?}: renew it by \
         that, or give the lock back and take it with another"
    );
    Error::new(Kind::Unsupported, message)
}
