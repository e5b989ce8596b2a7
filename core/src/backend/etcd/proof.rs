//! Whether an answer can be the answer to its question. The transport has matched
//! them already; nothing is granted, kept or given back on its word alone.

use super::cluster::{Done, Entry, Found, Keys, Order, Read, Step, Txn};
use crate::error::{Error, Outcome};
use crate::name::Owner;

use super::note;

/// The cluster says what cannot be. Whatever was asked may have been done.
pub(super) fn strange(what: &str) -> Error {
    let message = format!("etcd said something that cannot be: {what}");
    Error::unavailable(message).with_outcome(Outcome::Unknown)
}

/// Whether a transaction can have come to this.
pub(super) fn check(txn: &Txn, done: &Done) -> Result<(), Error> {
    let steps = if done.met { &txn.then } else { &txn.otherwise };
    if done.revision == 0 || (!done.met && txn.conditions.is_empty()) {
        return Err(strange("a branch that cannot be taken"));
    }
    let (mut reads, mut deleted) = (done.reads.iter(), done.deleted.iter());
    for step in steps {
        match step {
            Step::Put { .. } => {}
            Step::Delete(key) => {
                let gone = deleted.next().ok_or_else(|| strange("too few deletions"))?;
                if gone.as_ref().is_some_and(|entry| entry.key != *key) {
                    return Err(strange("the deletion of another key"));
                }
            }
            Step::Read(read) => {
                let found = reads.next().ok_or_else(|| strange("too few reads"))?;
                check_read(read, found, done.revision)?;
            }
        }
    }
    match (reads.next(), deleted.next()) {
        (None, None) => Ok(()),
        _ => Err(strange("more than was asked for")),
    }
}

fn check_read(read: &Read, found: &Found, revision: u64) -> Result<(), Error> {
    let is_asked_for = |entry: &Entry| match &read.keys {
        Keys::One(key) => entry.key == *key,
        Keys::Under(start) => entry.key.starts_with(start.as_str()),
        Keys::Between(first, end) => (first..end).contains(&&entry.key),
    };
    let is_in_time = |entry: &Entry| {
        let is_before = read.before.is_none_or(|before| entry.created < before);
        (1..=revision).contains(&entry.created) && is_before
    };
    let entries = &found.entries;
    if !entries.iter().all(|entry| is_asked_for(entry) && is_in_time(entry)) {
        return Err(strange("a key that was not asked for"));
    }
    let is_sorted = match read.order {
        Order::OldestFirst => entries.is_sorted_by_key(|entry| entry.created),
        Order::NewestFirst => entries.is_sorted_by_key(|entry| std::cmp::Reverse(entry.created)),
        Order::MostWrittenFirst => {
            entries.is_sorted_by_key(|entry| std::cmp::Reverse(entry.writes))
        }
    };
    let most = if read.limit == 0 { found.count } else { found.count.min(read.limit as usize) };
    // How many were created before a revision is not told.
    let is_whole = entries.len() == most || read.before.is_some() && entries.len() < most;
    match is_sorted && is_whole {
        true => Ok(()),
        false => Err(strange("keys that are not in order")),
    }
}

/// Whether this is the key that was written for an owner.
pub(super) fn is_of(entry: &Entry, key: &str, owner: Owner) -> bool {
    entry.key == key && note::is_of(&entry.value, owner)
}
