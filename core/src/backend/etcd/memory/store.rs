//! The keys of a cluster and what became of them: plain transitions, as etcd
//! makes them; sessions and watches are somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use super::super::cluster::{
    Condition, Done, Entry, Failure, Found, Keys, News, Order, Read, SessionId, Step, Txn,
};
use crate::error::{Error, Kind};

/// Etcd refuses a transaction with more conditions or steps (`--max-txn-ops`).
const MAX_STEPS: usize = 128;

pub(super) struct Store {
    revision: u64,
    /// What changed up to here is forgotten.
    compacted: u64,
    keys: BTreeMap<String, Record>,
    history: Vec<Event>,
}

struct Record {
    value: String,
    created: u64,
    written: u64,
    writes: u64,
    session: Option<SessionId>,
}

impl Record {
    fn entry(&self, key: &str) -> Entry {
        let (key, value) = (key.to_owned(), self.value.clone());
        let &Self { created, written, writes, session, .. } = self;
        Entry { key, value, created, written, writes, session }
    }
}

/// A change of one key.
pub(super) struct Event {
    pub(super) key: String,
    pub(super) revision: u64,
    /// `None`: it was deleted.
    pub(super) written: Option<String>,
}

impl Event {
    /// To whoever watches this key.
    pub(super) fn news(&self, key: String) -> News {
        News::Changed { key, value: self.written.clone().unwrap_or_default() }
    }
}

impl Store {
    pub(super) fn new() -> Self {
        Self { revision: 1, compacted: 0, keys: BTreeMap::new(), history: Vec::new() }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// What changed after this revision, in order; `None` if that is forgotten.
    pub(super) fn since(&self, revision: u64) -> Option<&[Event]> {
        let from = self.history.partition_point(|event| event.revision <= revision);
        (revision >= self.compacted).then(|| &self.history[from..])
    }

    pub(super) fn compact(&mut self) {
        self.compacted = self.revision;
        self.history.clear();
    }

    /// `lives`: whether a session does.
    pub(super) fn txn(
        &mut self,
        txn: &Txn,
        lives: impl Fn(SessionId) -> bool,
    ) -> Result<Done, Failure> {
        check(txn)?;
        let met = txn.conditions.iter().all(|condition| self.meets(condition));
        let steps = if met { &txn.then } else { &txn.otherwise };
        let is_over = |step: &Step| match step {
            Step::Put { session: Some(session), .. } => !lives(*session),
            _ => false,
        };
        if steps.iter().any(is_over) {
            return Err(Failure::NoSession);
        }
        let revision = self.revision + 1;
        let (mut reads, mut deleted) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Put { key, value, session } => self.put(key, value, *session, revision),
                Step::Delete(key) => deleted.push(self.delete(key, revision)),
                Step::Read(read) => reads.push(self.read(read)),
            }
        }
        self.commit();
        Ok(Done { met, revision: self.revision, reads, deleted })
    }

    /// Delete what was written under a session, all in one revision.
    pub(super) fn end(&mut self, session: SessionId) {
        let its = |(key, record): (&String, &Record)| {
            (record.session == Some(session)).then(|| key.clone())
        };
        let keys: Vec<String> = self.keys.iter().filter_map(its).collect();
        let revision = self.revision + 1;
        keys.iter().for_each(|key| drop(self.delete(key, revision)));
        self.commit();
    }

    /// The revision rises only if something has changed.
    fn commit(&mut self) {
        let last = self.history.last().map_or(0, |event| event.revision);
        self.revision = self.revision.max(last);
    }

    fn put(&mut self, key: &str, value: &str, session: Option<SessionId>, revision: u64) {
        let before = self.keys.get(key);
        let (created, writes) = before.map_or((revision, 0), |old| (old.created, old.writes));
        let (value_now, writes) = (value.to_owned(), writes + 1);
        let record = Record { value: value_now, created, written: revision, writes, session };
        self.keys.insert(key.to_owned(), record);
        let written = Some(value.to_owned());
        self.history.push(Event { key: key.to_owned(), revision, written });
    }

    fn delete(&mut self, key: &str, revision: u64) -> Option<Entry> {
        let record = self.keys.remove(key)?;
        self.history.push(Event { key: key.to_owned(), revision, written: None });
        Some(record.entry(key))
    }

    fn meets(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Absent(keys) => self.of(keys).next().is_none(),
            Condition::Created(key, revision) => {
                self.keys.get(key).is_some_and(|record| record.created == *revision)
            }
            Condition::Within(key, session) => {
                self.keys.get(key).is_some_and(|record| record.session == Some(*session))
            }
            Condition::NoneBefore(keys, revision) => {
                let mut all = self.of(keys).peekable();
                all.peek().is_some() && all.all(|(_, record)| record.created >= *revision)
            }
            Condition::NoneAfter(start, revision) => {
                let keys = Keys::Under(start.clone());
                self.of(&keys).all(|(_, record)| record.created <= *revision)
            }
            Condition::Quiet(keys, revision) => {
                self.of(keys).all(|(_, record)| record.written <= *revision)
            }
            Condition::Once(keys) => self.of(keys).all(|(_, record)| record.writes < 2),
        }
    }

    fn read(&self, read: &Read) -> Found {
        let count = self.of(&read.keys).count();
        let asked = |record: &Record| read.before.is_none_or(|before| record.created < before);
        let mut entries: Vec<Entry> = self
            .of(&read.keys)
            .filter(|(_, record)| asked(record))
            .map(|(key, record)| record.entry(key))
            .collect();
        match read.order {
            Order::OldestFirst => entries.sort_by_key(|entry| entry.created),
            Order::NewestFirst => entries.sort_by_key(|entry| std::cmp::Reverse(entry.created)),
            Order::MostWrittenFirst => entries.sort_by_key(|entry| std::cmp::Reverse(entry.writes)),
        }
        if read.limit > 0 {
            entries.truncate(read.limit as usize);
        }
        Found { entries, count }
    }

    fn of<'a>(&'a self, keys: &'a Keys) -> impl Iterator<Item = (&'a String, &'a Record)> {
        let (Keys::One(first) | Keys::Under(first) | Keys::Between(first, _)) = keys;
        self.keys.range(first.clone()..).take_while(move |(key, _)| match keys {
            Keys::One(one) => *key == one,
            Keys::Under(start) => key.starts_with(start),
            Keys::Between(_, end) => key.as_str() < end.as_str(),
        })
    }
}

/// What etcd refuses whichever of the branches it would have taken.
fn check(txn: &Txn) -> Result<(), Error> {
    let refused = |why: &str| Err(Error::new(Kind::Internal, format!("etcd refuses this: {why}")));
    let longest = txn.conditions.len().max(txn.then.len()).max(txn.otherwise.len());
    if longest > MAX_STEPS {
        return refused("too many operations in txn request");
    }
    for branch in [&txn.then, &txn.otherwise] {
        let is_unnamed = |step: &Step| match step {
            Step::Put { key, .. } | Step::Delete(key) => key.is_empty(),
            Step::Read(read) => read.keys == Keys::One(String::new()),
        };
        if branch.iter().any(is_unnamed) {
            return refused("key is not provided");
        }
        let deleted = branch.iter().filter_map(|step| match step {
            Step::Delete(key) => Some(key),
            _ => None,
        });
        // To delete one twice is allowed.
        let mut touched: BTreeSet<&String> = deleted.collect();
        let mut written = branch.iter().filter_map(|step| match step {
            Step::Put { key, .. } => Some(key),
            _ => None,
        });
        if written.any(|key| !touched.insert(key)) {
            return refused("duplicate key given in txn request");
        }
    }
    Ok(())
}
