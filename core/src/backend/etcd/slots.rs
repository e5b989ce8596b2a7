//! Which key an owner has in its line.
//!
//! etcd keeps what it knows of a deleted key until it is compacted, and passes
//! by all of those when it looks at a line. So the key of an owner that is gone
//! is used again by the next of this client for the same lock; but only if
//! nothing that was sent for the former can be carried out late.

use std::collections::BTreeMap;

use crate::backend::Mode;
use crate::name::{LockName, Owner};

/// What a key is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// How all who have it use the lock.
    pub(super) mode: Mode,
    /// The first owner that had it.
    pub(super) first: Owner,
}

impl Slot {
    pub(super) fn of(mode: Mode, first: Owner) -> Self {
        Self { mode, first }
    }
}

#[derive(Default)]
pub(super) struct Slots {
    taken: BTreeMap<Owner, Taken>,
    free: BTreeMap<LockName, Vec<Slot>>,
}

struct Taken {
    name: LockName,
    slot: Slot,
    /// So many requests may have made a key.
    makers: u32,
    /// It was another client's, and is nobody's afterwards.
    is_adopted: bool,
}

impl Slots {
    /// Of so many locks free ones are remembered.
    const MAX_LOCKS: usize = 4096;

    /// Its slot, from here on until it is given back or up.
    pub(super) fn take(&mut self, owner: Owner, name: &LockName, mode: Mode) -> Slot {
        let taken = self.taken.entry(owner).or_insert_with(|| {
            let free = self.free.get_mut(name).and_then(|free| {
                let last = free.iter().rposition(|slot| slot.mode == mode)?;
                Some(free.remove(last))
            });
            let slot = free.unwrap_or(Slot::of(mode, owner));
            Taken { name: name.clone(), slot, makers: 0, is_adopted: false }
        });
        taken.slot
    }

    /// It has this slot, in which its key is already.
    pub(super) fn adopt(&mut self, owner: Owner, name: &LockName, slot: Slot) {
        let taken = Taken { name: name.clone(), slot, makers: 1, is_adopted: true };
        self.taken.entry(owner).or_insert(taken);
    }

    /// Its slot, if it has one.
    pub(super) fn of(&self, owner: Owner) -> Option<Slot> {
        self.taken.get(&owner).map(|taken| taken.slot)
    }

    /// So many requests may have made its key.
    pub(super) fn makers(&self, owner: Owner) -> u32 {
        self.taken.get(&owner).map_or(0, |taken| taken.makers)
    }

    pub(super) fn add_maker(&mut self, owner: Owner) {
        if let Some(taken) = self.taken.get_mut(&owner) {
            taken.makers += 1;
        }
    }

    /// One was not carried out, and will not be.
    pub(super) fn remove_maker(&mut self, owner: Owner) {
        if let Some(taken) = self.taken.get_mut(&owner) {
            taken.makers -= 1;
        }
    }

    /// The next may have it.
    pub(super) fn give_back(&mut self, owner: Owner) {
        let Some(Taken { name, slot, is_adopted, .. }) = self.taken.remove(&owner) else { return };
        if is_adopted {
            return;
        }
        if self.free.len() >= Self::MAX_LOCKS && !self.free.contains_key(&name) {
            self.free.pop_first();
        }
        self.free.entry(name).or_default().push(slot);
    }

    /// Nobody may have it any more.
    pub(super) fn give_up(&mut self, owner: Owner) {
        self.taken.remove(&owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_have_a_slot_at_once_and_one_that_is_doubtful_is_had_by_nobody() {
        let (mut slots, name) = (Slots::default(), LockName::new("x").unwrap());
        let owner = Owner::from_bits;
        let alone = Mode::Exclusive;
        let (a, b) = (slots.take(owner(1), &name, alone), slots.take(owner(2), &name, alone));
        assert_ne!(a, b);
        assert_eq!(slots.take(owner(1), &name, alone), a, "it keeps its slot");
        slots.give_back(owner(1));
        assert_eq!(slots.of(owner(1)), None);
        let other = Slot::of(Mode::Shared, owner(7));
        assert_eq!(slots.take(owner(7), &name, Mode::Shared), other, "one of its mode");
        assert_eq!(slots.take(owner(3), &name, alone), a);
        assert_ne!(slots.take(owner(4), &LockName::new("y").unwrap(), alone), a);
        slots.give_up(owner(3));
        slots.give_back(owner(2));
        assert_eq!(slots.take(owner(5), &name, alone), b);
        assert_eq!(slots.take(owner(6), &name, alone), Slot::of(alone, owner(6)));
    }
}
