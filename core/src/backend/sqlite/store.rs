//! The file: opening it, and one short transaction per request.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::backend::record::{Address, FORGET_AFTER, Record, Tenant, Waiter};
use crate::error::{Error, Kind, Outcome};
use crate::name::{LockName, Owner};
use crate::time::{Clock, Instant, SystemClock};

/// "Leas", so that `file` and we can tell the database from another one.
const APPLICATION_ID: i32 = 0x4c65_6173;
const SCHEMA_VERSION: i32 = 1;

/// Why a transaction did not happen.
pub(super) enum Failure {
    /// Another connection is in its own transaction: ask again.
    Busy,
    Broken(Error),
}

pub(super) struct Store {
    db: Connection,
    path: PathBuf,
    file: (u64, u64),
}

impl Store {
    /// Open or create the database. Neither this nor any request waits for
    /// other connections, see [`Store::wait_up_to`].
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(|e| failure(path, e))?;
        db.busy_timeout(Duration::ZERO).map_err(|e| failure(path, e))?;
        prepare_file(&db, path)?;
        db.set_prepared_statement_cache_capacity(16);
        let file = identity(path).map_err(Failure::Broken)?;
        Ok(Self { db, path: path.to_owned(), file })
    }

    /// From here on, block this long while another connection is in its
    /// transaction.
    pub(super) fn wait_up_to(&self, patience: Duration) -> Result<(), Failure> {
        self.db.busy_timeout(patience).map_err(|e| self.failure(e))
    }

    /// Change one lock's record in one transaction. The answer of `change`
    /// counts only when the commit went through.
    pub(super) fn change<T>(
        &self,
        name: &LockName,
        change: impl FnOnce(&mut Record) -> T,
    ) -> Result<T, Failure> {
        self.transaction(|db| {
            let found = load(db, name)?;
            let mut record = found.clone().unwrap_or_default();
            let answer = change(&mut record);
            save(db, name, found.as_ref(), &record)?;
            Ok(answer)
        })
    }

    /// Change many records in one transaction, one answer each.
    pub(super) fn change_each<'a, I, T>(
        &self,
        items: impl IntoIterator<Item = (&'a LockName, I)>,
        mut change: impl FnMut(&mut Record, I) -> T,
    ) -> Result<Vec<T>, Failure> {
        self.transaction(|db| {
            let one = |(name, item)| {
                let found = load(db, name)?;
                let mut record = found.clone().unwrap_or_default();
                let answer = change(&mut record, item);
                save(db, name, found.as_ref(), &record)?;
                Ok(answer)
            };
            items.into_iter().map(one).collect()
        })
    }

    /// The records that are held or waited for: all, or the one of this name.
    pub(super) fn read(&self, name: Option<&LockName>) -> Result<Vec<(LockName, Record)>, Failure> {
        let sql = "SELECT fence, owner, client, label, since, expires, line, name FROM locks
                   WHERE (owner IS NOT NULL OR line IS NOT NULL) AND name = ifnull(?1, name)
                   ORDER BY name";
        let read = || {
            let mut statement = self.db.prepare_cached(sql)?;
            let rows = statement
                .query_map([name.map(LockName::as_str)], |row| Ok((row.get(7)?, record(row)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, Record)>>>()
        };
        let rows = read().map_err(|e| self.failure(e))?;
        let named = rows.into_iter().map(|(name, record)| Ok((LockName::new(&name)?, record)));
        named.collect::<Result<_, _>>().map_err(Failure::Broken)
    }

    /// Move what was written into the database file, beside the writers.
    pub(super) fn checkpoint(&self) -> Result<(), Failure> {
        let run = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        run.map_err(|e| self.failure(e))
    }

    /// Start the log anew. A checkpoint beside busy writers never catches up;
    /// this keeps them out for the little that it has left.
    pub(super) fn restart_log(&self) -> Result<(), Failure> {
        self.checkpoint()?;
        let run = self.db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
        run.map_err(|e| self.failure(e))
    }

    /// Drop the records of locks that nobody used for a day.
    pub(super) fn forget_old(&self) -> Result<(), Failure> {
        let oldest = SystemClock.wall_micros().saturating_sub(FORGET_AFTER.as_micros() as u64);
        let old = "FROM locks WHERE owner IS NULL AND line IS NULL AND fence < ?1";
        let run = || {
            // A read first: most clients find nothing and then keep nobody out.
            let find = format!("SELECT EXISTS (SELECT 1 {old})");
            if self.db.query_row(&find, [oldest as i64], |row| row.get(0))? {
                self.db.execute(&format!("DELETE {old}"), [oldest as i64])?;
            }
            Ok(())
        };
        run().map_err(|e| self.failure(e))
    }

    fn transaction<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        if identity(&self.path).ok() != Some(self.file) {
            return Err(refused(format!(
                "the database {:?} was deleted or replaced while in use, so its locks protect \
                 nothing; connect again",
                self.path
            )));
        }
        let run = || {
            self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let answer = work(&self.db)?;
            self.db.prepare_cached("COMMIT")?.execute([])?;
            Ok(answer)
        };
        run().map_err(|e| {
            if !self.db.is_autocommit() {
                drop(self.db.execute_batch("ROLLBACK"));
            }
            self.failure(e)
        })
    }

    fn failure(&self, e: rusqlite::Error) -> Failure {
        failure(&self.path, e)
    }
}

fn failure(path: &Path, e: rusqlite::Error) -> Failure {
    match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy,
        _ => Failure::Broken(explain(path, e)),
    }
}

fn refused(message: String) -> Failure {
    Failure::Broken(Error::new(Kind::Refused, message))
}

/// Make the file ours, or find out why that cannot be.
fn prepare_file(db: &Connection, path: &Path) -> Result<(), Failure> {
    let failed = |e| failure(path, e);
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
    // Checkpoints, the only writes that wait for the disk, run on the lane.
    db.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; BEGIN IMMEDIATE")
        .map_err(failed)?;
    let settled = settle(db, path);
    let end = if settled.is_ok() { "COMMIT" } else { "ROLLBACK" };
    db.execute_batch(end).map_err(failed)?;
    settled
}

/// In a transaction: the schema, and who is dead because the machine was restarted.
fn settle(db: &Connection, path: &Path) -> Result<(), Failure> {
    let version = refuse_foreign(db, path)?;
    let boot = boot_id().map_err(Failure::Broken)?;
    let settle = || {
        if version == 0 {
            db.execute_batch(include_str!("schema.sql"))?;
            db.pragma_update(None, "application_id", APPLICATION_ID)?;
            db.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            db.execute("INSERT INTO boot VALUES (?1)", [&boot])?;
        }
        if db.execute("UPDATE boot SET id = ?1 WHERE id <> ?1", [&boot])? > 0 {
            let free = "UPDATE locks SET owner = NULL, client = NULL, label = NULL, since = NULL,
                        expires = NULL, line = NULL";
            db.execute(free, [])?;
        }
        Ok(())
    };
    settle().map_err(|e| failure(path, e))
}

/// The schema's version, 0 for a new file; an error for a file that is not ours.
fn refuse_foreign(db: &Connection, path: &Path) -> Result<i32, Failure> {
    let number = |sql| db.query_row(sql, [], |row| row.get::<_, i32>(0));
    let read = || {
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        Ok((number("PRAGMA application_id")?, number("PRAGMA user_version")?, tables))
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

fn load(db: &Connection, name: &LockName) -> rusqlite::Result<Option<Record>> {
    let sql = "SELECT fence, owner, client, label, since, expires, line FROM locks WHERE name = ?1";
    db.prepare_cached(sql)?.query_row([name.as_str()], record).optional()
}

/// Write what `record` became, given what was `found`.
fn save(
    db: &Connection,
    name: &LockName,
    found: Option<&Record>,
    record: &Record,
) -> rusqlite::Result<()> {
    let sql = match found {
        Some(found) if found == record => return Ok(()),
        Some(_) => {
            "UPDATE locks SET fence = ?2, owner = ?3, client = ?4, label = ?5, since = ?6,
                 expires = ?7, line = ?8 WHERE name = ?1"
        }
        None => {
            "INSERT INTO locks (name, fence, owner, client, label, since, expires, line)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
        }
    };
    let tenant = record.tenant.as_ref();
    let line = match record.line.is_empty() {
        true => None,
        false => Some(
            Place::write(&record.line)
                .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?,
        ),
    };
    db.prepare_cached(sql)?.execute(params![
        name.as_str(),
        record.fence as i64,
        tenant.map(|t| t.owner.bits().to_be_bytes()),
        tenant.map(|t| t.client as i64),
        tenant.map(|t| &*t.label),
        tenant.map(|t| t.since.as_nanos() as i64),
        tenant.map(|t| t.expires.as_nanos() as i64),
        line,
    ])?;
    Ok(())
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let fence = row.get::<_, i64>(0)? as u64;
    let owner = row.get::<_, Option<[u8; 16]>>(1)?;
    let tenant = match owner {
        None => None,
        Some(owner) => Some(Tenant {
            owner: Owner::from_bits(u128::from_be_bytes(owner)),
            client: row.get::<_, i64>(2)? as Address,
            label: row.get::<_, String>(3)?.into(),
            since: Instant::from_nanos(row.get::<_, i64>(4)? as u64),
            expires: Instant::from_nanos(row.get::<_, i64>(5)? as u64),
        }),
    };
    let line = match row.get_ref(6)?.as_str_or_null()? {
        None => VecDeque::new(),
        Some(line) => Place::read(line).map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(6, rusqlite::types::Type::Text, e)
        })?,
    };
    Ok(Record { fence, tenant, line })
}

/// A waiter as the column `line` holds it.
#[derive(Serialize, Deserialize)]
struct Place<'a> {
    owner: &'a str,
    client: Address,
    #[serde(borrow)]
    label: std::borrow::Cow<'a, str>,
    until: u64,
}

impl Place<'_> {
    fn write(line: &VecDeque<Waiter>) -> serde_json::Result<String> {
        let owners: Vec<String> = line.iter().map(|w| w.owner.to_string()).collect();
        let place = |(w, owner)| -> Place<'_> {
            let w: &Waiter = w;
            Place { owner, client: w.client, label: (*w.label).into(), until: w.until.as_nanos() }
        };
        let places = line.iter().zip(owners.iter().map(String::as_str)).map(place);
        serde_json::to_string(&places.collect::<Vec<_>>())
    }

    fn read(line: &str) -> Result<VecDeque<Waiter>, Box<dyn std::error::Error + Send + Sync>> {
        let waiter = |p: Place<'_>| {
            Ok(Waiter {
                owner: Owner::from_bits(u128::from_str_radix(p.owner, 16)?),
                client: p.client,
                label: p.label.into(),
                until: Instant::from_nanos(p.until),
            })
        };
        serde_json::from_str::<Vec<Place<'_>>>(line)?.into_iter().map(waiter).collect()
    }
}

/// Which file a path leads to now: device and inode.
fn identity(path: &Path) -> Result<(u64, u64), Error> {
    let found = std::fs::metadata(path)
        .map_err(|e| Error::unavailable(format!("cannot find the database {path:?}")).because(e))?;
    Ok((found.dev(), found.ino()))
}

/// Names this run of the machine: boot times of another run mean nothing.
fn boot_id() -> Result<String, Error> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let read = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "kern.bootsessionuuid"])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match read.as_deref().map(str::trim) {
        Ok(id) if !id.is_empty() => Ok(id.to_owned()),
        read => {
            let why = read.err().map_or("it is empty".into(), ToString::to_string);
            let message =
                "cannot read the machine's boot id, which tells old leases from live ones";
            Err(Error::new(Kind::Unsupported, format!("{message}: {why}")))
        }
    }
}

fn explain(path: &Path, e: rusqlite::Error) -> Error {
    let (kind, what) = match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            (Kind::Refused, "is not a usable SQLite database; use another path, or remove it")
        }
        Some(ErrorCode::CannotOpen) => (
            Kind::Unavailable,
            "cannot be opened; does its directory exist, and may you write there?",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            (Kind::Unavailable, "cannot be written, nor its directory; check their permissions")
        }
        Some(ErrorCode::DiskFull) => (Kind::Unavailable, "cannot grow, the disk is full"),
        _ => (Kind::Unavailable, "failed"),
    };
    // A failed commit rolls back, except that after an I/O error nobody knows.
    let outcome = match e.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => Outcome::Unknown,
        _ => Outcome::NotHeld,
    };
    Error::new(kind, format!("the database {path:?} {what}")).with_outcome(outcome).because(e)
}
