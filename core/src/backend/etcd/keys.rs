//! Which keys a lock has. They are made for reading: `etcdctl get --prefix leasehold/`.

use std::borrow::Cow;

use super::cluster::Keys;
use super::slots::Slot;
use crate::backend::Mode;
use crate::name::{LockName, Owner};

/// All keys of one prefix.
///
/// The holder and the waiters of the lock `a/b` have keys of the form
/// `leasehold/a/b/#OWNER`; who shares it `…/#s-OWNER`, and who counts four permits
/// `…/#p4-OWNER`, so that those of one mode stand together. `…/!p4-0` is written with
/// the lease that gets the first of four permits. So that no such key
/// belongs to two locks, a `/#` inside a name is written as `/%23`, and with it `%`
/// as `%25`.
pub(super) struct Keyspace {
    prefix: String,
}

impl Keyspace {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What all keys begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What the keys of all who hold or wait for the lock begin with.
    pub(super) fn line(&self, name: &LockName) -> String {
        format!("{}{}/#", self.prefix, escaped(name.as_str()))
    }

    /// What the keys of those begin with who use the lock in this way, one that is
    /// not exclusive.
    pub(super) fn kind(&self, name: &LockName, mode: Mode) -> String {
        format!("{}{}", self.line(name), mark(mode))
    }

    /// What the keys of all begin with who count permits.
    pub(super) fn counted(&self, name: &LockName) -> Keys {
        Keys::Under(format!("{}{COUNTED}", self.line(name)))
    }

    /// All keys of a line but those who share it in this way, one that is not exclusive.
    pub(super) fn all_but(&self, name: &LockName, mode: Mode) -> Vec<Keys> {
        let kind = self.kind(name, mode);
        // The next byte after the last one of the text.
        let after = |text: &str| {
            let mut end = text.to_owned();
            let last = end.pop().and_then(|last| char::from_u32(last as u32 + 1));
            end.extend(last);
            end
        };
        let (line, behind) = (self.line(name), after(&kind));
        let end = after(&line);
        match mode {
            // It is the last of all marks.
            Mode::Shared => vec![Keys::Between(line, kind)],
            _ => vec![Keys::Between(line, kind), Keys::Between(behind, end)],
        }
    }

    /// The key by which an owner holds or waits.
    pub(super) fn place(&self, name: &LockName, slot: Slot) -> String {
        format!("{}{}{}", self.line(name), mark(slot.mode), slot.first)
    }

    /// What such a key is named after.
    pub(super) fn slot(&self, name: &LockName, key: &str) -> Option<Slot> {
        let said = key.strip_prefix(&*self.line(name))?;
        let (mark, first) = said.rsplit_once('-').unwrap_or(("", said));
        let first = u128::from_str_radix(first, 16).ok().map(Owner::from_bits)?;
        Some(Slot { mode: marked(mark)?, first })
    }

    /// How whoever has such a key uses the lock. What is none of ours keeps all out.
    pub(super) fn mode(&self, name: &LockName, key: &str) -> Mode {
        self.slot(name, key).map_or(Mode::Exclusive, |slot| slot.mode)
    }

    /// The key that keeps an owner's late claims out.
    pub(super) fn refusal(&self, name: &LockName, owner: Owner) -> String {
        format!("{}{}/!{owner}", self.prefix, escaped(name.as_str()))
    }

    /// The key that is written whenever somebody gets this permit.
    pub(super) fn permit(&self, name: &LockName, mode: Mode, permit: u32) -> String {
        format!("{}{}/!{}{permit}", self.prefix, escaped(name.as_str()), mark(mode))
    }

    /// The key that tells every client of the lock that was evicted last.
    pub(super) fn evicted(&self) -> String {
        format!("{}!evicted", self.prefix)
    }

    /// The lock that a key of a line belongs to.
    pub(super) fn lock_of(&self, key: &str) -> Option<LockName> {
        let (name, _) = key.strip_prefix(&self.prefix)?.rsplit_once("/#")?;
        LockName::new(&name.replace("%23", "#").replace("%25", "%")).ok()
    }
}

/// What tells the counted from others: no digit of an owner, which has sixteen.
const COUNTED: &str = "p";
const SHARED: &str = "s";

fn mark(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => String::new(),
        Mode::Shared => format!("{SHARED}-"),
        Mode::Counted { permits } => format!("{COUNTED}{permits}-"),
    }
}

fn marked(mark: &str) -> Option<Mode> {
    match mark {
        "" => Some(Mode::Exclusive),
        SHARED => Some(Mode::Shared),
        _ => {
            let permits = mark.strip_prefix(COUNTED)?.parse().ok()?;
            Some(Mode::Counted { permits })
        }
    }
}

fn escaped(name: &str) -> Cow<'_, str> {
    match name.contains('%') || name.contains("/#") {
        true => name.replace('%', "%25").replace("/#", "/%23").into(),
        false => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 12] =
        ["a", "a/", "a/b", "a/#", "a/#b", "a/##", "#", "/#", "a/%23", "a/%2523", "%", "a/!b"];

    const MODES: [Mode; 5] = [
        Mode::Exclusive,
        Mode::Shared,
        Mode::Counted { permits: 4 },
        Mode::Counted { permits: 40 },
        Mode::Counted { permits: 5 },
    ];

    fn name(name: &str) -> LockName {
        LockName::new(name).unwrap()
    }

    #[test]
    fn no_key_is_in_the_line_of_another_lock() {
        let (keys, owner) = (Keyspace::new("leasehold/"), Owner::from_bits(7));
        for one in NAMES {
            for other in NAMES {
                let refusal = keys.refusal(&name(one), owner);
                let permit = keys.permit(&name(one), MODES[2], 3);
                let line = keys.line(&name(other));
                assert!(!permit.starts_with(&line), "{permit} in {line}");
                for mode in MODES {
                    let place = keys.place(&name(one), Slot::of(mode, owner));
                    assert_eq!(place.starts_with(&line), one == other, "{place} in {line}");
                }
                assert!(!refusal.starts_with(&line), "{refusal} in {line}");
            }
        }
    }

    #[test]
    fn the_keys_of_one_mode_and_all_others_are_told_apart() {
        let (keys, lock) = (Keyspace::new("leasehold/"), name("x"));
        let owners = [0, 0xfeed, u128::MAX].map(Owner::from_bits);
        for one in &MODES[1..] {
            for (other, owner) in MODES.iter().flat_map(|mode| owners.map(|owner| (*mode, owner))) {
                let place = keys.place(&lock, Slot::of(other, owner));
                let all_but = keys.all_but(&lock, *one);
                let is_other = all_but.iter().any(|keys| match keys {
                    Keys::Between(first, end) => (first..end).contains(&&place),
                    _ => false,
                });
                assert_eq!(is_other, *one != other, "{place} beside {one:?}");
                assert_eq!(place.starts_with(&keys.kind(&lock, *one)), *one == other, "{place}");
            }
        }
        assert_eq!(keys.mode(&lock, "leasehold/x/#of somebody"), Mode::Exclusive);
    }

    #[test]
    fn a_key_tells_its_lock_and_is_easy_to_read() {
        let keys = Keyspace::new("leasehold/");
        for one in NAMES {
            for mode in MODES {
                let slot = Slot::of(mode, Owner::from_bits(u128::MAX));
                let place = keys.place(&name(one), slot);
                assert_eq!(keys.lock_of(&place), Some(name(one)));
                assert_eq!(keys.slot(&name(one), &place), Some(slot));
                assert_eq!(keys.mode(&name(one), &place), mode);
            }
        }
        let owner = Owner::from_bits(0xfeed);
        for (mode, mark) in MODES.into_iter().zip(["", "s-", "p4-", "p40-", "p5-"]) {
            let expected = format!("leasehold/invoices/42/#{mark}0000000000000000000000000000feed");
            assert_eq!(keys.place(&name("invoices/42"), Slot::of(mode, owner)), expected);
        }
        assert_eq!(keys.lock_of(&keys.evicted()), None);
    }
}
