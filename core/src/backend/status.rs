//! Who holds a lock and who waits for it, for people to read.

use std::sync::Arc;
use std::time::Duration;

use super::Mode;
use crate::name::LockName;

/// A lock as [`Backend::inspect`](super::Backend::inspect) sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The lock.
    pub name: LockName,
    /// The fence of the last grant.
    pub fence: u64,
    /// Who holds it: one, or all who share it.
    pub holders: Vec<Holder>,
    /// The labels of those who wait, first come first: as the backend has them the first
    /// of each client, for only that one asks; [`Client`](crate::Client) adds all others
    /// of its own.
    pub waiters: Vec<Arc<str>>,
}

impl Status {
    /// Who holds it; of several who share it the first.
    pub fn holder(&self) -> Option<&Holder> {
        self.holders.first()
    }
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Host, process id and the user's free text.
    pub label: Arc<str>,
    /// How it shares the lock.
    pub mode: Mode,
    /// Which of the permits it has, from 0; 0 where nothing is counted.
    pub slot: u32,
    /// Its fencing token: each permit has its own, those who share have the same. 0 for a
    /// client of another library, which has none.
    pub fence: u64,
    /// For how long; where it is resting, since it was given back.
    pub held_for: Duration,
    /// When the lease ends unless it is renewed, or when the rest ends.
    pub free_in: Duration,
    /// Whether it was given back and the lock [rests](crate::Lock::min_hold): it is
    /// nobody's. The label is that of who held it.
    pub resting: bool,
}

impl Holder {
    /// The user's free text in its label, exactly.
    pub fn text(&self) -> &str {
        match process(&self.label) {
            Some(process) => self.label[process.len()..].strip_prefix(' ').unwrap_or_default(),
            None => "",
        }
    }

    /// Which of the permits it has, if there are any.
    pub fn permit(&self) -> Option<u32> {
        matches!(self.mode, Mode::Counted { .. }).then_some(self.slot)
    }
}

/// `host:pid` at the start of a label; other libraries have none.
pub(crate) fn process(label: &str) -> Option<&str> {
    let process = label.split(' ').next()?;
    let (_, id) = process.rsplit_once(':')?;
    let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(process)
}
