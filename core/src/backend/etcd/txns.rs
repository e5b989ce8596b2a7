//! Pieces of transactions.

use super::cluster::{Condition, Entry, Found, Keys, Order, Read, Step};

/// Is the key there?
pub(super) fn read_one(key: &str) -> Step {
    let keys = Keys::One(key.to_owned());
    Step::Read(Read { keys, before: None, order: Order::OldestFirst, limit: 1 })
}

/// Who stands in a line first?
pub(super) fn read_oldest(line: String) -> Step {
    let keys = Keys::Under(line);
    Step::Read(Read { keys, before: None, order: Order::OldestFirst, limit: 1 })
}

/// Who came last, and who before?
pub(super) fn read_newest(line: String, before: Option<u64>, limit: u32) -> Step {
    Step::Read(Read { keys: Keys::Under(line), before, order: Order::NewestFirst, limit })
}

/// Who of these came last?
pub(super) fn read_last(keys: Keys) -> Step {
    Step::Read(Read { keys, before: None, order: Order::NewestFirst, limit: 1 })
}

pub(super) fn no_key(key: String) -> Condition {
    Condition::Absent(Keys::One(key))
}

impl Found {
    pub(super) fn first(&self) -> Option<&Entry> {
        self.entries.first()
    }

    /// How many of a line wait besides its holder and so many others.
    pub(super) fn waiting_besides(&self, others: usize) -> usize {
        self.count.saturating_sub(1 + others)
    }
}
