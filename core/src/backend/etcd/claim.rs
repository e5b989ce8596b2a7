//! Claims: a free lock is one transaction; in a busy one's line a key is put,
//! and read again after every wait.
//!
//! Who waits does so in a session that is soon over, and moves its key to the
//! session of its ttl in the transaction that finds it first of its line. So a
//! dead waiter keeps others for two seconds, and a lease begins with its ttl.

use std::time::Duration;

use super::cluster::{Change, Condition, Done, Entry, Failure, Found, Keys, SessionId, Step, Txn};
use super::places::Place;
use super::proof::{is_of, strange};
use super::sessions::Session;
use super::txns::{no_key, read_last, read_newest, read_oldest, read_one};
use super::{Etcd, note};
use crate::backend::{Answer, Claim};
use crate::error::{Error, Kind};
use crate::time::Instant;

/// How long a place outlives its client: the shortest that etcd can count.
pub(super) const STAND: Duration = Duration::from_secs(2);

/// A claim that is being answered.
pub(super) struct Asking<'a> {
    pub(super) etcd: &'a Etcd,
    pub(super) claim: &'a Claim,
    sent: Instant,
    pub(super) key: String,
    pub(super) line: String,
}

/// Where a key stands in its line.
enum Stands {
    /// It is the first, and lives with this session.
    First(SessionId),
    /// Behind this one.
    Behind(Entry),
}

impl Etcd {
    pub(super) fn asking<'a>(&'a self, claim: &'a Claim) -> Asking<'a> {
        let slot = self.places.take_slot(claim.owner, &claim.name, claim.mode);
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
        if self.claim.mode.is_shared() {
            return or_tied(self.share().await);
        }
        if let Some(place) = self.etcd.places.get(self.claim.owner) {
            match self.look(place).await {
                Ok(None) => {}
                Ok(Some(answer)) => return Ok(answer),
                Err(failure) => return or_tied(Err(failure)),
            }
        }
        let busy = match self.take().await {
            Ok(busy @ Answer::Busy { .. }) => busy,
            Ok(refused @ Answer::OtherKind { .. }) => {
                self.etcd.places.has_nothing(self.claim.owner);
                return Ok(refused);
            }
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

    /// The session in which it holds the lock.
    pub(super) async fn home(&self) -> Result<Session, Error> {
        match self.claim.renewed {
            true => self.etcd.sessions.usable(self.claim.ttl, self.claim.delay).await,
            false => self.etcd.sessions.alone(self.claim.ttl).await,
        }
    }

    /// It was not needed.
    pub(super) fn put_aside(&self, home: &Session) {
        if home.is_alone {
            self.etcd.sessions.put_aside(home);
        }
    }

    /// Take the lock if nobody holds it or waits for it.
    async fn take(&self) -> Result<Answer, Failure> {
        let home = self.home().await?;
        let txn = Txn {
            conditions: vec![Condition::Absent(Keys::Under(self.line.clone())), self.not_refused()],
            then: vec![self.put(&home, "held"), read_oldest(self.line.clone())],
            otherwise: vec![read_one(&self.key), read_newest(self.line.clone(), None, 1)],
        };
        let done = self.etcd.write(&home, self.claim.owner, txn).await?;
        if done.met {
            let place = self.first_of_all(&done, &home)?;
            return Ok(self.granted(place, &home, done.revision));
        }
        self.put_aside(&home);
        let [ours, line] = &done.reads[..] else { return Err(strange("not two reads").into()) };
        match ours.first() {
            // An earlier claim of this owner has had no answer.
            Some(entry) => self.found(entry).await,
            None => {
                let ahead = line.waiting_besides(0);
                let other = line.first().and_then(|last| self.other_kind(last));
                Ok(other.unwrap_or(Answer::Busy { free_in: None, ahead, fence: 0 }))
            }
        }
    }

    /// The place of a key that was just put as the first of its line, as the
    /// answer has it.
    pub(super) fn first_of_all(&self, done: &Done, home: &Session) -> Result<Place, Error> {
        let line = done.reads.first();
        let entry = line.and_then(Found::first).filter(|entry| self.is_ours(entry));
        match entry {
            Some(entry) if (entry.created, entry.session) == (done.revision, Some(home.id)) => {
                Ok(Place::new(self.claim, entry.created, home))
            }
            _ => Err(strange("a lock is taken, and its key is not there")),
        }
    }

    /// Stand at the end of the line.
    async fn stand(&self, keep: Duration) -> Result<Answer, Failure> {
        // All of the client's waiters keep it alive together, however many there are.
        let session = self.etcd.sessions.usable(keep.min(STAND), Duration::ZERO).await?;
        let (last, first) =
            (read_newest(self.line.clone(), None, 2), read_oldest(self.line.clone()));
        let counted = self.etcd.keys.counted(&self.claim.name);
        let nobody_counts = Condition::Absent(counted.clone());
        let txn = Txn {
            conditions: vec![no_key(self.key.clone()), self.not_refused(), nobody_counts],
            then: vec![self.put(&session, "waits"), last, first],
            otherwise: vec![read_one(&self.key), read_last(counted)],
        };
        let done = self.etcd.write(&session, self.claim.owner, txn).await?;
        if !done.met {
            let [ours, counted] = &done.reads[..] else {
                return Err(strange("not two reads").into());
            };
            if let Some(entry) = ours.first() {
                return self.found(entry).await;
            }
            let other = counted.first().and_then(|last| self.other_kind(last));
            return Ok(other.unwrap_or(Answer::Retired));
        }
        let mut place = Place::new(self.claim, done.revision, &session);
        place.ahead = done.reads.first().map_or(0, |line| line.waiting_besides(1));
        match self.stands(&place, &done)? {
            Some(Stands::Behind(before)) => Ok(self.behind(place, &before, done.revision)),
            Some(Stands::First(at)) if at == session.id => self.step_up(place, &session).await,
            _ => Err(strange("a key is put, and it is not there").into()),
        }
    }

    /// There is a key of this owner that the client did not know of.
    pub(super) async fn found(&self, entry: &Entry) -> Result<Answer, Failure> {
        if !self.is_ours(entry) {
            return Err(strange("the key of another owner").into());
        }
        let session = entry.session.and_then(|id| self.etcd.sessions.get(id));
        let answer = match session {
            Some(session) => {
                let place = Place::new(self.claim, entry.created, &session);
                match self.claim.mode.is_shared() {
                    true => self.look_to_share(place).await?,
                    false => self.look(place).await?,
                }
            }
            // Of a session that is over as far as we know; it ends soon.
            None => None,
        };
        Ok(answer.unwrap_or(Answer::Tied))
    }

    /// Look whether it is the owner's turn. `None`: its place is lost.
    async fn look(&self, mut place: Place) -> Result<Option<Answer>, Failure> {
        let Some(session) = self.etcd.sessions.refreshed(place.session, self.claim.delay).await?
        else {
            self.etcd.session_over(place.session);
            return Ok(None);
        };
        // Who stood before it is gone: most likely it is the first.
        if place.is_called {
            return Ok(Some(self.step_up(place, &session).await?));
        }
        let then = self.read_place(&place);
        let done = self.etcd.history.txn(&Txn { then, ..Txn::default() }).await?;
        let Some(stands) = self.stands(&place, &done)? else {
            self.etcd.leave(self.claim.owner);
            return Ok(None);
        };
        let at = match stands {
            Stands::Behind(before) => {
                let line = done.reads.first().map_or(0, |line| line.waiting_besides(1));
                place.ahead = place.ahead.min(line);
                let busy = self.behind(place, &before, done.revision);
                if self.claim.renewed {
                    // So that there is nothing to be done first when its turn comes.
                    drop(self.etcd.sessions.usable(self.claim.ttl, self.claim.delay).await);
                }
                return Ok(Some(busy));
            }
            Stands::First(at) => at,
        };
        self.is_first(place, at, &session, done.revision).await
    }

    /// It is the first, and its key lives with a session.
    async fn is_first(
        &self,
        place: Place,
        at: SessionId,
        session: &Session,
        revision: u64,
    ) -> Result<Option<Answer>, Failure> {
        // An earlier question has moved it, and had no answer.
        let moved = match at == session.id {
            true => None,
            false => self.etcd.sessions.refreshed(at, self.claim.delay).await?,
        };
        match moved.as_ref().or_else(|| (at == session.id).then_some(session)) {
            Some(home) if home.suits(self.claim) => {
                let place = Place { session: at, is_alone: home.is_alone, ..place };
                Ok(Some(self.granted(place, home, revision)))
            }
            Some(away) => Ok(Some(self.step_up(Place { session: at, ..place }, away).await?)),
            None => Ok(Some(Answer::Tied)),
        }
    }

    /// Take the lock if nobody stands before it any more, and move its key to the
    /// session of its ttl.
    async fn step_up(&self, place: Place, session: &Session) -> Result<Answer, Failure> {
        let home = match session.suits(self.claim) {
            true => *session,
            false => self.home().await?,
        };
        let conditions = vec![
            Condition::NoneBefore(Keys::Under(self.line.clone()), place.created),
            Condition::Created(self.key.clone(), place.created),
            // A move that comes late must not undo a later one.
            Condition::Within(self.key.clone(), place.session),
        ];
        let mut then = vec![self.put(&home, "held")];
        then.extend(self.read_place(&place));
        let txn = Txn { conditions, then, otherwise: self.read_place(&place) };
        let done = self.etcd.write(&home, self.claim.owner, txn).await?;
        if !done.met && !session.suits(self.claim) {
            self.put_aside(&home);
        }
        match (self.stands(&place, &done)?, done.met) {
            (Some(Stands::First(at)), true) if at == home.id => {
                let is_wanted = done.reads.iter().any(|line| line.count > 1);
                let place = Place { session: at, is_alone: home.is_alone, is_wanted, ..place };
                Ok(self.granted(place, &home, done.revision))
            }
            (_, true) => Err(strange("a lock is taken, and its key is not there").into()),
            (Some(Stands::Behind(before)), false) => Ok(self.behind(place, &before, done.revision)),
            // An earlier question has moved it; the next finds out where it is.
            (Some(Stands::First(at)), false) => {
                self.etcd.places.change(self.claim.owner, |place| place.is_called = false);
                match at == place.session {
                    true => Err(strange("it is the first, and cannot take the lock").into()),
                    false => Ok(Answer::Tied),
                }
            }
            (None, false) => {
                self.etcd.leave(self.claim.owner);
                Ok(Answer::Tied)
            }
        }
    }

    /// Its key, the one before it, and the first of the line.
    fn read_place(&self, place: &Place) -> Vec<Step> {
        let up_to = read_newest(self.line.clone(), Some(place.created + 1), 2);
        vec![up_to, read_oldest(self.line.clone())]
    }

    /// Where it stands, by two reads that must agree: that nobody is before it is
    /// not believed because nobody was named. `None`: its key is not there.
    fn stands(&self, place: &Place, done: &Done) -> Result<Option<Stands>, Error> {
        let [up_to, first] = &done.reads[..] else { return Err(strange("not two reads")) };
        let is_placed = |entry: &&Entry| entry.created == place.created && entry.key == self.key;
        let Some(ours) = up_to.first().filter(is_placed) else { return Ok(None) };
        if !self.is_ours(ours) {
            return Err(strange("the key of another owner"));
        }
        match (up_to.entries.get(1), first.first(), ours.session) {
            (None, Some(first), Some(at)) if first == ours => Ok(Some(Stands::First(at))),
            (Some(before), Some(first), _) if first.created <= before.created => {
                Ok(Some(Stands::Behind(before.clone())))
            }
            _ => Err(strange("a line without an order")),
        }
    }

    /// It waits for a key that was there at a revision.
    fn behind(&self, mut place: Place, before: &Entry, revision: u64) -> Answer {
        let ahead = place.ahead;
        place.is_called = false;
        place.watched = Some((before.key.clone(), Change::Deleted));
        self.etcd.set_place(self.claim.owner, place, revision);
        Answer::Busy { free_in: None, ahead, fence: 0 }
    }

    /// It holds the lock, and did at a revision.
    pub(super) fn granted(&self, mut place: Place, home: &Session, revision: u64) -> Answer {
        let (fence, slot) = (place.fence, place.permit);
        place.is_called = false;
        // The others look at their keys whenever they are renewed.
        place.watched = (!self.claim.renewed).then(|| (self.key.clone(), Change::Deleted));
        self.etcd.set_place(self.claim.owner, place, revision);
        Answer::Granted { fence, slot, term: Some(home.term(self.sent)) }
    }

    pub(super) fn put(&self, session: &Session, does: &str) -> Step {
        let claim = self.claim;
        let value = note::note(&claim.label, does, self.etcd.runtime.wall_micros(), claim.owner);
        Step::Put { key: self.key.clone(), value, session: Some(session.id) }
    }

    pub(super) fn not_refused(&self) -> Condition {
        no_key(self.etcd.keys.refusal(&self.claim.name, self.claim.owner))
    }

    /// How a key that is there uses the lock, if that does not go with the claim.
    pub(super) fn other_kind(&self, entry: &Entry) -> Option<Answer> {
        let mode = self.etcd.keys.mode(&self.claim.name, &entry.key);
        (!mode.goes_with(self.claim.mode)).then_some(Answer::OtherKind { mode })
    }

    pub(super) fn is_ours(&self, entry: &Entry) -> bool {
        is_of(entry, &self.key, self.claim.owner)
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
