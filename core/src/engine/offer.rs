//! Whether somebody has the lease who was given it while waiting.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::time::Instant;

/// That of a lease which nobody asked for just now.
#[derive(Debug)]
pub(super) struct Offer(Mutex<State>);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nobody has come for it yet; it is renewed from then on when somebody does.
    Open {
        renew_at: Option<Instant>,
    },
    Taken,
    /// Nobody came for it in time.
    Withdrawn,
}

impl Offer {
    pub(super) fn open() -> Self {
        Self(Mutex::new(State::Open { renew_at: None }))
    }

    /// Whoever takes it has it renewed from then on.
    pub(super) fn renew_at(&self, renew_at: Option<Instant>) {
        *self.state() = State::Open { renew_at };
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(*self.state(), State::Open { .. })
    }

    pub(super) fn is_taken(&self) -> bool {
        matches!(*self.state(), State::Taken)
    }

    /// Take it, if it is still open; answers from when on it is renewed.
    pub(super) fn take(&self) -> Option<Option<Instant>> {
        let mut state = self.state();
        let State::Open { renew_at } = *state else { return None };
        *state = State::Taken;
        Some(renew_at)
    }

    /// It is not offered any longer; no if it was taken.
    pub(super) fn withdraw(&self) -> bool {
        let mut state = self.state();
        let is_open = matches!(*state, State::Open { .. });
        if is_open {
            *state = State::Withdrawn;
        }
        is_open
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
