//! What a lock is called, and who asks for it.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::sync::Arc;

use crate::error::Error;

/// The name of a lock: 1 to 1024 bytes of UTF-8 without NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockName(Arc<str>);

impl LockName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Check a name. Fails with `invalid` when it is empty, too long, or holds
    /// a NUL, which neither an environment nor every backend can carry.
    pub fn new(name: &str) -> Result<Self, Error> {
        if name.is_empty() {
            return Err(Error::invalid("a lock needs a name, this one is empty"));
        }
        if name.len() > Self::MAX_BYTES {
            return Err(Error::invalid(format!(
                "a lock name has at most {} bytes, this one has {} ({:?}…); use a hash of it",
                Self::MAX_BYTES,
                name.len(),
                name.chars().take(32).collect::<String>(),
            )));
        }
        if name.contains('\0') {
            return Err(Error::invalid(format!("a lock name cannot hold a NUL byte: {name:?}")));
        }
        Ok(Self(name.into()))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Found by name, however many there are: the names of a hundred thousand locks are far
/// apart in memory, and a tree compares dozens of them. Of one client in a simulation
/// they come in the same order each time.
pub(crate) type ByName<T> = HashMap<LockName, T, Hashing>;

/// Take one out, and give back the room of a crowd that is gone.
pub(crate) fn take<T, S: BuildHasher>(
    all: &mut HashMap<LockName, T, S>,
    name: &LockName,
) -> Option<T> {
    let taken = all.remove(name);
    if all.capacity() > 1024 && all.len() * 8 < all.capacity() {
        all.shrink_to(all.len() * 2);
    }
    taken
}

/// By a key of its client, so that nobody can choose names that are slow to find.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hashing(pub(crate) u64);

impl BuildHasher for Hashing {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// Who asks: a fresh random id per attempt to acquire, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u128);

impl Owner {
    /// Who has what is nobody's, such as a lock that rests. Attempts have random ones.
    pub(crate) const NOBODY: Self = Self(0);

    /// The owner with these 128 bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits.
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn odd_names_are_kept_as_they_are() {
        for name in ["a", " ", "invoices/42", "{x}{y}", "🔒", "..", "'; DROP TABLE--", "a\nb"] {
            assert_eq!(LockName::new(name).unwrap().as_str(), name);
        }
        assert!(LockName::new(&"x".repeat(LockName::MAX_BYTES)).is_ok());
    }

    #[test]
    fn a_crowd_of_names_that_is_gone_leaves_no_room_behind() {
        let mut all = ByName::<u64>::default();
        let name = |number| LockName::new(&format!("x{number}")).unwrap();
        all.extend((0..100_000).map(|number| (name(number), number)));
        for number in 0..99_000 {
            assert_eq!(take(&mut all, &name(number)), Some(number));
        }
        assert!(all.capacity() < 20_000, "{}", all.capacity());
        assert!((99_000..100_000).all(|number| all[&name(number)] == number));
    }

    #[test]
    fn what_cannot_be_a_name_is_refused_with_the_cure() {
        for (name, word) in [("", "empty"), ("a\0b", "NUL"), (&"é".repeat(600), "1200")] {
            let error = LockName::new(name).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
