//! The file itself: making it, knowing it for ours, and what can be wrong with it.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::fork::Opened;
use crate::error::{Error, Kind, Outcome};

/// "Leas", so that `file` and we can tell the database from another one.
const APPLICATION_ID: i32 = 0x4c65_6173;
const SCHEMA_VERSION: i32 = 1;

/// Why a request did not happen.
pub(super) enum Failure {
    /// Another connection is in its own transaction: ask again.
    Busy,
    Broken(Error),
}

/// A database file by its path, and the file that was there when it was opened.
pub(super) struct DataFile {
    path: PathBuf,
    id: FileId,
    _opened: Opened,
}

/// Device and inode.
type FileId = (u64, u64);

impl DataFile {
    /// Open or create the database, without waiting for other connections.
    pub(super) fn open(path: &Path) -> Result<(Self, Connection), Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        refuse_shared(directory(path))?;
        let opened = Opened::begin()?;
        // Failing shows when SQLite tries, with a better message.
        drop(start_anew(path));
        // Before the opening: another file in between is then noticed by check().
        let id = identity(path);
        let db = Connection::open_with_flags(path, flags).map_err(|e| failure(path, e))?;
        db.busy_timeout(Duration::ZERO).map_err(|e| failure(path, e))?;
        prepare(&db, path)?;
        let id = id.map_err(|e| {
            let message = format!("cannot find the database {path:?}");
            Failure::Broken(Error::unavailable(message).because(e))
        })?;
        Ok((Self { path: path.to_owned(), id, _opened: opened }, db))
    }

    /// Before every use, reading too: SQLite finds the log and the index by
    /// name, and they may be another database's by now.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if identity(&self.path).ok() == Some(self.id) {
            return Ok(());
        }
        Err(refused(format!(
            "the database {:?} was deleted or replaced while in use, so its locks protect \
             nothing; connect again",
            self.path
        )))
    }

    pub(super) fn failure(&self, e: rusqlite::Error) -> Failure {
        failure(&self.path, e)
    }
}

fn failure(path: &Path, e: rusqlite::Error) -> Failure {
    match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy,
        _ => Failure::Broken(explain(path, e)),
    }
}

pub(super) fn refused(message: String) -> Failure {
    Failure::Broken(Error::new(Kind::Refused, message))
}

/// Make a missing file, without the log and the index of a deleted one:
/// SQLite finds them by name, and clients may have them open still.
fn start_anew(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let dir = File::open(directory(path))?;
    // Whoever finds the file may use it at once, so one at a time clears the
    // way for it, and makes it last. Ends with `dir`.
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockExclusive)?;
    if !path.exists() {
        for ending in ["-wal", "-shm"] {
            let mut leftover = path.as_os_str().to_owned();
            leftover.push(ending);
            drop(std::fs::remove_file(leftover));
        }
        File::options().write(true).create_new(true).mode(0o644).open(path)?;
    }
    Ok(())
}

fn directory(path: &Path) -> &Path {
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
    // Checkpoints, the only writes that wait for the disk, run on the lane.
    db.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0")
        .map_err(failed)?;
    if is_settled(db, path)? {
        return Ok(());
    }
    db.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let settled = settle(db, path);
    let end = if settled.is_ok() { "COMMIT" } else { "ROLLBACK" };
    db.execute_batch(end).map_err(failed)?;
    settled
}

/// Two machines on one file would each take the other's leases for those of an
/// earlier boot.
fn refuse_shared(path: &Path) -> Result<(), Failure> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(found) = rustix::fs::statfs(path)
        && is_shared(found.f_type as u32)
    {
        return Err(refused(format!(
            "{path:?} is on a network or shared file system (type {:#x}), where two machines \
             could hold one lock; put the database on a local disk",
            found.f_type
        )));
    }
    Ok(())
}

/// Whether another machine may have a file system of this type mounted too;
/// the numbers are those of statfs(2).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_shared(file_system: u32) -> bool {
    const NFS: u32 = 0x6969;
    const SMB: [u32; 3] = [0x517b, 0xff53_4d42, 0xfe53_4d42];
    const AFS: u32 = 0x5346_414f;
    const CEPH: u32 = 0x00c3_6400;
    const CLUSTER: [u32; 3] = [0x7461_636f, 0x0116_1970, 0x0bd0_0bd0]; // OCFS2, GFS2, Lustre
    const OF_A_VIRTUAL_MACHINE: [u32; 2] = [0x0102_1997, 0x786f_4256]; // 9P, VirtualBox
    const FUSE: u32 = 0x6573_5546; // sshfs, virtiofs and more
    [NFS, AFS, CEPH, FUSE].contains(&file_system)
        || SMB.contains(&file_system)
        || CLUSTER.contains(&file_system)
        || OF_A_VIRTUAL_MACHINE.contains(&file_system)
}

/// Whether the schema is there and of this boot, as it is for all but the first
/// client: the others then need not wait for a writer.
fn is_settled(db: &Connection, path: &Path) -> Result<bool, Failure> {
    let failed = |e| failure(path, e);
    if refuse_foreign(db, path)? == 0 {
        return Ok(false);
    }
    let boot = boot_id().map_err(Failure::Broken)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM boot WHERE id = ?1)";
    db.query_row(sql, [boot], |row| row.get(0)).map_err(failed)
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

fn identity(path: &Path) -> std::io::Result<FileId> {
    let found = std::fs::metadata(path)?;
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
            "cannot be opened; is it a file, does its directory exist, and may you write there?",
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

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_system_that_other_machines_may_have_is_told_from_a_local_one() {
        for (name, number) in [("nfs", 0x6969), ("cifs", 0xff53_4d42), ("virtiofs", 0x6573_5546)] {
            assert!(super::is_shared(number), "{name}");
        }
        let local = [("ext4", 0xef53), ("tmpfs", 0x0102_1994), ("btrfs", 0x9123_683e)];
        for (name, number) in
            local.into_iter().chain([("overlay", 0x794c_7630), ("xfs", 0x5846_5342)])
        {
            assert!(!super::is_shared(number), "{name}");
        }
    }
}
