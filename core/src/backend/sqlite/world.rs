//! One file, one world: all who use the database have the same log, the same
//! index and the same sockets beside it, and count time by the same clock. It is
//! proven when a client enters and, as far as it can change, at every request.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;
use tokio::sync::Notify;

use super::access::Access;
use super::bells::Bells;
use super::disk::{INDEX, LOG, beside, refuse_linked, refuse_mounted, refuse_shared};
use super::file::{self, Database, Failure, directory, refused};
use crate::backend::record::Address;
use crate::error::{Error, Kind};

/// Device and inode.
type FileId = (u64, u64);

pub(super) struct World {
    path: PathBuf,
    /// The database, its log and index, and the client's own socket.
    parts: Vec<(PathBuf, FileId)>,
    bells: Bells,
    address: Address,
    log_size: AtomicU64,
    over: AtomicBool,
    ended: Notify,
}

/// What a client brings that enters.
pub(super) struct Entry {
    pub(super) world: World,
    pub(super) database: Database,
    pub(super) listener: UnixListener,
}

impl World {
    /// Open the database at `path` and listen beside it.
    pub(super) fn enter(path: &Path, address: Address) -> Result<Entry, Failure> {
        let path = &file::resolve(path)?;
        refuse_shared(directory(path))?;
        // Failing shows when SQLite tries, with a better message.
        drop(file::start_anew(path));
        if !path.is_file() {
            return file::open(path).and_then(|_| Err(refused(format!("{path:?} is no file"))));
        }
        refuse_linked(path)?;
        refuse_mounted(path)?;
        let access = Access::of(path)?;
        access.refuse_foreign_parts(path)?;
        remove_log_of_another(path, access)?;
        let database = match file::open(path) {
            Err(Failure::Occupied(e)) => {
                // By other clients of this process: let them look around.
                Bells::existing(path, access)?.map(|bells| bells.anyone_answers()).transpose()?;
                return Err(Failure::Occupied(e));
            }
            opened => opened?,
        };
        access.share_parts(path);
        let bells = Bells::beside(path, access)?;
        refuse_mounted(path)?;
        let alone = bells.alone()?;
        let mut parts = match parts(path) {
            // They are missing if others of this process still have the old ones open.
            Err(_) if bells.anyone_answers()? => return Err(replaced(path)),
            found => found?,
        };
        settle(&database.connection, path, &bells, &parts)?;
        let (listener, socket) = bells.hang(address)?;
        parts.push(id(&socket).map(|id| (socket, id)).map_err(|e| unusable(path, e))?);
        drop(alone);
        let world = Self {
            path: path.clone(),
            parts,
            bells,
            address,
            log_size: AtomicU64::new(0),
            over: AtomicBool::new(false),
            ended: Notify::new(),
        };
        Ok(Entry { world, database, listener })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bells(&self) -> &Bells {
        &self.bells
    }

    pub(super) fn address(&self) -> Address {
        self.address
    }

    /// Another connection to the same database.
    pub(super) fn open(&self) -> Result<Database, Failure> {
        self.check()?;
        let database = file::open(&self.path)?;
        self.check()?;
        Ok(database)
    }

    /// Before every use, reading too: SQLite finds the log and the index by
    /// name, and they may be another database's by now. What has ended once
    /// does not begin again.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if !self.over.load(Ordering::Relaxed) {
            if self.is_whole() {
                return Ok(());
            }
            self.over.store(true, Ordering::Relaxed);
            // The leases are void. Whoever waits for this client to leave may go on.
            self.leave();
            self.ended.notify_one();
        }
        Err(self.refusal())
    }

    /// What those are told who use it when it is over.
    pub(super) fn refusal(&self) -> Failure {
        refused(format!(
            "the database {:?}, or what lies beside it under its name, was deleted or replaced \
             while in use, so its locks protect nothing; connect again",
            self.path
        ))
    }

    fn is_whole(&self) -> bool {
        self.parts.iter().enumerate().all(|(at, (path, known))| {
            let Ok(found) = std::fs::symlink_metadata(path) else { return false };
            if at == 1 {
                self.log_size.store(found.len(), Ordering::Relaxed);
            }
            (found.dev(), found.ino()) == *known
        })
    }

    /// The size of the log when it was last checked, in bytes.
    pub(super) fn log_size(&self) -> u64 {
        self.log_size.load(Ordering::Relaxed)
    }

    /// Take the client's own socket away: nobody is here any more.
    pub(super) fn leave(&self) {
        self.bells.remove(self.address);
    }

    /// When a check has failed; tells it once.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }
}

#[cfg(test)]
impl Entry {
    /// Patiently: other tests may be opening a database just now.
    pub(super) fn of(dir: &tempfile::TempDir, address: Address) -> Self {
        let path = dir.path().join("locks.db");
        super::lane::eagerly(|| World::enter(&path, address))
            .unwrap_or_else(|_| panic!("no database at {path:?}"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.leave();
    }
}

fn id(path: &Path) -> std::io::Result<FileId> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn parts(path: &Path) -> Result<Vec<(PathBuf, FileId)>, Failure> {
    let parts = [path.to_owned(), beside(path, LOG), beside(path, INDEX)];
    let found = parts.into_iter().map(|part| Ok((id(&part)?, part)));
    let found: std::io::Result<Vec<_>> =
        found.map(|one| one.map(|(id, part)| (part, id))).collect();
    found.map_err(|e| unusable(path, e))
}

fn unusable(path: &Path, e: std::io::Error) -> Failure {
    let message = format!("cannot find the database {path:?} and what lies beside it");
    Failure::Broken(Error::unavailable(message).because(e))
}

/// See to it that all who are there are of one world with this client. Alone.
fn settle(
    db: &Connection,
    path: &Path,
    bells: &Bells,
    parts: &[(PathBuf, FileId)],
) -> Result<(), Failure> {
    let kernel = Kernel::here().map_err(Failure::Broken)?;
    let bells_id = bells.id().map_err(|e| unusable(path, e))?;
    let ids = parts.iter().map(|(_, id)| *id).chain([bells_id]);
    let ids = ["file", "log", "index", "bells"].into_iter().zip(ids);
    let ids = ids.map(|(part, (device, inode))| format!("{part} {device}:{inode}\n"));
    let here = format!(
        "boot {}\ntime {}\ndisk {}\n{}",
        kernel.boot,
        kernel.time,
        file_system(path),
        ids.collect::<String>()
    );
    let known = bells.world()?;
    refuse_beneath(path, known.as_deref().unwrap_or_default(), &here)?;
    let kernel = format!("{} {}", kernel.boot, kernel.time);
    if known.as_ref() == Some(&here) && file::is_settled(db, path, &kernel)? {
        return Ok(());
    }
    if bells.anyone_answers()? {
        return Err(occupied(path, &known.unwrap_or_default(), &here));
    }
    file::settle(db, path, &kernel)?;
    bells.set_world(&here)
}

/// Beneath an overlay and on it a file is the same, but neither locks nor sockets
/// of the one are seen through the other: nobody answers who is there.
fn refuse_beneath(path: &Path, there: &str, here: &str) -> Result<(), Failure> {
    let (there, here) = (lines(there), lines(here));
    let is_same = |part| there.get(part) == here.get(part);
    if there.is_empty() || !is_same("boot") || is_same("disk") {
        return Ok(());
    }
    Err(refused(format!(
        "{path:?} was in use on a file system of another type since the machine was started, such \
         as an overlay that it is a part of, whose locks are not seen here; use it there, or remove \
         {:?} when nobody uses it there any more",
        beside(path, super::disk::BELLS)
    )))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn file_system(path: &Path) -> String {
    rustix::fs::statfs(path).map_or_else(|_| String::new(), |found| format!("{:x}", found.f_type))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn file_system(_: &Path) -> String {
    String::new()
}

/// A log beside a database that took another's place is the other's, and SQLite
/// would take it for its own.
fn remove_log_of_another(path: &Path, access: Access) -> Result<(), Failure> {
    let Some(bells) = Bells::existing(path, access)? else { return Ok(()) };
    let _alone = bells.alone()?;
    let Some(known) = bells.world()? else { return Ok(()) };
    let known = lines(&known);
    // Devices may be numbered anew by a restart.
    let is_known = |part: &str, path: &Path| {
        let inode = known.get(part).and_then(|id| id.split_once(':')?.1.parse().ok());
        inode.is_some() && inode == id(path).ok().map(|(_, inode)| inode)
    };
    if is_known("file", path) || !is_known("log", &beside(path, LOG)) {
        return Ok(());
    }
    if bells.anyone_answers()? {
        return Err(replaced(path));
    }
    file::remove_log(path);
    Ok(())
}

fn lines(world: &str) -> HashMap<&str, &str> {
    world.lines().filter_map(|line| line.split_once(' ')).collect()
}

/// Somebody is there, of another world than this one.
fn occupied(path: &Path, there: &str, here: &str) -> Failure {
    let (there, here) = (lines(there), lines(here));
    let differs = |part| there.get(part).is_some_and(|there| here.get(part) != Some(there));
    let clock = match (differs("boot"), differs("time")) {
        (true, _) => "another boot id (/proc/sys/kernel/random/boot_id)",
        (_, true) => "another time namespace",
        (false, false) => return replaced(path),
    };
    refused(format!(
        "{path:?} is in use by processes that see {clock} than this one, as those of another \
         container may, so that nobody can tell whether the leases in it are over; let all see the \
         same, or use a file of its own here"
    ))
}

/// Those who answer look around when they are asked, and leave.
pub(super) fn replaced(path: &Path) -> Failure {
    let message = format!(
        "{path:?} is in use by processes that still run, but not with the same file, log (-wal), \
         index (-shm) and sockets (-bells): these were deleted or replaced, or are seen through \
         another file system; end those processes, then connect again"
    );
    Failure::Occupied(Error::new(Kind::Refused, message))
}

/// By which clock times are counted: boot times of another run of the machine
/// or of another time namespace mean nothing.
struct Kernel {
    boot: String,
    time: String,
}

impl Kernel {
    fn here() -> Result<Self, Error> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let read = std::process::Command::new("/usr/sbin/sysctl")
            .args(["-n", "kern.bootsessionuuid"])
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        // Missing where the kernel knows only one.
        let time = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
        let time = time.to_string_lossy().into_owned();
        match read.as_deref().map(str::trim) {
            Ok(boot) if !boot.is_empty() => Ok(Self { boot: boot.to_owned(), time }),
            read => {
                let message =
                    "cannot read the machine's boot id, which tells old leases from live ones";
                Err(match read.err() {
                    // It is there, but not to be had now: out of descriptors, for example.
                    Some(why) if why.kind() != std::io::ErrorKind::NotFound => {
                        Error::unavailable(format!("{message}: {why}"))
                    }
                    Some(why) => Error::new(Kind::Unsupported, format!("{message}: {why}")),
                    None => Error::new(Kind::Unsupported, format!("{message}: it is empty")),
                })
            }
        }
    }
}
