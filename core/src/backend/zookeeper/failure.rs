//! Why a request has no answer, or a refusal for one.

use crate::error::{Error, Kind, Outcome};

/// What a server says instead of an answer (`KeeperException.java`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) i32);

impl Code {
    pub(super) const NO_NODE: Self = Self(-101);
    const NO_AUTH: Self = Self(-102);
    pub(super) const NODE_EXISTS: Self = Self(-110);
    const SESSION_EXPIRED: Self = Self(-112);
    const AUTH_FAILED: Self = Self(-115);
    const SESSION_MOVED: Self = Self(-118);
    const NOT_READ_ONLY: Self = Self(-119);
    const QUOTA_EXCEEDED: Self = Self(-125);
    const THROTTLED: Self = Self(-127);

    /// Whether nothing can be asked over this connection any more.
    pub(super) fn ends_the_connection(self) -> bool {
        [Self::SESSION_EXPIRED, Self::SESSION_MOVED, Self::NOT_READ_ONLY, Self::AUTH_FAILED]
            .contains(&self)
    }

    fn means(self) -> (Kind, String) {
        let (kind, what) = match self {
            Self::NO_AUTH => (
                Kind::Refused,
                "the node's access list does not let this user do that; log in by the URL: \
                 zookeeper://user:password@host",
            ),
            Self::AUTH_FAILED => (Kind::Refused, "the user and password are not accepted"),
            Self::QUOTA_EXCEEDED => (Kind::Refused, "a quota is exceeded"),
            Self::SESSION_EXPIRED => (Kind::Unavailable, "the session is over"),
            Self::SESSION_MOVED => (Kind::Unavailable, "the session is at another server"),
            Self::NOT_READ_ONLY => (Kind::Unavailable, "the server has no leader, and only reads"),
            Self::THROTTLED => (Kind::Unavailable, "the server has too much to do"),
            Self::NO_NODE => (Kind::Unavailable, "a node is not there"),
            Self::NODE_EXISTS => (Kind::Unavailable, "a node is there already"),
            Self(code) => return (Kind::Unavailable, format!("the server refuses it: {code}")),
        };
        (kind, what.to_owned())
    }
}

/// Why a request has come to nothing, or may have.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was refused, and nothing has changed.
    Code(Code),
    /// It was not sent.
    Unsent(Error),
    /// It may have been carried out, and was not answered. If the session goes on, then
    /// whatever is sent over a later connection comes after it.
    Lost(Error),
}

impl Failure {
    pub(super) fn unsent(why: &str) -> Self {
        Self::Unsent(Error::unavailable(why))
    }

    pub(super) fn lost(why: &str) -> Self {
        Self::Lost(Error::unavailable(why).with_outcome(Outcome::Unknown))
    }

    pub(super) fn is(&self, code: Code) -> bool {
        matches!(self, Self::Code(is) if *is == code)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Code(code) => {
                let (kind, what) = code.means();
                Error::new(kind, what)
            }
            Failure::Unsent(error) | Failure::Lost(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.outcome() {
            Outcome::NotHeld => Self::Unsent(error),
            _ => Self::Lost(error),
        }
    }
}

/// The server says what cannot be. Whatever was asked may have been done.
pub(super) fn strange(what: &str) -> Error {
    let message = format!("ZooKeeper said something that cannot be: {what}");
    Error::unavailable(message).with_outcome(Outcome::Unknown)
}
