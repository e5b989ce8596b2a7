//! What this client expects of a lock, by what it saw last. It decides which statement goes
//! first, and nothing else: what comes of it is the same.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::name::LockName;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Nothing,
    /// It has a row, and this client was the last to hold it.
    Free,
    /// It has a row, and somebody holds it or stands before this client.
    Busy,
}

/// So many names are told apart, more or less: two may have the same seat.
const SEATS: usize = 1024;

pub(super) struct Expectations([AtomicU8; SEATS]);

impl Default for Expectations {
    fn default() -> Self {
        Self([const { AtomicU8::new(Expected::Nothing as u8) }; SEATS])
    }
}

impl Expectations {
    pub(super) fn of(&self, name: &LockName) -> Expected {
        match self.seat(name).load(Ordering::Relaxed) {
            seat if seat == Expected::Free as u8 => Expected::Free,
            seat if seat == Expected::Busy as u8 => Expected::Busy,
            _ => Expected::Nothing,
        }
    }

    pub(super) fn note(&self, name: &LockName, expected: Expected) {
        self.seat(name).store(expected as u8, Ordering::Relaxed);
    }

    fn seat(&self, name: &LockName) -> &AtomicU8 {
        let mut hasher = DefaultHasher::new();
        name.as_str().hash(&mut hasher);
        &self.0[hasher.finish() as usize % SEATS]
    }
}
