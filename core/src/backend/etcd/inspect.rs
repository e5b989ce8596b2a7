//! Who holds and who waits, for people; what a holder shows; and taking a lock away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cluster::{Condition, Entry, Failure, Found, Keys, Order, Read, SessionId, Step, Txn};
use super::proof::{is_of, strange};
use super::txns::{read_oldest, read_one};
use super::{Etcd, note};
use crate::backend::{Held, Holder, Mode, Status};
use crate::error::Error;
use crate::name::LockName;
use crate::together::together;

impl Etcd {
    pub(super) async fn evict_holder(&self, name: &LockName) -> Result<bool, Error> {
        loop {
            let then = vec![read_oldest(self.keys.line(name))];
            let done = self.txn(&Txn { then, ..Txn::default() }).await?;
            let Some(holder) = done.reads.first().and_then(|line| line.first()) else {
                return Ok(false);
            };
            let mode = self.keys.mode(name, &holder.key);
            if mode.is_shared() {
                return self.evict_all(name, mode).await;
            }
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

    /// Take it from all who share it in this way: from a hundred at a time, in one step.
    async fn evict_all(&self, name: &LockName, mode: Mode) -> Result<bool, Error> {
        const AT_ONCE: u32 = 100;
        let (mut is_evicted, mut since) = (false, None);
        loop {
            let keys = Keys::Under(self.keys.kind(name, mode));
            let order = Order::MostWrittenFirst;
            let then = vec![Step::Read(Read { keys, before: since, order, limit: AT_ONCE })];
            let done = self.txn(&Txn { then, ..Txn::default() }).await?;
            // Who comes meanwhile is not evicted.
            since.get_or_insert(done.revision + 1);
            let entries = done.reads.iter().flat_map(|found| &found.entries);
            let holders: Vec<&Entry> = entries.filter(|entry| entry.writes > 1).collect();
            if holders.is_empty() {
                return Ok(is_evicted);
            }
            let is_there = |entry: &&Entry| Condition::Created(entry.key.clone(), entry.created);
            let (key, value) = (self.keys.evicted(), name.as_str().to_owned());
            let mut then: Vec<Step> =
                holders.iter().map(|entry| Step::Delete(entry.key.clone())).collect();
            then.push(Step::Put { key, value, session: None });
            let conditions = holders.iter().map(is_there).collect();
            // Else one of them has left by now.
            is_evicted |= self.txn(&Txn { conditions, then, ..Txn::default() }).await?.met;
        }
    }

    /// Show another label in the key of a holder.
    pub(super) async fn show(&self, held: &Held, label: &str) -> Result<bool, Error> {
        let key = self.key_of(&held.name, held.owner);
        let then = vec![read_one(&key)];
        let done = self.txn(&Txn { then, ..Txn::default() }).await?;
        let Some(created) = self.created(held) else { return Ok(false) };
        let is_held = |entry: &&Entry| entry.created == created;
        let Some(entry) = done.reads.first().and_then(Found::first).filter(is_held) else {
            return Ok(false);
        };
        if !is_of(entry, &key, held.owner) {
            return Err(strange("the key of another owner"));
        }
        let Some(session) = entry.session else {
            return Err(strange("the key of a holder, and no session"));
        };
        let value = note::relabelled(&note::with_fence(&entry.value, held.fence), label);
        let txn = Txn {
            conditions: vec![
                Condition::Created(key.clone(), created),
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
        // Of those who are exclusive the first holds it, of the others who says so.
        let is_first = |entry: &Entry| line.first().is_some_and(|first| first.key == entry.key);
        let (holding, waiting): (Vec<&Entry>, Vec<&Entry>) =
            line.iter().partition(|entry| match self.keys.mode(&name, &entry.key) {
                Mode::Exclusive => is_first(entry),
                _ => note::share(&entry.value).is_some(),
            });
        let waiters = waiting.iter().map(|entry| note::label(&entry.value)).collect();
        let sessions: BTreeSet<SessionId> = holding.iter().filter_map(|e| e.session).collect();
        let ends = together(sessions.iter().map(|id| self.cluster.ends_in(*id))).await;
        let ends = ends.into_iter().collect::<Result<Vec<_>, Error>>()?;
        let ends: BTreeMap<SessionId, Option<Duration>> = sessions.into_iter().zip(ends).collect();
        let free_in = |session: Option<SessionId>| match session {
            Some(id) => ends.get(&id).copied().flatten().unwrap_or_default(),
            None => Duration::MAX,
        };
        let now = self.runtime.wall_micros();
        let holders: Vec<Holder> = holding
            .iter()
            .map(|entry| {
                let mode = self.keys.mode(&name, &entry.key);
                let share = note::share(&entry.value).filter(|_| mode.is_shared());
                let fence = share.map(|(_, share)| share.fence.unwrap_or(entry.written));
                Holder {
                    label: note::label(&entry.value),
                    mode,
                    slot: share.and_then(|(_, share)| share.permit).unwrap_or(0),
                    fence: fence.unwrap_or(entry.created),
                    held_for: note::held_for(&entry.value, now),
                    free_in: free_in(entry.session),
                    resting: note::rests(&entry.value),
                }
            })
            .collect();
        let fence = holders.iter().map(|holder| holder.fence).max().unwrap_or(0);
        Ok(Status { name, fence, holders, waiters })
    }
}
