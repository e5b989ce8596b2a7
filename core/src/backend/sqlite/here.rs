//! Inside a process SQLite keeps one index for all connections to a file, and goes
//! on with it when the file of the index was deleted and made anew by others. So a
//! process that still has such a connection must not open another one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};

use super::disk::{INDEX, LOG, beside};
use super::file::Failure;
use super::world::replaced;

/// Device and inode.
type FileId = (u64, u64);

/// The database, its log and its index.
type Parts = [Option<FileId>; 3];

static OPEN: Mutex<Vec<(u64, Parts)>> = Mutex::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A connection of this process, until after it is closed.
pub(super) struct Here {
    number: u64,
    process: u32,
}

impl Here {
    /// Before a connection is opened: those that are open must be to the same files.
    pub(super) fn begin(path: &Path) -> Result<Self, Failure> {
        let mut open = match OPEN.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(open)) => open.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Failure::Busy),
        };
        let parts = parts(path);
        let same_file = |(_, other): &&(u64, Parts)| other[0].is_some() && other[0] == parts[0];
        if open.iter().filter(same_file).any(|(_, other)| *other != parts) {
            return Err(replaced(path));
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        open.push((number, parts));
        Ok(Self { number, process: std::process::id() })
    }

    /// Now that it is open, the log and the index are there.
    pub(super) fn is_open_now(&self, path: &Path) {
        let mut open = OPEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let parts = parts(path);
        open.iter_mut().filter(|(number, _)| *number == self.number).for_each(|own| own.1 = parts);
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // After a fork another thread may have had the list locked, for ever now.
            return;
        }
        let mut open = OPEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        open.retain(|(number, _)| *number != self.number);
    }
}

fn parts(path: &Path) -> Parts {
    let parts = [path.to_owned(), beside(path, LOG), beside(path, INDEX)];
    parts.map(|part| {
        let found = std::fs::symlink_metadata(part).ok()?;
        Some((found.dev(), found.ino()))
    })
}
