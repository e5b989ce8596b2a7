//! Who may be in a file's world: whoever may write the file, and nobody else. Who
//! can replace a socket can declare a holder dead, and who owns the log has all locks.

use std::fs::Metadata;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Uid};

use super::disk::{INDEX, LOG, beside};
use super::file::{Failure, refused};
use crate::error::Error;

const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;

/// The database's own owner, group and mode.
#[derive(Clone, Copy)]
pub(super) struct Access {
    user: u32,
    group: u32,
    mode: u32,
}

impl Access {
    pub(super) fn of(database: &Path) -> Result<Self, Failure> {
        let found = std::fs::metadata(database).map_err(|e| {
            let message = format!("cannot find the database {database:?}");
            Failure::Broken(Error::unavailable(message).because(e))
        })?;
        Ok(Self { user: found.uid(), group: found.gid(), mode: found.mode() })
    }

    /// The mode of a directory that those can use who may write the file.
    pub(super) fn of_directory(self) -> u32 {
        self.each(0o7)
    }

    /// The same of a socket: to connect is to write.
    pub(super) fn of_socket(self) -> u32 {
        self.each(0o6)
    }

    fn each(self, bits: u32) -> u32 {
        let group = if self.mode & GROUP_WRITES != 0 { bits << 3 } else { 0 };
        let all = if self.mode & ALL_WRITE != 0 { bits } else { 0 };
        bits << 6 | group | all
    }

    /// Refuse what somebody has put there who may not write the file.
    pub(super) fn refuse_foreign(self, part: &Path, found: &Metadata) -> Result<(), Failure> {
        let known = [self.user, rustix::process::geteuid().as_raw(), 0].contains(&found.uid());
        let by_group = self.mode & GROUP_WRITES != 0 && found.gid() == self.group;
        if known || by_group || self.mode & ALL_WRITE != 0 {
            return Ok(());
        }
        Err(refused(format!(
            "{part:?} belongs to user {}, who may not write the database; whoever can write there \
             could take every lock. Remove it if nobody needs it",
            found.uid()
        )))
    }

    /// Refuse a log or an index that is not the database's.
    pub(super) fn refuse_foreign_parts(self, database: &Path) -> Result<(), Failure> {
        for part in [LOG, INDEX].map(|ending| beside(database, ending)) {
            let Ok(found) = std::fs::symlink_metadata(&part) else { continue };
            if found.file_type().is_symlink() {
                return Err(refused(format!(
                    "{part:?} is a symbolic link, and SQLite would follow it to what may not be \
                     this database's; remove it"
                )));
            }
            self.refuse_foreign(&part, &found)?;
        }
        Ok(())
    }

    /// Let the log and the index belong to the database's group, as far as this
    /// process may say so. SQLite gives them the database's mode.
    pub(super) fn share_parts(self, database: &Path) {
        for part in [LOG, INDEX].map(|ending| beside(database, ending)) {
            if let Ok(found) = std::fs::symlink_metadata(&part) {
                self.share(CWD, &part, &found);
            }
        }
    }

    /// Let what was just made belong to the database's group, and what root
    /// made to its owner.
    pub(super) fn share(self, dir: impl AsFd, name: &Path, found: &Metadata) {
        let is_root = rustix::process::geteuid().is_root();
        let user = (is_root && found.uid() != self.user).then(|| Uid::from_raw(self.user));
        let group = (found.gid() != self.group).then(|| Gid::from_raw(self.group));
        if user.is_some() || group.is_some() {
            // Who may not do it has a file that the others refuse, with a message.
            let _ = rustix::fs::chownat(dir, name, user, group, AtFlags::SYMLINK_NOFOLLOW);
        }
    }
}
