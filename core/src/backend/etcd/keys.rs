//! Which keys a lock has. They are made for reading: `etcdctl get --prefix leasehold/`.

use std::borrow::Cow;

use crate::name::{LockName, Owner};

/// All keys of one prefix.
///
/// The holder and the waiters of the lock `a/b` have keys of the form
/// `leasehold/a/b/#OWNER`. So that no such key belongs to two locks, a `/#`
/// inside a name is written as `/%23`, and with it `%` as `%25`.
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

    /// The key by which an owner holds or waits.
    pub(super) fn place(&self, name: &LockName, owner: Owner) -> String {
        format!("{}{owner}", self.line(name))
    }

    /// The owner after which such a key is named.
    pub(super) fn slot(&self, name: &LockName, key: &str) -> Option<Owner> {
        let slot = key.strip_prefix(&*self.line(name))?;
        u128::from_str_radix(slot, 16).ok().map(Owner::from_bits)
    }

    /// The key that keeps an owner's late claims out.
    pub(super) fn refusal(&self, name: &LockName, owner: Owner) -> String {
        format!("{}{}/!{owner}", self.prefix, escaped(name.as_str()))
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

    fn name(name: &str) -> LockName {
        LockName::new(name).unwrap()
    }

    #[test]
    fn no_key_is_in_the_line_of_another_lock() {
        let (keys, owner) = (Keyspace::new("leasehold/"), Owner::from_bits(7));
        for one in NAMES {
            for other in NAMES {
                let place = keys.place(&name(one), owner);
                let refusal = keys.refusal(&name(one), owner);
                let line = keys.line(&name(other));
                assert_eq!(place.starts_with(&line), one == other, "{place} in {line}");
                assert!(!refusal.starts_with(&line), "{refusal} in {line}");
            }
        }
    }

    #[test]
    fn a_key_tells_its_lock_and_is_easy_to_read() {
        let keys = Keyspace::new("leasehold/");
        for one in NAMES {
            let place = keys.place(&name(one), Owner::from_bits(u128::MAX));
            assert_eq!(keys.lock_of(&place), Some(name(one)));
            assert_eq!(keys.slot(&name(one), &place), Some(Owner::from_bits(u128::MAX)));
        }
        let owner = Owner::from_bits(0xfeed);
        let expected = "leasehold/invoices/42/#0000000000000000000000000000feed";
        assert_eq!(keys.place(&name("invoices/42"), owner), expected);
        assert_eq!(keys.lock_of(&keys.evicted()), None);
    }
}
