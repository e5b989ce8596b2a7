//! What a lock is called, and who asks for it.

use std::fmt;
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

/// Who asks: a fresh random id per attempt to acquire, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u128);

impl Owner {
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
    fn what_cannot_be_a_name_is_refused_with_the_cure() {
        for (name, word) in [("", "empty"), ("a\0b", "NUL"), (&"é".repeat(600), "1200")] {
            let error = LockName::new(name).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
