//! Giving back a lock that rests afterwards: the key of who held it stays, in a session
//! that nobody keeps alive. So it keeps its place in the line, and whoever waits behind
//! it waits on.

use std::time::Duration;

use super::cluster::{Condition, Entry, Found, SessionId, Step, Txn};
use super::proof::{is_of, strange};
use super::sessions::seconds;
use super::txns::{read_oldest, read_one};
use super::{Etcd, note};
use crate::backend::{Held, Released};
use crate::error::Error;
use crate::name::{LockName, Owner};
use crate::time::Instant;

/// What is owed of a lock that is to rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// The revision that created the owner's key.
    fence: u64,
    until: Instant,
}

/// What has become of an owner's key.
enum Key {
    /// It is held, and lives with this session.
    Held(Entry, SessionId),
    /// It rests already.
    Rests,
    Gone,
}

impl Etcd {
    pub(super) async fn release_to_rest(
        &self,
        held: &Held,
        rest: Duration,
    ) -> Result<Released, Error> {
        let now = self.now();
        let rest = Rest { fence: held.fence, until: now + rest };
        self.places.retire_to_rest(held.owner, &held.name, rest, now);
        self.let_rest(held.owner, &held.name, rest).await
    }

    /// See that the lock rests, and that nothing of its owner ends that.
    pub(super) async fn let_rest(
        &self,
        owner: Owner,
        name: &LockName,
        rest: Rest,
    ) -> Result<Released, Error> {
        const TRIES: usize = 3;
        let nothing = Released { held: false, next: None, others: 0 };
        // An earlier claim of its own may come late, and move its key.
        for _ in 0..TRIES {
            let (entry, at) = match self.look_for_key(owner, name, rest.fence).await? {
                Key::Held(entry, at) => (entry, at),
                Key::Rests => {
                    self.leave_resting(owner, name).await?;
                    return Ok(nothing);
                }
                Key::Gone => {
                    self.places.rests_no_more(owner);
                    let is_last = self.places.is_quiet(owner);
                    self.clean_up(owner, name, is_last).await?;
                    return Ok(nothing);
                }
            };
            if let Some(line) = self.put_to_rest(owner, name, rest, &entry, at).await? {
                self.leave_resting(owner, name).await?;
                return Ok(Released { held: true, next: None, others: line.waiting_besides(0) });
            }
        }
        Err(Error::unavailable("earlier claims of this lease came late, one after the other"))
    }

    async fn look_for_key(&self, owner: Owner, name: &LockName, fence: u64) -> Result<Key, Error> {
        let key = self.key_of(name, owner);
        let done = self.txn(&Txn { then: vec![read_one(&key)], ..Txn::default() }).await?;
        let entry = done.reads.first().and_then(Found::first);
        let Some(entry) = entry.filter(|entry| entry.created == fence) else {
            return Ok(Key::Gone);
        };
        match entry.session {
            _ if !is_of(entry, &key, owner) => Err(strange("the key of another owner")),
            _ if note::rests(&entry.value) => Ok(Key::Rests),
            Some(at) => Ok(Key::Held(entry.clone(), at)),
            None => Err(strange("a key of a holder that no session ends")),
        }
    }

    /// Move the key to a session of its own; answers the line. `None`: it was moved
    /// before, and nothing was done.
    async fn put_to_rest(
        &self,
        owner: Owner,
        name: &LockName,
        rest: Rest,
        entry: &Entry,
        at: SessionId,
    ) -> Result<Option<Found>, Error> {
        let left = rest.until.since(self.now()).max(Duration::from_secs(1));
        let (session, ttl) = self.cluster.open(seconds(left)).await?;
        if ttl < left {
            return Err(strange("a lease that is shorter than it was to be"));
        }
        let label = note::label(&entry.value);
        let value = note::note(&label, note::RESTS, self.runtime.wall_micros(), owner);
        let key = entry.key.clone();
        let txn = Txn {
            conditions: vec![
                Condition::Created(key.clone(), rest.fence),
                Condition::Within(key.clone(), at),
            ],
            then: vec![
                Step::Put { key: key.clone(), value, session: Some(session) },
                read_oldest(self.keys.line(name)),
            ],
            ..Txn::default()
        };
        let done = self.txn(&txn).await?;
        if !done.met {
            self.end_in_background(session);
            return Ok(None);
        }
        let is_resting = |first: &Entry| {
            first.key == key && first.session == Some(session) && note::rests(&first.value)
        };
        match done.reads.into_iter().next() {
            Some(line) if line.first().is_some_and(is_resting) => Ok(Some(line)),
            _ => Err(strange("a lock rests, and its key is not there")),
        }
    }

    /// Forget an owner whose key stays, and which nobody has after it.
    async fn leave_resting(&self, owner: Owner, name: &LockName) -> Result<(), Error> {
        if self.places.left_resting(owner).await {
            self.refuse(owner, name, Vec::new()).await?;
        }
        self.places.settle_late(owner);
        self.leave_for_good(owner);
        Ok(())
    }
}
