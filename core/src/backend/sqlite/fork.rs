//! SQLite counts inside the process which locks it has in the kernel. A fork copies
//! the counts and not the locks, so that a connection which the child opens trusts
//! in locks that nobody has: two hold one lock. See section 2.6 of *How to corrupt
//! an SQLite database file*, <https://www.sqlite.org/howtocorrupt.html>.

use std::sync::atomic::{AtomicU64, Ordering};

use super::file::{Failure, refused};

/// The process that has connections, and how many. It must be known across all
/// clients, and no mutex would survive a fork.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// A connection of this process.
#[derive(Debug)]
pub(super) struct Opened(());

impl Opened {
    /// Refused where connections were inherited.
    pub(super) fn begin() -> Result<Self, Failure> {
        let here = std::process::id();
        let one_more = |(process, count)| match process == here {
            true => Some((here, count + 1)),
            false if count == 0 => Some((here, 1)),
            false => None,
        };
        match change(one_more) {
            true => Ok(Self(())),
            false => Err(refused(
                "SQLite was in use in the process that this one was forked from, and what is \
                 locked here would not be locked for others. Use it after the fork only, or drop \
                 all clients before, or start the process anew instead (in Python, the start \
                 method \"spawn\" or \"forkserver\")"
                    .to_owned(),
            )),
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let here = std::process::id();
        change(|(process, count)| (process == here).then(|| (here, count - 1)));
    }
}

fn change(to: impl Fn((u32, u32)) -> Option<(u32, u32)>) -> bool {
    let step = |packed: u64| {
        let (process, count) = to(((packed >> 32) as u32, packed as u32))?;
        Some(u64::from(process) << 32 | u64::from(count))
    };
    OPEN.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).is_ok()
}
