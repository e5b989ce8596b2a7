//! The file itself: making it, knowing it for ours, and what can be wrong with it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::Sqlite;
use super::disk::{INDEX, LOG, beside, refuse_shared};
use super::fork::Opened;
use super::here::Here;
use crate::error::{Error, Kind};

/// "Leas", so that `file` and we can tell the database from another one.
const APPLICATION_ID: i32 = 0x4c65_6173;
const SCHEMA_VERSION: i32 = 4;
/// From version 1 to 2, and so on. Each renames the table of the locks, so that nothing
/// that a client of an older version does in a file which it has open succeeds any more.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize - 1] = [
    "ALTER TABLE boot ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE locks ADD COLUMN sharers TEXT",
    "ALTER TABLE locks RENAME TO locks_4",
];

const CANNOT_OPEN: &str =
    "cannot be opened; is it a file, does its directory exist, and may you write there?";

/// Why a request did not happen.
pub(super) enum Failure {
    /// Another connection is in its own transaction: ask again.
    Busy,
    /// Somebody is there who may be gone in a moment: ask again.
    Occupied(Error),
    Broken(Error),
}

/// A connection, counted for those who fork, and known to those who open another.
pub(super) struct Database {
    pub(super) connection: Connection,
    _here: Here,
    _opened: Opened,
}

/// Open the database, made if it is missing, without waiting for others.
pub(super) fn open(path: &Path) -> Result<Database, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Opened::begin()?;
    let here = Here::begin(path)?;
    let failed = |e| failure(path, e);
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(Duration::ZERO).map_err(failed)?;
    prepare(&db, path)?;
    here.is_open_now(path);
    Ok(Database { connection: db, _here: here, _opened: opened })
}

pub(super) fn failure(path: &Path, e: rusqlite::Error) -> Failure {
    match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy,
        _ => Failure::Broken(explain(path, e)),
    }
}

pub(super) fn refused(message: String) -> Failure {
    Failure::Broken(Error::new(Kind::Refused, message))
}

/// The one name of the file for all processes, whatever their working directory
/// and whatever symbolic links lead there. It may be missing yet.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, Failure> {
    let find = || match path.canonicalize() {
        Err(e) if e.kind() == ErrorKind::NotFound => match (path.read_link(), path.file_name()) {
            (Ok(target), _) => Ok(Err(directory(path).join(target))),
            (Err(_), Some(name)) => Ok(Ok(directory(path).canonicalize()?.join(name))),
            (Err(_), None) => Err(e),
        },
        found => found.map(Ok),
    };
    match find() {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(target)) => resolve(&target),
        Err(e) => {
            let message = format!("the database {path:?} {CANNOT_OPEN}");
            Err(Failure::Broken(Error::unavailable(message).because(e)))
        }
    }
}

/// Make a missing file, without the log and the index of a deleted one:
/// SQLite finds them by name, and clients may have them open still.
pub(super) fn start_anew(path: &Path) -> std::io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    if path.exists() {
        return Ok(());
    }
    let dir = File::open(directory(path))?;
    // Whoever finds the file may use it at once, so one at a time clears the
    // way for it, and makes it last.
    flock(&dir, FlockOperation::LockExclusive)?;
    let make = || {
        remove_log(path);
        // As the umask says: the log, the index and the sockets follow this mode.
        File::options().write(true).create_new(true).mode(0o666).open(path).map(drop)
    };
    let made = if path.exists() { Ok(()) } else { make() };
    // Closing is not enough if a child was forked meanwhile.
    flock(&dir, FlockOperation::Unlock)?;
    made
}

/// What SQLite would take for the database's own log and index.
pub(super) fn remove_log(path: &Path) {
    for ending in [LOG, INDEX] {
        drop(std::fs::remove_file(beside(path, ending)));
    }
}

pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Make the file ours, or find out why that cannot be.
fn prepare(db: &Connection, path: &Path) -> Result<(), Failure> {
    let failed = |e| failure(path, e);
    refuse_shared(path)?;
    refuse_foreign(db, path)?;
    let mode: String =
        db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(refused(format!(
            "{path:?} is on a file system without shared memory (SQLite's WAL mode does not work \
             there); put the database on a local disk"
        )));
    }
    // NORMAL: after a power failure the last transactions may be gone, which
    // costs nothing: every lease is dead then, and fences go on by the clock.
    // Checkpoints, the only writes that wait for the disk, are chores.
    db.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 1048576",
    )
    .map_err(failed)?;
    // The log and the index stay when the last connection is closed. So whoever
    // finds others than were there before knows that somebody took them away; and
    // a connection that was left without its database writes nothing into the next.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    if refuse_foreign(db, path)? == SCHEMA_VERSION {
        // A damaged file is found out before anything is put beside it.
        return is_settled(db, path, "").map(drop);
    }
    db.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let made = make_schema(db, path);
    let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
    db.execute_batch(end).map_err(failed)?;
    made
}

/// In a transaction.
fn make_schema(db: &Connection, path: &Path) -> Result<(), Failure> {
    let version = refuse_foreign(db, path)?;
    let make = || {
        match version {
            0 => db.execute_batch(include_str!("schema.sql"))?,
            SCHEMA_VERSION.. => return Ok(()),
            older => {
                let missing = MIGRATIONS.iter().skip(usize::try_from(older - 1).unwrap_or(0));
                missing.into_iter().try_for_each(|step| db.execute_batch(step))?;
            }
        }
        db.pragma_update(None, "application_id", APPLICATION_ID)?;
        db.pragma_update(None, "user_version", SCHEMA_VERSION)
    };
    make().map_err(|e| failure(path, e))
}

/// Whether the times in the database are those of this kernel, as they are for
/// all but the first client: the others then need not wait for a writer.
pub(super) fn is_settled(db: &Connection, path: &Path, kernel: &str) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT 1 FROM boot WHERE id = ?1)";
    db.query_row(sql, [kernel], |row| row.get(0)).map_err(|e| failure(path, e))
}

/// Take the database over from another run of the machine, of which nobody is left.
pub(super) fn settle(db: &Connection, path: &Path, kernel: &str) -> Result<(), Failure> {
    if is_settled(db, path, kernel)? {
        return Ok(());
    }
    let settle = || {
        db.execute_batch("BEGIN IMMEDIATE")?;
        db.execute("UPDATE boot SET id = ?1", [kernel])?;
        let free = "UPDATE locks_4 SET owner = NULL, client = NULL, label = NULL, since = NULL,
                    expires = NULL, line = NULL, sharers = NULL";
        db.execute(free, [])?;
        db.execute_batch("COMMIT")
    };
    settle().map_err(|e| {
        drop(db.execute_batch("ROLLBACK"));
        failure(path, e)
    })
}

/// The schema's version, 0 for a new file; an error for a file that is not ours.
fn refuse_foreign(db: &Connection, path: &Path) -> Result<i32, Failure> {
    // One statement, so that it does not see half of what another client makes.
    let sql = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
               FROM pragma_application_id, pragma_user_version";
    let read = || {
        db.query_row(sql, [], |row| Ok((row.get(0)?, row.get::<_, i32>(1)?, row.get::<_, i32>(2)?)))
    };
    match read().map_err(|e| failure(path, e))? {
        (APPLICATION_ID, version @ 0..=SCHEMA_VERSION, _) | (0, version @ 0, 0) => Ok(version),
        (APPLICATION_ID, version, _) => Err(refused(format!(
            "{path:?} was made by a newer Leasehold (schema {version}, this one knows \
             {SCHEMA_VERSION}); upgrade this program or use another file"
        ))),
        _ => Err(refused(format!(
            "{path:?} is another program's SQLite database; use a file of its own"
        ))),
    }
}

/// Nothing was written: what fails before the commit is rolled back.
fn explain(path: &Path, e: rusqlite::Error) -> Error {
    let (kind, what) = match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            (Kind::Refused, "is not a usable SQLite database; use another path, or remove it")
        }
        Some(ErrorCode::CannotOpen) => (Kind::Unavailable, CANNOT_OPEN),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            (Kind::Unavailable, "cannot be written, nor its directory; check their permissions")
        }
        _ if is_table_gone(&e) => (
            Kind::Refused,
            "was taken over by a newer Leasehold while this program had it open; upgrade this \
             program, or end the others and use another file",
        ),
        Some(ErrorCode::DiskFull) => (Kind::Unavailable, "cannot grow, the disk is full"),
        _ => (Kind::Unavailable, "failed"),
    };
    let is_final = is_table_gone(&e);
    let error = Error::new(kind, format!("the database {path:?} {what}")).because(e);
    if is_final { error.finally() } else { error }
}

/// As a migration leaves it for clients of older versions.
fn is_table_gone(e: &rusqlite::Error) -> bool {
    e.to_string().contains("no such table: locks")
}

impl Sqlite {
    /// The embedded backend's file when none is named: `leasehold.db` in the
    /// directory where programs of this user keep their state.
    pub(crate) fn default_path() -> Result<PathBuf, Error> {
        use etcetera::base_strategy::{BaseStrategy, choose_base_strategy};
        use std::os::unix::fs::DirBuilderExt;
        let user = choose_base_strategy().map_err(|e| {
            let message =
                "cannot tell the user's home directory; name a file, as sqlite:/path/to.db";
            Error::unavailable(message).because(e)
        })?;
        let dir = user.state_dir().unwrap_or_else(|| user.data_dir()).join("leasehold");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|e| {
            let message = format!(
                "cannot make the directory {dir:?}; make it writable or name a file, as \
                 sqlite:/path/to.db"
            );
            Error::unavailable(message).because(e)
        })?;
        Ok(dir.join("leasehold.db"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::Entry;
    use super::*;

    #[test]
    fn the_table_of_the_locks_has_the_version_of_the_schema_in_its_name() {
        let entry = Entry::of(&tempfile::tempdir().unwrap(), 1);
        let sql = "SELECT name FROM sqlite_schema WHERE name LIKE 'locks%' AND type = 'table'";
        let name: String = entry.database.connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(name, format!("locks_{SCHEMA_VERSION}"));
    }
}
