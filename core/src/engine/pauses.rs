//! How long a waiter pauses before it asks again.

use std::time::Duration;

use super::Engine;

/// A wake is a hint, this is the guarantee: a waiter asks again this often.
pub(super) const RECHECK: Duration = Duration::from_millis(600);

/// How long the server keeps a waiter's place, unless it is to ask less often.
const PLACE: Duration = Duration::from_secs(2);

/// In a few steps: a place is kept by a session of that length in some backends.
pub(super) fn place_for(recheck: Duration) -> Duration {
    let mut place = PLACE;
    while place < recheck * 3 {
        place *= 2;
    }
    place
}

/// How long to wait at most after so many ties in a row. The first may be over
/// at once; later each waits another while, so that one of them comes first.
pub(super) fn tie(ties: u32) -> Duration {
    match ties {
        1 => Duration::ZERO,
        _ => RECHECK.min(Duration::from_millis(1) * (1 << (ties - 2).min(10))),
    }
}

/// What has come in a row since the lock was last busy.
#[derive(Default)]
pub(super) struct Row {
    pub(super) ties: u32,
    pub(super) failures: u32,
    pub(super) was_late: bool,
}

impl Row {
    pub(super) fn next_pause(&mut self, engine: &Engine) -> Duration {
        let pause = backoff(self.failures);
        self.failures += 1;
        pause + engine.jitter(pause)
    }
}

/// How long to wait at least after so many failures in a row.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_millis(10) * (1 << failures.min(6))
}
