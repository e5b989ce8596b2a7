//! Claims: a free lock is one transaction; in a busy one's line a key is put,
//! and read again after every wait.

use std::time::Duration;

use super::cluster::{Condition, Entry, Failure, Found, Keys, Step, Txn};
use super::places::Place;
use super::sessions::Session;
use super::txns::{no_key, read_newest, read_one};
use super::{Etcd, WINDOW, strange};
use crate::backend::{Answer, Claim};
use crate::error::{Error, Kind};
use crate::time::Instant;

/// A claim that is being answered.
pub(super) struct Asking<'a> {
    etcd: &'a Etcd,
    claim: &'a Claim,
    sent: Instant,
    key: String,
    line: String,
}

impl Etcd {
    pub(super) fn asking<'a>(&'a self, claim: &'a Claim) -> Asking<'a> {
        let slot = self.places.take_slot(claim.owner, &claim.name);
        let (key, line) = (self.keys.place(&claim.name, slot), self.keys.line(&claim.name));
        Asking { etcd: self, claim, sent: self.now(), key, line }
    }
}

impl Asking<'_> {
    pub(super) async fn answer(&self) -> Result<Answer, Error> {
        // It might wait for a key of this client that nobody has any use for.
        self.etcd.pay_debts().await;
        if self.etcd.places.is_retired(self.claim.owner) {
            return Ok(Answer::Retired);
        }
        if let Some(place) = self.etcd.places.get(self.claim.owner)
            && let Some(answer) = self.look(&place).await?
        {
            return Ok(answer);
        }
        let busy = match self.take().await {
            Ok(busy @ Answer::Busy { .. }) => busy,
            decided => return or_tied(decided),
        };
        match self.claim.place {
            Some(keep) => or_tied(self.stand(keep).await),
            None => {
                self.etcd.places.has_nothing(self.claim.owner);
                Ok(busy)
            }
        }
    }

    /// Take the lock if nobody holds it or waits for it.
    async fn take(&self) -> Result<Answer, Failure> {
        let lasts = if self.claim.renewed { self.claim.ttl } else { WINDOW };
        let session = self.etcd.sessions.usable(lasts).await?;
        let txn = Txn {
            conditions: vec![Condition::Absent(Keys::Under(self.line.clone())), self.not_refused()],
            then: vec![self.put(&session, "held")],
            otherwise: vec![read_one(&self.key), read_newest(self.line.clone(), None, 1)],
        };
        let done = self.etcd.write(&session, self.claim.owner, txn).await?;
        if done.met {
            let place = Place::new(self.claim, done.revision, &session);
            return Ok(self.stands_at(place, &session, None));
        }
        let [ours, line] = &done.reads[..] else { return Err(strange("not two reads").into()) };
        match ours.first() {
            // An earlier claim of this owner has had no answer.
            Some(entry) => self.found(entry).await,
            None => {
                let ahead = line.waiting_besides(0);
                Ok(Answer::Busy { free_in: None, ahead, fence: 0 })
            }
        }
    }

    /// Stand at the end of the line.
    async fn stand(&self, keep: Duration) -> Result<Answer, Failure> {
        // All of the client's waiters keep it alive together, however many there are.
        let session = self.etcd.sessions.usable(keep.min(WINDOW)).await?;
        let txn = Txn {
            conditions: vec![no_key(self.key.clone()), self.not_refused()],
            then: vec![self.put(&session, "waits"), read_newest(self.line.clone(), None, 2)],
            otherwise: vec![read_one(&self.key)],
        };
        let done = self.etcd.write(&session, self.claim.owner, txn).await?;
        let [found] = &done.reads[..] else { return Err(strange("not one read").into()) };
        match (done.met, found.first()) {
            (true, _) => Ok(self.passed(found, done.revision, &session).unwrap_or(Answer::Tied)),
            (false, Some(entry)) => self.found(entry).await,
            (false, None) => Ok(Answer::Retired),
        }
    }

    /// There is a key of this owner that the client did not know of.
    async fn found(&self, entry: &Entry) -> Result<Answer, Failure> {
        let session = entry.session.and_then(|id| self.etcd.sessions.get(id));
        let answer = match session {
            Some(session) => {
                let place = Place::new(self.claim, entry.created, &session);
                self.look(&place).await?
            }
            // Of a session that is over as far as we know; it ends soon.
            None => None,
        };
        Ok(answer.unwrap_or(Answer::Tied))
    }

    /// Look whether it is the owner's turn. `None`: its place is lost.
    async fn look(&self, place: &Place) -> Result<Option<Answer>, Error> {
        let Some(session) = self.etcd.sessions.refreshed(place.session).await? else {
            self.etcd.session_over(place.session);
            return Ok(None);
        };
        let before = read_newest(self.line.clone(), Some(place.created), 1);
        let then = vec![read_one(&self.key), before];
        let done = self.etcd.history.txn(&Txn { then, ..Txn::default() }).await?;
        let [ours, before] = &done.reads[..] else { return Err(strange("not two reads")) };
        if ours.first().is_none_or(|entry| entry.created != place.created) {
            self.etcd.leave(self.claim.owner);
            return Ok(None);
        }
        let ahead = place.ahead.min(before.waiting_besides(1));
        let before = before.first().map(|entry| (entry, done.revision));
        Ok(Some(self.stands_at(Place { ahead, ..place.clone() }, &session, before)))
    }

    /// Note where the owner stands: behind a key that was there at a revision,
    /// or first.
    fn stands_at(
        &self,
        mut place: Place,
        session: &Session,
        before: Option<(&Entry, u64)>,
    ) -> Answer {
        let (ahead, created) = (place.ahead, place.created);
        place.watched = before.map(|(entry, _)| entry.key.clone());
        self.etcd.set_place(self.claim.owner, place, before.map_or(0, |(_, revision)| revision));
        match before {
            Some(_) => Answer::Busy { free_in: None, ahead, fence: 0 },
            None => Answer::Granted { fence: created, term: Some(session.term(self.sent)) },
        }
    }

    /// Where the owner stands that was put at the end of the line; `None` if it
    /// stood there before.
    pub(super) fn passed(&self, line: &Found, revision: u64, session: &Session) -> Option<Answer> {
        let ours = line.first().filter(|entry| entry.key == self.key)?;
        let mut place = Place::new(self.claim, ours.created, session);
        place.ahead = line.waiting_besides(1);
        let before = line.entries.get(1).map(|entry| (entry, revision));
        Some(self.stands_at(place, session, before))
    }

    pub(super) fn put(&self, session: &Session, does: &str) -> Step {
        let value = self.etcd.note(&self.claim.label, does);
        Step::Put { key: self.key.clone(), value, session: Some(session.id) }
    }

    pub(super) fn not_refused(&self) -> Condition {
        no_key(self.etcd.keys.refusal(&self.claim.name, self.claim.owner))
    }
}

/// A session that ended in between is opened anew by the next who asks.
fn or_tied(answer: Result<Answer, Failure>) -> Result<Answer, Error> {
    match answer {
        Err(Failure::NoSession) => Ok(Answer::Tied),
        Err(Failure::Error(error)) if error.kind() == Kind::Cancelled => Ok(Answer::Retired),
        answer => answer.map_err(Error::from),
    }
}
