//! Real time, in which servers and sockets live. Everything waits with a limit.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine before it counts as stuck.
pub const LIMIT: Duration = Duration::from_secs(60);

const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// The time by which the rig counts.
#[allow(clippy::disallowed_methods)] // no lease is counted by it
pub fn now() -> Instant {
    Instant::now()
}

/// Look again and again until there is something to see, or the limit is over.
pub fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + limit;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if now() >= end {
            return None;
        }
        pause(BETWEEN_LOOKS);
    }
}

/// Let time pass, between two looks at another process or where that is the point.
#[allow(clippy::disallowed_methods)] // nobody's lease is counted by it
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Something that happens at most once, for all who have a copy.
#[derive(Clone, Debug)]
pub(crate) struct Once<T>(Arc<(Mutex<Option<T>>, Condvar)>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(Arc::new((Mutex::new(None), Condvar::new())))
    }
}

impl<T: Copy> Once<T> {
    /// It happened; only the first time counts.
    pub(crate) fn set(&self, value: T) {
        let (state, changed) = &*self.0;
        state.lock().expect("no holder panics").get_or_insert(value);
        changed.notify_all();
    }

    /// What happened so far.
    pub(crate) fn get(&self) -> Option<T> {
        *self.0.0.lock().expect("no holder panics")
    }

    /// Wait for as long as it takes.
    pub(crate) fn wait(&self) -> T {
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("no holder panics");
        loop {
            match *state {
                Some(value) => return value,
                None => state = changed.wait(state).expect("no holder panics"),
            }
        }
    }

    /// Wait with the limit.
    pub(crate) fn wait_limited(&self) -> Option<T> {
        let (state, changed) = &*self.0;
        let state = state.lock().expect("no holder panics");
        let waited = changed.wait_timeout_while(state, LIMIT, |state| state.is_none());
        *waited.expect("no holder panics").0
    }
}
