//! Who holds and who waits, for people; what a holder shows; and taking a lock away.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::{Condition, Entry, Failure, Found, Keys, Order, Read, Step, Txn};
use super::proof::{is_of, strange};
use super::txns::{read_oldest, read_one};
use super::{Etcd, note};
use crate::backend::{Held, Holder, Mode, Status};
use crate::error::Error;
use crate::name::LockName;

impl Etcd {
    pub(super) async fn evict_holder(&self, name: &LockName) -> Result<bool, Error> {
        loop {
            let then = vec![read_oldest(self.keys.line(name))];
            let done = self.txn(&Txn { then, ..Txn::default() }).await?;
            let Some(holder) = done.reads.first().and_then(|line| line.first()) else {
                return Ok(false);
            };
            let (key, value) = (self.keys.evicted(), name.as_str().to_owned());
            let txn = Txn {
                conditions: vec![Condition::Created(holder.key.clone(), holder.created)],
                then: vec![
                    Step::Delete(holder.key.clone()),
                    Step::Put { key, value, session: None },
                ],
                ..Txn::default()
            };
            // Else somebody else holds it by now.
            if self.txn(&txn).await?.met {
                // What rests has a session of its own, which nobody else would end.
                let of_rest = holder.session.filter(|_| note::rests(&holder.value));
                of_rest.into_iter().for_each(|session| self.end_in_background(session));
                return Ok(true);
            }
        }
    }

    /// Show another label in the key of a holder.
    pub(super) async fn show(&self, held: &Held, label: &str) -> Result<bool, Error> {
        let key = self.key_of(&held.name, held.owner);
        let then = vec![read_one(&key)];
        let done = self.txn(&Txn { then, ..Txn::default() }).await?;
        let is_held = |entry: &&Entry| entry.created == held.fence;
        let Some(entry) = done.reads.first().and_then(Found::first).filter(is_held) else {
            return Ok(false);
        };
        if !is_of(entry, &key, held.owner) {
            return Err(strange("the key of another owner"));
        }
        let (Some(session), value) = (entry.session, note::relabelled(&entry.value, label)) else {
            return Err(strange("the key of a holder, and no session"));
        };
        let txn = Txn {
            conditions: vec![
                Condition::Created(key.clone(), held.fence),
                // What comes late must not undo a move to another session.
                Condition::Within(key.clone(), session),
            ],
            then: vec![Step::Put { key: key.clone(), value, session: Some(session) }],
            otherwise: vec![read_one(&key)],
        };
        let done = match self.txn(&txn).await {
            Err(Failure::NoSession) => {
                self.session_over(session);
                return Ok(false);
            }
            done => done?,
        };
        let is_there = done.reads.first().and_then(Found::first).is_some_and(|e| is_held(&e));
        match (done.met, is_there) {
            (true, _) => Ok(true),
            (false, false) => Ok(false),
            (false, true) => Err(Error::unavailable("the lease was moved; ask again")),
        }
    }

    pub(super) async fn look_at(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let under = name.map_or(self.keys.prefix().to_owned(), |name| self.keys.line(name));
        let read =
            Read { keys: Keys::Under(under), before: None, order: Order::OldestFirst, limit: 0 };
        let then = vec![Step::Read(read)];
        let done = self.txn(&Txn { then, ..Txn::default() }).await?;
        let mut lines: BTreeMap<LockName, Vec<&Entry>> = BTreeMap::new();
        for entry in done.reads.iter().flat_map(|read| &read.entries) {
            if let Some(name) = self.keys.lock_of(&entry.key) {
                lines.entry(name).or_default().push(entry);
            }
        }
        let mut statuses = Vec::with_capacity(lines.len());
        for (name, line) in lines {
            statuses.push(self.status(name, &line).await?);
        }
        Ok(statuses)
    }

    async fn status(&self, name: LockName, line: &[&Entry]) -> Result<Status, Error> {
        let waiters = line.iter().skip(1).map(|entry| note::label(&entry.value)).collect();
        let Some(first) = line.first() else {
            return Ok(Status { name, fence: 0, holders: Vec::new(), waiters });
        };
        let free_in = match first.session {
            Some(session) => self.cluster.ends_in(session).await?.unwrap_or_default(),
            None => Duration::MAX,
        };
        let held_for = note::held_for(&first.value, self.runtime.wall_micros());
        let (label, mode) = (note::label(&first.value), Mode::Exclusive);
        let (fence, resting) = (first.created, note::rests(&first.value));
        let holders = vec![Holder { label, mode, slot: 0, fence, held_for, free_in, resting }];
        Ok(Status { name, fence, holders, waiters })
    }
}
