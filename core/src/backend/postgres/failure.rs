//! What the errors of PostgreSQL mean, and what to do about them.

use tokio_postgres::error::{Severity, SqlState};

use crate::backend::sql::{Is, LOCKED, Trouble};
use crate::error::{Error, Kind, Outcome};

/// The server has answered what cannot be; the statement may have been carried out.
pub(super) fn strange(what: &str) -> Trouble {
    Trouble::strange(what, "a PostgreSQL")
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(e: tokio_postgres::Error) -> Self {
        let Some(said) = e.as_db_error() else {
            return Self::lost(&e);
        };
        let state = said.code().clone();
        let is_over = matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        let (kind, cure) = meaning(&state);
        let said = match said.detail() {
            Some(detail) => format!("{} ({detail})", said.message()),
            None => said.message().to_owned(),
        };
        let cure = if cure.is_empty() { "the statement failed" } else { cure };
        let message = format!("{cure} (PostgreSQL says: {said}, SQLSTATE {})", state.code());
        // A statement that fails is undone; of one whose session ends nobody knows.
        let outcome = if is_over { Outcome::Unknown } else { Outcome::NotHeld };
        let is = match state {
            _ if is_over => Is::Broken,
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Is::Beaten,
            SqlState::LOCK_NOT_AVAILABLE => Is::Locked,
            SqlState::QUERY_CANCELED => Is::Cancelled,
            SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::FEATURE_NOT_SUPPORTED => Is::Forgotten,
            SqlState::DUPLICATE_TABLE | SqlState::DUPLICATE_OBJECT | SqlState::UNIQUE_VIOLATION => {
                Is::Duplicate
            }
            _ => Is::Told,
        };
        Self { error: Error::new(kind, message).with_outcome(outcome), is }
    }
}

fn meaning(state: &SqlState) -> (Kind, &'static str) {
    const KNOWN: &[(SqlState, Kind, &str)] = &[
        (
            SqlState::INVALID_PASSWORD,
            Kind::Refused,
            "the database does not accept this user and password",
        ),
        (
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            Kind::Refused,
            "the database does not let this user in from here; see its pg_hba.conf",
        ),
        (
            SqlState::INVALID_CATALOG_NAME,
            Kind::Refused,
            "there is no such database: postgres://USER@HOST/DATABASE",
        ),
        (
            SqlState::INSUFFICIENT_PRIVILEGE,
            Kind::Refused,
            "the user may not do this; it needs GRANT USAGE on the schema, and GRANT SELECT, \
             INSERT, UPDATE, DELETE on the table",
        ),
        (
            SqlState::UNDEFINED_TABLE,
            Kind::Refused,
            "the table is not there any more; connect again to have it made",
        ),
        (
            SqlState::INVALID_SCHEMA_NAME,
            Kind::Refused,
            "there is no such schema; make it, or name another table (?table=schema.name)",
        ),
        (
            SqlState::INVALID_COLUMN_REFERENCE,
            Kind::Refused,
            "the table may have several rows for one lock, as name is not its primary key; close \
             all clients and: ALTER TABLE … ADD PRIMARY KEY (name)",
        ),
        (
            SqlState::UNDEFINED_COLUMN,
            Kind::Refused,
            "the table is not one of Leasehold; name another (?table=schema.name)",
        ),
        (
            SqlState::UNTRANSLATABLE_CHARACTER,
            Kind::Invalid,
            "the database cannot store this text; it needs the encoding UTF8",
        ),
        (
            SqlState::READ_ONLY_SQL_TRANSACTION,
            Kind::Unavailable,
            "the server cannot be written to now: it is a replica, or \
             default_transaction_read_only is on",
        ),
        (
            SqlState::TOO_MANY_CONNECTIONS,
            Kind::Unavailable,
            "the server has no connection left (max_connections); a client uses two",
        ),
        (
            SqlState::CANNOT_CONNECT_NOW,
            Kind::Unavailable,
            "the server is starting, stopping or recovering",
        ),
        (SqlState::DISK_FULL, Kind::Unavailable, "the server's disk is full"),
        (
            SqlState::QUERY_CANCELED,
            Kind::Unavailable,
            "the server did not get it done within response_timeout, or somebody cancelled it; \
             does somebody keep the row or the table locked?",
        ),
        (SqlState::LOCK_NOT_AVAILABLE, Kind::Unavailable, LOCKED),
        (SqlState::ADMIN_SHUTDOWN, Kind::Unavailable, "the server ended the connection"),
    ];
    let known = KNOWN.iter().find(|(known, ..)| known == state);
    match known {
        Some((_, kind, cure)) => (*kind, cure),
        // Syntax, and what the statements may be about.
        None if state.code().starts_with("42") => (Kind::Internal, ""),
        None => (Kind::Unavailable, ""),
    }
}
