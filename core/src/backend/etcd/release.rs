//! Giving back: what was held, and what may have been granted unseen.

use std::time::Duration;

use super::cluster::{Condition, Failure, Step, Txn};
use super::places::Left;
use super::sessions::{Session, seconds};
use super::slots::Slot;
use super::txns::{read_newest, read_oldest};
use super::{Etcd, WINDOW};
use crate::backend::{Answer, Claim, Held, Released};
use crate::error::{Error, Kind};
use crate::name::{LockName, Owner};

/// How long a request may be on its way that was given up.
const LATE: Duration = Duration::from_secs(60 * 60);

impl Etcd {
    pub(super) async fn hand_on(
        &self,
        held: &Held,
        then: Option<&Claim>,
    ) -> Result<Released, Error> {
        self.places.retire(held.owner, &held.name, self.now());
        // An earlier claim of its own may yet be carried out, and make the key anew.
        let is_last = self.places.is_quiet(held.owner);
        let is_retired = then.is_some_and(|then| self.places.is_retired(then.owner));
        let next = then.filter(|_| !is_retired);
        let session = next.and_then(|next| self.sessions.fresh(next.ttl));
        let passed = match (next, session) {
            (Some(next), Some(session)) if next.renewed => self.pass(held, next, session).await?,
            _ => None,
        };
        let mut released = match passed {
            Some(released) => released,
            None => self.free(held).await?,
        };
        self.clean_up(held.owner, &held.name, is_last).await?;
        if released.next.is_none() {
            released.next = match next {
                // Its error is not the release's: it will ask again.
                Some(next) => self.asking(next).answer().await.ok(),
                None => is_retired.then_some(Answer::Retired),
            };
        }
        Ok(released)
    }

    /// Free the lock.
    async fn free(&self, held: &Held) -> Result<Released, Error> {
        let key = self.key_of(&held.name, held.owner);
        let line = self.keys.line(&held.name);
        let txn = Txn {
            conditions: vec![Condition::Created(key.clone(), held.fence)],
            then: vec![Step::Delete(key), read_oldest(line)],
            ..Txn::default()
        };
        let done = self.txn(&txn).await?;
        let others = done.reads.first().map_or(0, |line| line.count);
        Ok(Released { held: done.met, next: None, others })
    }

    /// Free it and put the next at the end of its line, which is the head if
    /// nobody else waits. `None`: nothing was done.
    async fn pass(
        &self,
        held: &Held,
        next: &Claim,
        session: Session,
    ) -> Result<Option<Released>, Error> {
        let asking = self.asking(next);
        let key = self.key_of(&held.name, held.owner);
        let line = self.keys.line(&held.name);
        let txn = Txn {
            conditions: vec![Condition::Created(key.clone(), held.fence), asking.not_refused()],
            then: vec![Step::Delete(key), asking.put(&session, "held"), read_newest(line, None, 2)],
            ..Txn::default()
        };
        let done = match self.write(&session, next.owner, txn).await {
            Err(Failure::NoSession) => return Ok(None),
            Err(Failure::Error(error)) if error.kind() == Kind::Cancelled => return Ok(None),
            done => done?,
        };
        let Some(line) = done.reads.first().filter(|_| done.met) else { return Ok(None) };
        Ok(Some(Released {
            held: true,
            next: asking.passed(line, done.revision, &session),
            others: line.waiting_besides(0),
        }))
    }

    /// Undo what a retired owner has asked for; its key may be deleted already.
    pub(super) async fn clean_up(
        &self,
        owner: Owner,
        name: &LockName,
        is_deleted: bool,
    ) -> Result<(), Error> {
        match self.places.left(owner, is_deleted).await {
            Left::Nothing => {}
            Left::Key(slot) => {
                let then = vec![Step::Delete(self.keys.place(name, slot))];
                self.sent(owner, Txn { then, ..Txn::default() }).await?;
                self.places.settle(owner);
            }
            Left::Late(slot) => {
                self.keep_out(owner, name, slot).await?;
                self.places.settle_late(owner);
            }
        }
        if let Some(place) = self.leave(owner)
            && place.is_alone
        {
            self.sessions.forget(place.session);
            self.end_in_background(place.session);
        }
        Ok(())
    }

    /// Delete its key, and let nothing of it make that again: requests may
    /// overtake each other.
    async fn keep_out(&self, owner: Owner, name: &LockName, slot: Slot) -> Result<(), Error> {
        let (session, _) = self.cluster.open(seconds(LATE)).await?;
        let value = self.note("a claim was given up", "kept out");
        let key = self.keys.refusal(name, owner);
        let refusal = Step::Put { key, value, session: Some(session) };
        let then = vec![Step::Delete(self.keys.place(name, slot)), refusal];
        self.txn(&Txn { then, ..Txn::default() }).await?;
        Ok(())
    }

    /// Clean up what could not be cleaned up in its time. Whoever keeps a
    /// session alive does this too: what is left in it would never end.
    pub(super) async fn pay_debts(&self) {
        for (owner, name) in self.places.owed(self.now() - WINDOW) {
            if self.clean_up(owner, &name, false).await.is_err() {
                break;
            }
        }
    }
}
