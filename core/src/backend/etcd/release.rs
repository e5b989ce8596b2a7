//! Giving back: what was held, and what may have been granted unseen.

use std::time::Duration;

use super::cluster::{Condition, Done, Entry, Failure, Found, Step, Txn};
use super::places::Left;
use super::proof::{is_of, strange};
use super::sessions::seconds;
use super::slots::Slot;
use super::txns::{read_oldest, read_one};
use super::{Etcd, MOST_DEBTS, OVERDUE, note};
use crate::backend::{Answer, Claim, Held, Mode, Released};
use crate::error::{Error, Kind, Outcome};
use crate::name::{LockName, Owner};

/// How long a request may be on its way that was given up.
const LATE: Duration = Duration::from_secs(60 * 60);

impl Etcd {
    pub(super) async fn hand_on(
        &self,
        held: &Held,
        then: Option<&Claim>,
    ) -> Result<Released, Error> {
        if self.places.is_handed_on(held.owner) {
            let next = match then {
                Some(then) => self.asking(then).answer().await.ok(),
                None => None,
            };
            return Ok(Released { held: false, next, others: 0 });
        }
        if self.places.has_rested(held.owner) {
            return Ok(Released { held: false, next: None, others: 0 });
        }
        let created = self.created(held);
        self.places.retire(held.owner, &held.name, self.now());
        // An earlier claim of its own may yet be carried out, and make the key anew.
        let is_last = self.places.is_quiet(held.owner);
        let is_retired = then.is_some_and(|then| self.places.is_retired(then.owner));
        let next = then.filter(|_| !is_retired);
        let is_alone = |next: &Claim| !held.mode.is_shared() && !next.mode.is_shared();
        let passed = match next {
            Some(next) if next.renewed && is_alone(next) => self.pass(held, next).await?,
            _ => None,
        };
        let mut released = match passed {
            Some(released) => released,
            None => self.free(held, created).await?,
        };
        let cleaned_up = self.clean_up(held.owner, &held.name, is_last).await;
        // The lock is free by now, or the next one has it.
        cleaned_up.map_err(|e| e.with_outcome(Outcome::Unknown))?;
        if is_retired {
            released.next = Some(Answer::Retired);
        }
        if next.is_some_and(|next| self.places.get(next.owner).is_some()) {
            // It stands in line already, and does not wait besides itself.
            released.others = released.others.saturating_sub(1);
        }
        // Its error is not the release's: it will ask again. So it does if others
        // wait, whose turn it is, unless it may share that.
        if let (None, Some(next)) = (released.next, next)
            && (released.others == 0 || next.mode.is_shared())
        {
            released.next = self.asking(next).answer().await.ok();
        }
        Ok(released)
    }

    /// Free the lock.
    async fn free(&self, held: &Held, created: Option<u64>) -> Result<Released, Error> {
        let key = self.key_of(&held.name, held.owner);
        let line = self.keys.line(&held.name);
        let nothing = Released { held: false, next: None, others: 0 };
        let Some(created) = created else { return Ok(nothing) };
        let mut then = vec![Step::Delete(key.clone()), read_oldest(line)];
        if let (Mode::Counted { .. }, Some(place)) = (held.mode, self.places.get(held.owner)) {
            then.push(Step::Delete(self.keys.permit(&held.name, held.mode, place.permit)));
        }
        let txn = Txn {
            conditions: vec![Condition::Created(key.clone(), created)],
            then,
            otherwise: vec![read_one(&key)],
        };
        let done = self.txn(&txn).await?;
        let read = done.reads.first();
        if !done.met {
            let is_there = read.and_then(Found::first).is_some_and(|e| e.created == created);
            return match is_there {
                true => Err(strange("a key is there, and is not")),
                false => Ok(nothing),
            };
        }
        self.check_freed(held, created, &done)?;
        let others = read.map_or(0, |line| line.count);
        Ok(Released { held: true, next: None, others })
    }

    /// That it was this key which was deleted.
    fn check_freed(&self, held: &Held, created: u64, done: &Done) -> Result<(), Error> {
        let key = self.key_of(&held.name, held.owner);
        let gone = done.deleted.first().and_then(Option::as_ref);
        let is_ours = |e: &Entry| e.created == created && is_of(e, &key, held.owner);
        match gone.is_some_and(is_ours) {
            true => Ok(()),
            false => Err(strange("a lock is free, and its key was not deleted")),
        }
    }

    /// Free it and let the next take it in the same transaction, if nobody else
    /// waits. `None`: nothing was done.
    async fn pass(&self, held: &Held, next: &Claim) -> Result<Option<Released>, Error> {
        let is_wanted = self.places.get(held.owner).is_some_and(|place| place.is_wanted);
        let fresh = self.sessions.fresh(next.ttl, next.delay).filter(|_| !is_wanted);
        let Some(session) = fresh else { return Ok(None) };
        let asking = self.asking(next);
        let key = self.key_of(&held.name, held.owner);
        let line = self.keys.line(&held.name);
        let conditions = vec![
            Condition::Created(key.clone(), held.fence),
            Condition::NoneAfter(line.clone(), held.fence),
            asking.not_refused(),
        ];
        let then = vec![Step::Delete(key), asking.put(&session, "held"), read_oldest(line)];
        let txn = Txn { conditions, then, otherwise: Vec::new() };
        let done = match self.write(&session, next.owner, txn).await {
            Err(Failure::NoSession) => return Ok(None),
            Err(Failure::Error(error)) if error.kind() == Kind::Cancelled => return Ok(None),
            done => done?,
        };
        if !done.met {
            return Ok(None);
        }
        self.check_freed(held, held.fence, &done)?;
        let place = asking.first_of_all(&done, &session)?;
        let next = Some(asking.granted(place, &session, done.revision));
        Ok(Some(Released { held: true, next, others: 0 }))
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
        self.leave_for_good(owner);
        Ok(())
    }

    /// Forget where an owner stood, and its session if that was for it alone.
    pub(super) fn leave_for_good(&self, owner: Owner) {
        if let Some(place) = self.leave(owner)
            && place.is_alone
        {
            self.sessions.forget(place.session);
            self.end_in_background(place.session);
        }
    }

    /// Delete its key, and let nothing of it make that again: requests may
    /// overtake each other.
    async fn keep_out(&self, owner: Owner, name: &LockName, slot: Slot) -> Result<(), Error> {
        self.refuse(owner, name, vec![Step::Delete(self.keys.place(name, slot))]).await
    }

    /// Let nothing that was sent for it make its key.
    pub(super) async fn refuse(
        &self,
        owner: Owner,
        name: &LockName,
        mut then: Vec<Step>,
    ) -> Result<(), Error> {
        let (session, _) = self.cluster.open(seconds(LATE)).await?;
        let now = self.runtime.wall_micros();
        let value = note::note("a claim was given up", "kept out", now, owner);
        let key = self.keys.refusal(name, owner);
        then.push(Step::Put { key, value, session: Some(session) });
        self.txn(&Txn { then, ..Txn::default() }).await?;
        Ok(())
    }

    /// Clean up what could not be cleaned up in its time. Whoever keeps a
    /// session alive does this too: what is left in it would never end.
    pub(super) async fn pay_debts(&self) {
        for (owner, name) in self.places.owed(self.now() - OVERDUE, MOST_DEBTS) {
            let paid = match self.places.rest_of(owner) {
                Some(rest) => self.let_rest(owner, &name, rest).await.map(drop),
                None => self.clean_up(owner, &name, false).await,
            };
            if paid.is_err() {
                self.places.put_off(owner, self.now());
                break;
            }
        }
    }
}
