//! What the errors of etcd mean, and what to do about them.

use std::error::Error as _;

use tonic::{Code, Status};

use crate::backend::etcd::proof::strange;
use crate::error::{Error, Kind, Outcome};

/// A request without a usable answer.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: Error,
    pub(super) is: Is,
}

/// What there is to do about it, besides telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// Log in again.
    LoggedOut,
    /// The session is over.
    NoSession,
    /// Ask another member.
    TheMember,
    /// The same, because the connection broke.
    Broken,
    /// The cluster has no users.
    WithoutUsers,
    /// Nothing.
    Told,
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        trouble.error
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { error, is: Is::Told }
    }
}

impl Trouble {
    /// The member has answered what cannot be; the request may have been done.
    pub(super) fn strange(what: &str) -> Self {
        Self { error: strange(what), is: Is::TheMember }
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let said = &whole(&status);
        let known = MEANINGS.iter().find(|known| said.contains(known.said));
        if let Some(known) = known {
            let error = Error::new(known.kind, format!("{} (etcd says: {said})", known.cure));
            let outcome = if known.is_done_with { Outcome::NotHeld } else { Outcome::Unknown };
            return Self { error: error.with_outcome(outcome), is: known.is };
        }
        let (kind, is) = match status.code() {
            _ if status.source().is_some() => (Kind::Unavailable, Is::Broken),
            // Our own side says "internal" of what it cannot read.
            Code::InvalidArgument | Code::Unimplemented => (Kind::Internal, Is::Told),
            Code::PermissionDenied | Code::Unauthenticated => (Kind::Refused, Is::Told),
            _ => (Kind::Unavailable, Is::TheMember),
        };
        let message = format!("the request to etcd failed ({:?}: {said})", status.code());
        Self { error: Error::new(kind, message).with_outcome(Outcome::Unknown), is }
    }
}

/// The message, and those of its causes.
fn whole(status: &Status) -> String {
    let mut said = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !said.contains(&next) {
            said = format!("{said}: {next}");
        }
        cause = error.source();
    }
    said
}

struct Meaning {
    said: &'static str,
    kind: Kind,
    cure: &'static str,
    is: Is,
    /// Whether nothing was done, and nothing will be.
    is_done_with: bool,
}

const fn meaning(said: &'static str, kind: Kind, cure: &'static str, is: Is) -> Meaning {
    Meaning { said, kind, cure, is, is_done_with: true }
}

const fn undecided(said: &'static str, cure: &'static str) -> Meaning {
    Meaning { said, kind: Kind::Unavailable, cure, is: Is::TheMember, is_done_with: false }
}

const MEANINGS: &[Meaning] = &[
    meaning(
        "requested lease not found",
        Kind::Unavailable,
        "the session with etcd is over",
        Is::NoSession,
    ),
    meaning("invalid auth token", Kind::Unavailable, "the login has lapsed", Is::LoggedOut),
    meaning("revision of auth store is old", Kind::Unavailable, "users changed", Is::LoggedOut),
    meaning(
        "authentication is not enabled",
        Kind::Refused,
        "the cluster has no users; leave user and password out of the URL",
        Is::WithoutUsers,
    ),
    meaning(
        "authentication failed",
        Kind::Refused,
        "the cluster does not accept this user and password",
        Is::Told,
    ),
    meaning(
        "user name is empty",
        Kind::Refused,
        "the cluster wants a user: etcd://user:password@host",
        Is::LoggedOut,
    ),
    meaning("user name not found", Kind::Refused, "the cluster does not know this user", Is::Told),
    meaning(
        "permission denied",
        Kind::Refused,
        "the user may not do this; it needs to read and write the keys that begin with the prefix \
         (etcdctl role grant-permission ROLE readwrite --prefix leasehold/)",
        Is::Told,
    ),
    meaning(
        "database space exceeded",
        Kind::Unavailable,
        "the cluster is full: compact and defragment it, then `etcdctl alarm disarm`",
        Is::Told,
    ),
    meaning("too many requests", Kind::Unavailable, "the cluster is overloaded", Is::Told),
    undecided("leader changed", "the cluster has just changed its leader"),
    undecided("no leader", "this member knows of no leader: has the cluster its majority?"),
    undecided("request timed out", "the cluster did not agree in time: has it its majority?"),
    undecided("server stopped", "the member is shutting down"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_says_is_understood() {
        for (status, kind, is, outcome) in [
            (
                Status::not_found("etcdserver: requested lease not found"),
                Kind::Unavailable,
                Is::NoSession,
                Outcome::NotHeld,
            ),
            (
                Status::unavailable("etcdserver: request timed out"),
                Kind::Unavailable,
                Is::TheMember,
                Outcome::Unknown,
            ),
            (
                Status::permission_denied("etcdserver: permission denied"),
                Kind::Refused,
                Is::Told,
                Outcome::NotHeld,
            ),
            (
                Status::cancelled("h2 protocol error"),
                Kind::Unavailable,
                Is::TheMember,
                Outcome::Unknown,
            ),
            (
                Status::invalid_argument("etcdserver: key is not provided"),
                Kind::Internal,
                Is::Told,
                Outcome::Unknown,
            ),
        ] {
            let trouble = Trouble::from(status);
            let told = (trouble.error.kind(), trouble.is, trouble.error.outcome());
            assert_eq!(told, (kind, is, outcome), "{trouble:?}");
        }
    }
}
