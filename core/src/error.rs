//! The one error type.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::name::LockName;

/// Why something failed. The list is closed but may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The lock was busy for as long as the caller was ready to wait.
    Timeout,
    /// The lease was held and is not any more.
    Lost,
    /// The lease is not held by whoever tried to use it.
    NotHeld,
    /// The backend could not be reached, or did not answer in time.
    Unavailable,
    /// The backend's state or settings make it unsafe to go on.
    Refused,
    /// The input cannot be used.
    Invalid,
    /// The backend or platform cannot do this.
    Unsupported,
    /// The client was closed, or belongs to another process (after a fork).
    Closed,
    /// The caller gave up.
    Cancelled,
    /// A bug in Leasehold or in a backend.
    Internal,
}

impl Kind {
    /// The stable name that crosses every language border.
    pub const fn code(self) -> &'static str {
        match self {
            Kind::Timeout => "timeout",
            Kind::Lost => "lost",
            Kind::NotHeld => "not_held",
            Kind::Unavailable => "unavailable",
            Kind::Refused => "refused",
            Kind::Invalid => "invalid",
            Kind::Unsupported => "unsupported",
            Kind::Closed => "closed",
            Kind::Cancelled => "cancelled",
            Kind::Internal => "internal",
        }
    }
}

/// What the caller holds after the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The lock is not held.
    NotHeld,
    /// The lock is still held.
    Held,
    /// The request may have been carried out; the backend did not say.
    Unknown,
}

impl Outcome {
    /// The stable name that crosses every language border.
    pub const fn code(self) -> &'static str {
        match self {
            Outcome::NotHeld => "not_held",
            Outcome::Held => "held",
            Outcome::Unknown => "unknown",
        }
    }
}

/// Any failure of this crate.
///
/// The message names the lock and the backend where they are known and says
/// what to do. "Busy" is not an error: `try_acquire` answers `None`.
pub struct Error {
    kind: Kind,
    outcome: Outcome,
    lock: Option<LockName>,
    backend: Option<String>,
    message: String,
    // Shared by all who hear of the same failure.
    source: Option<Arc<dyn StdError + Send + Sync>>,
    is_final: bool,
}

impl Error {
    /// An error of this kind, after which nothing is held.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let (lock, backend, source) = (None, None, None);
        let (outcome, message, is_final) = (Outcome::NotHeld, message.into(), false);
        Self { kind, outcome, lock, backend, message, source, is_final }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// The same error with another outcome.
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// The same error with its cause; the message gains the cause's.
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let cause = cause.into();
        self.message = format!("{}: {cause}", self.message);
        self.source = Some(cause.into());
        self
    }

    /// The same for another who waited for the same thing.
    pub(crate) fn again(&self) -> Self {
        let (lock, backend) = (self.lock.clone(), self.backend.clone());
        let (message, source) = (self.message.clone(), self.source.clone());
        let Self { kind, outcome, is_final, .. } = *self;
        Self { kind, outcome, lock, backend, message, source, is_final }
    }

    /// The same error, which the client has whenever it asks again.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "only its files change hands"))]
    pub(crate) fn finally(self) -> Self {
        Self { is_final: true, ..self }
    }

    pub(crate) fn is_final(&self) -> bool {
        self.is_final
    }

    /// The same error, naming the lock and the backend it is about.
    pub fn about(mut self, lock: &LockName, backend: &str) -> Self {
        self.lock.get_or_insert_with(|| lock.clone());
        self.backend.get_or_insert_with(|| backend.to_owned());
        self
    }

    /// Why it failed.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// [`Kind::code`] of the kind.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// What the caller holds now.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The lock it is about, where it is about one.
    pub fn lock(&self) -> Option<&str> {
        self.lock.as_ref().map(LockName::as_str)
    }

    fn place(&self) -> String {
        // `memory:` and `sqlite:` are URLs, and the text goes on with a colon.
        let backend = self.backend.as_ref().map(|b| format!(" on {}", b.trim_end_matches(':')));
        match &self.lock {
            Some(lock) => format!("lock {lock:?}{}: ", backend.unwrap_or_default()),
            None => String::new(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place(), self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}, {:?}: {self})", self.code(), self.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_lock_backend_and_cause() {
        let name = LockName::new("a/b").unwrap();
        let error = Error::unavailable("no answer")
            .because(std::io::Error::other("disk on fire"))
            .with_outcome(Outcome::Unknown)
            .about(&name, "sqlite:/x");
        assert_eq!(error.to_string(), r#"lock "a/b" on sqlite:/x: no answer: disk on fire"#);
        assert_eq!((error.code(), error.outcome()), ("unavailable", Outcome::Unknown));
        assert!(error.source().is_some());
    }
}
