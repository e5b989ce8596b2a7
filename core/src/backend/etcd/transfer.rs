//! Handing a lease to another owner. Its key stays, with the revision that created it,
//! and lives with another session from then on.
//!
//! That session is for one transfer alone, and the transaction that moves the key asks
//! which one it lived with before. So no two move it, and a key that lives with the
//! session of a transfer was moved by that. To undo a transfer, also one that may come
//! late, is to end its session.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cluster::{Change, Condition, Entry, Failure, Keys, Order, Read, SessionId, Step, Txn};
use super::note::Share;
use super::places::Place;
use super::proof::{is_of, strange};
use super::sessions::Session;
use super::txns::{read_oldest, read_one};
use super::{Etcd, note};
use crate::backend::{Claim, Heir, Held, Mode, Transferred};
use crate::error::{Error, Outcome};
use crate::name::Owner;
use crate::time::Instant;

/// The sessions of the last transfers to each owner.
#[derive(Default)]
pub(super) struct Moves(Mutex<VecDeque<(Owner, SessionId)>>);

impl Moves {
    /// What is older has ended, or is soon over by itself.
    const KEPT: usize = 4096;

    fn insert(&self, owner: Owner, session: SessionId) {
        let mut moves = self.moves();
        moves.push_back((owner, session));
        if moves.len() > Self::KEPT {
            moves.pop_front();
        }
    }

    fn of(&self, owner: Owner) -> Vec<SessionId> {
        let moves = self.moves();
        moves.iter().filter(|(to, _)| *to == owner).map(|(_, session)| *session).collect()
    }

    fn remove(&self, session: SessionId) {
        self.moves().retain(|(_, other)| *other != session);
    }

    fn moves(&self) -> MutexGuard<'_, VecDeque<(Owner, SessionId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transfer that is being made.
struct Transfer<'a> {
    etcd: &'a Etcd,
    held: &'a Held,
    to: &'a Claim,
    heir: Heir,
}

impl Etcd {
    pub(super) async fn hand_to(
        &self,
        held: &Held,
        to: &Claim,
        heir: Heir,
    ) -> Result<Transferred, Error> {
        // What a session was opened for may be under way already.
        let unknown = |e: Error| match self.moves.of(to.owner).is_empty() {
            true => e.with_outcome(Outcome::NotHeld),
            false => e.with_outcome(Outcome::Unknown),
        };
        Transfer { etcd: self, held, to, heir }.make().await.map_err(unknown)
    }

    /// Undo what was handed to this owner, and whatever of that comes late.
    pub(super) async fn take_back(&self, owner: Owner) -> Result<(), Error> {
        for session in self.moves.of(owner) {
            self.cluster.end(session).await?;
            self.sessions.forget(session);
            self.moves.remove(session);
        }
        Ok(())
    }
}

impl Transfer<'_> {
    async fn make(&self) -> Result<Transferred, Error> {
        let etcd = self.etcd;
        if etcd.places.is_retired(self.to.owner) {
            return Ok(Transferred::Gone);
        }
        let Some(entry) = self.find().await? else { return Ok(Transferred::Gone) };
        if note::is_of(&entry.value, self.to.owner) {
            return self.again(&entry).await;
        }
        match entry.session.filter(|_| note::is_of(&entry.value, self.held.owner)) {
            Some(session) => self.move_from(&entry, session).await,
            None => Ok(Transferred::Gone),
        }
    }

    /// The key of the lease, whichever of the two has it.
    async fn find(&self) -> Result<Option<Entry>, Error> {
        let (name, mode) = (&self.held.name, self.held.mode);
        let read = match mode {
            Mode::Exclusive => read_oldest(self.etcd.keys.line(name)),
            _ => {
                let keys = Keys::Under(self.etcd.keys.kind(name, mode));
                Step::Read(Read { keys, before: None, order: Order::OldestFirst, limit: 0 })
            }
        };
        let then = vec![read];
        let done = self.etcd.history.txn(&Txn { then, ..Txn::default() }).await?;
        let entries = done.reads.into_iter().flat_map(|found| found.entries);
        let mut its: Vec<Entry> = entries.filter(|entry| self.has_fence(entry)).collect();
        if mode.is_shared() {
            its.retain(|entry| {
                let owners = [self.to.owner, self.held.owner];
                owners.into_iter().any(|owner| note::is_of(&entry.value, owner))
            });
        }
        Ok(its.into_iter().next())
    }

    fn has_fence(&self, entry: &Entry) -> bool {
        match self.held.mode {
            Mode::Exclusive => entry.created == self.held.fence,
            _ => {
                let share = note::share(&entry.value).map(|(_, share)| share);
                let fence = share.map(|share| share.fence.unwrap_or(entry.written));
                fence == Some(self.held.fence)
            }
        }
    }

    /// Move the key to a session of its own.
    async fn move_from(&self, entry: &Entry, from: SessionId) -> Result<Transferred, Error> {
        let (etcd, key) = (self.etcd, &entry.key);
        let sent = etcd.now();
        let session = etcd.sessions.alone(self.to.ttl).await?;
        etcd.moves.insert(self.to.owner, session.id);
        let now = etcd.runtime.wall_micros();
        let share = note::share(&entry.value).filter(|_| self.held.mode.is_shared());
        let does = match share {
            Some((_, share)) => Share { fence: Some(self.held.fence), ..share }.does(self.does()),
            None => self.does().to_owned(),
        };
        let value = note::note(&self.to.label, &does, now, self.to.owner);
        let put = Step::Put { key: key.clone(), value, session: Some(session.id) };
        let conditions = vec![
            Condition::Created(key.clone(), entry.created),
            Condition::Within(key.clone(), from),
        ];
        let mut then = vec![put, read_one(key)];
        // What keeps others from its permit ends with the lease, and not before.
        then.extend(share.and_then(|(_, share)| share.permit).map(|permit| Step::Put {
            key: etcd.keys.permit(&self.held.name, self.held.mode, permit),
            value: self.to.owner.to_string(),
            session: Some(session.id),
        }));
        let otherwise = vec![read_one(key)];
        let done = match etcd.history.txn(&Txn { conditions, then, otherwise }).await {
            Err(Failure::NoSession) => {
                etcd.session_over(session.id);
                return Err(Failure::NoSession.into());
            }
            done => done?,
        };
        let read = done.reads.first().and_then(|found| found.first());
        if !done.met {
            etcd.moves.remove(session.id);
            etcd.sessions.put_aside(&session);
            return match read.filter(|entry| note::is_of(&entry.value, self.held.owner)) {
                // It has moved on, to a session that an earlier claim has asked for.
                Some(_) => Err(Error::unavailable("an earlier claim of this lease came late")),
                // Another transfer was faster, perhaps an earlier one to the same owner.
                None => Err(Error::unavailable("the lease was handed on meanwhile")),
            };
        }
        let is_moved = |read: &Entry| {
            let is_same = (read.created, read.session) == (entry.created, Some(session.id));
            is_same && is_of(read, key, self.to.owner)
        };
        if !read.is_some_and(is_moved) {
            return Err(strange("a lease is handed on, and its key is another's"));
        }
        let did = share.map(|(what, _)| what).or_else(|| note::does(&entry.value));
        if self.heir == Heir::Client && did == Some(GIVEN) {
            // Nothing lives with it any more.
            etcd.end_in_background(from);
        }
        self.made(entry, Some(session), sent, done.revision).await
    }

    /// It was made before, and had no answer.
    async fn again(&self, entry: &Entry) -> Result<Transferred, Error> {
        let (etcd, sent) = (self.etcd, self.etcd.now());
        let Some(id) = entry.session else { return Err(strange("a lease that does not end")) };
        let is_alive = match self.heir {
            Heir::Ticket => etcd.cluster.keep_alive(id).await?.is_some(),
            Heir::Client => etcd.sessions.keep_alive(id).await?,
        };
        match etcd.sessions.get(id) {
            _ if !is_alive => {
                etcd.session_over(id);
                Ok(Transferred::Gone)
            }
            None if self.heir == Heir::Client => Err(strange("a transfer that nobody made")),
            session => self.made(entry, session, sent, entry.created).await,
        }
    }

    /// The other has it; the former has nothing any more.
    async fn made(
        &self,
        entry: &Entry,
        session: Option<Session>,
        sent: Instant,
        revision: u64,
    ) -> Result<Transferred, Error> {
        let (etcd, name, owner) = (self.etcd, &self.held.name, self.held.owner);
        match (self.heir, &session) {
            (Heir::Client, Some(session)) => {
                let slot = etcd.keys.slot(name, &entry.key);
                let slot = slot.ok_or_else(|| strange("a key that is no owner's"))?;
                etcd.places.adopt(self.to.owner, name, slot);
                let watched = (!self.to.renewed).then(|| entry.key.clone());
                let watched = watched.map(|key| (key, Change::Deleted));
                let share = note::share(&entry.value).map(|(_, share)| share);
                let permit = share.and_then(|share| share.permit).unwrap_or(0);
                let place = Place::new(self.to, entry.created, session);
                let place = Place { watched, fence: self.held.fence, permit, ..place };
                etcd.set_place(self.to.owner, place, revision);
            }
            // Nobody here keeps it alive.
            (_, session) => session.iter().for_each(|session| etcd.sessions.forget(session.id)),
        }
        etcd.places.hand_on(owner);
        if let Some(place) = etcd.leave(owner)
            && place.is_alone
        {
            etcd.sessions.forget(place.session);
            etcd.end_in_background(place.session);
        }
        if !etcd.places.is_quiet(owner) {
            // A claim of its own may come when the lock is free.
            etcd.refuse(owner, name, Vec::new()).await?;
            etcd.places.settle_late(owner);
        }
        Ok(Transferred::Done { term: session.map(|session| session.term(sent)) })
    }

    fn does(&self) -> &'static str {
        match self.heir {
            Heir::Ticket => GIVEN,
            Heir::Client => "held",
        }
    }
}

/// What a key does that no client holds.
const GIVEN: &str = "handed on";
