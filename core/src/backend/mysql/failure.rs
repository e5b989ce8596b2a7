//! What the errors of MySQL and MariaDB mean, and what to do about them.

use mysql_async::{DriverError, ServerError};

use crate::backend::sql::{Is, LOCKED, Trouble, whole};
use crate::error::{Error, Kind, Outcome};

/// The server has answered what cannot be; the statement may have been carried out.
pub(super) fn strange(what: &str) -> Trouble {
    Trouble::strange(what, "a MySQL or MariaDB")
}

/// `wrote`: of several statements an earlier one has changed something.
pub(super) fn trouble(e: mysql_async::Error, wrote: bool) -> Trouble {
    let said = match e {
        mysql_async::Error::Server(said) => said,
        e => return Trouble::lost(&e),
    };
    let (kind, is, cure) = meaning(&said);
    let cure = if cure.is_empty() { "the statement failed" } else { cure };
    let message = format!("{cure} (the server says: {}, error {})", said.message, said.code);
    // A statement that fails is undone; of one whose session ends nobody knows.
    let outcome = match wrote || is == Is::Broken {
        true => Outcome::Unknown,
        false => Outcome::NotHeld,
    };
    Trouble { error: Error::new(kind, message).with_outcome(outcome), is }
}

/// Why there is no session at all.
pub(super) fn not_connected(e: mysql_async::Error) -> Trouble {
    let said = whole(&e);
    let refused = |message: &str| Error::new(Kind::Refused, message).because(said.clone()).into();
    if matches!(e, mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer)) {
        return refused(
            "the server offers no encryption; have it do so (ssl_cert, ssl_key), or connect \
             without by ?sslmode=disable where nobody else is on the network",
        );
    }
    if said.contains("certificate") || said.contains("UnknownIssuer") {
        return refused(
            "the server's certificate is not trusted; a private authority needs ?ca=FILE",
        );
    }
    if matches!(e, mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { .. })) {
        return refused(
            "the server wants this user to log in by a plugin that is not known here; \
             mysql_native_password and caching_sha2_password are",
        );
    }
    let is_io = matches!(e, mysql_async::Error::Io(_));
    let trouble = trouble(e, false);
    match is_io {
        true => {
            let message = "is the server running, and the address right?";
            Error::unavailable(message).because(said).into()
        }
        false => trouble,
    }
}

fn meaning(said: &ServerError) -> (Kind, Is, &'static str) {
    use Kind::{Invalid, Refused, Unavailable};
    match said.code {
        // Deadlock, a duplicate of a row that somebody else has made just now.
        1213 | 1062 => (Unavailable, Is::Beaten, "others were faster"),
        1205 => (Unavailable, Is::Locked, LOCKED),
        1045 | 1698 => (Refused, Is::Told, "the database does not accept this user and password"),
        1130 | 1129 => (Refused, Is::Told, "the database does not let this user in from here"),
        1049 => (Refused, Is::Told, "there is no such database: mysql://USER@HOST/DATABASE"),
        1044 | 1142 | 1143 | 1227 | 1370 => (
            Refused,
            Is::Forbidden,
            "the user may not do this; it needs GRANT SELECT, INSERT, UPDATE, DELETE on the table",
        ),
        1103 => (Refused, Is::Told, "the table has a name that the server does not take"),
        1267 => (
            Refused,
            Is::Told,
            "the table's columns have other character sets than Leasehold makes them with; make \
             it as the statements of `leasehold sql ddl` do",
        ),
        1146 | 1932 => {
            (Refused, Is::Missing, "the table is not there any more; connect again to have it made")
        }
        1054 => (
            Refused,
            Is::Told,
            "the table is not one of Leasehold; name another (?table=database.name)",
        ),
        1290 | 1792 | 1836 | 3032 => (
            Unavailable,
            Is::Told,
            "the server cannot be written to now: it is a replica, or read_only is on",
        ),
        1665 => (
            Refused,
            Is::Told,
            "the server's binlog_format is STATEMENT, which writes nothing that is read \
             committed; have it be ROW or MIXED",
        ),
        1040 | 1203 | 1226 => (
            Unavailable,
            Is::Told,
            "the server has no connection left (max_connections); a client uses two",
        ),
        1021 | 1041 | 1114 => (Unavailable, Is::Told, "the server's disk or memory is full"),
        1153 | 1301 | 1406 => (Invalid, Is::Told, "this is more than the server takes"),
        1317 | 1969 | 3024 => (
            Unavailable,
            Is::Told,
            "the server did not get it done within response_timeout, or somebody ended it; does \
             somebody keep the row or the table locked?",
        ),
        1053 | 1927 | 1077 | 1079 | 1080 | 1158..=1161 | 4031 => {
            (Unavailable, Is::Broken, "the server ended the connection")
        }
        // Syntax, and what the statements may be about.
        1064 | 1065 | 1193 | 1231 | 1232 | 1305 | 1366 => (Kind::Internal, Is::Told, ""),
        _ => (Unavailable, Is::Told, ""),
    }
}
