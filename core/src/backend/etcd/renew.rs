//! Renewals: one keep-alive for each session, and a look whether the keys are
//! still there.

use std::collections::BTreeSet;

use super::Etcd;
use super::cluster::{Condition, Failure, Step, Txn};
use super::places::Place;
use super::txns::read_one;
use crate::backend::{Held, Renewal};
use crate::error::{Error, Kind};

/// So many keys are read in one transaction. etcd allows for 128 steps.
const BATCH: usize = 100;

impl Etcd {
    pub(super) async fn renew_all(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        // First of all, so that its session is kept alive with the others.
        for held in leases {
            if let Some(place) = self.place_of(held).filter(|place| !self.is_home(held, place)) {
                self.move_home(held, &place).await?;
            }
        }
        let places = leases.iter().filter_map(|held| self.place_of(held));
        let sessions: BTreeSet<_> = places.map(|place| place.session).collect();
        for session in sessions {
            if !self.sessions.keep_alive(session).await? {
                self.session_over(session);
            }
        }
        let mut answers = Vec::with_capacity(leases.len());
        for batch in leases.chunks(BATCH) {
            answers.extend(self.look_for(batch).await?);
        }
        self.pay_debts().await;
        Ok(answers)
    }

    fn place_of(&self, held: &Held) -> Option<Place> {
        self.places.get(held.owner).filter(|place| place.created == held.fence)
    }

    /// Whether its key lives with the session for its ttl.
    fn is_home(&self, held: &Held, place: &Place) -> bool {
        let session = self.sessions.get(place.session);
        let is_long = session.is_some_and(|session| session.ttl >= held.ttl);
        if held.renewed { is_long } else { place.is_alone }
    }

    async fn move_home(&self, held: &Held, place: &Place) -> Result<(), Error> {
        let session = match held.renewed {
            true => self.sessions.usable(held.ttl).await?,
            false => self.sessions.open_alone(held.ttl).await?,
        };
        let key = self.key_of(&held.name, held.owner);
        let note = Step::Put {
            key: key.clone(),
            value: self.note(&place.label, "held"),
            session: Some(session.id),
        };
        // A move that comes late must not undo a later one.
        let conditions = vec![
            Condition::Created(key.clone(), held.fence),
            Condition::Within(key.clone(), place.session),
        ];
        let txn = Txn { conditions, then: vec![note], otherwise: vec![read_one(&key)] };
        let done = match self.write(&session, held.owner, txn).await {
            // Released in the meantime.
            Err(Failure::Error(error)) if error.kind() == Kind::Cancelled => return Ok(()),
            done => done?,
        };
        if done.met {
            self.places.change(held.owner, |place| {
                (place.session, place.is_alone) = (session.id, !held.renewed);
            });
            return Ok(());
        }
        if !held.renewed {
            self.sessions.forget(session.id);
            self.end_in_background(session.id);
        }
        // That it is gone is found out with the others.
        let Some(entry) = done.reads.first().and_then(|found| found.first()) else {
            return Ok(());
        };
        // Another renewal has moved it, now or earlier.
        let is_alone = entry.session.is_some_and(|session| self.sessions.is_alone(session));
        self.places.change(held.owner, |place| {
            (place.session, place.is_alone) = (entry.session.unwrap_or(place.session), is_alone);
        });
        match self.place_of(held).is_none_or(|place| self.is_home(held, &place)) {
            true => Ok(()),
            false => Err(Error::unavailable("an earlier renewal came late")),
        }
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
        let done = self.txn(&Txn { then, ..Txn::default() }).await?;
        let mut reads = done.reads.iter();
        let answer = |(held, known): (&Held, bool)| {
            let entry = if known { reads.next().and_then(|found| found.first()) } else { None };
            let is_there = entry.is_some_and(|entry| entry.created == held.fence);
            if known && !is_there {
                self.leave(held.owner);
            }
            if is_there { Renewal::Kept } else { Renewal::Gone }
        };
        Ok(leases.iter().zip(known).map(answer).collect())
    }
}
