//! To whom a link is lent. See [`tend`](super::tend).

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;

use super::link::Link;
use super::socket::Twin;
use super::tend::Guest;
use crate::host::{self, Lent};

/// So often nothing is lent to a thread that asks, after one was done while others
/// waited: they would go on handing it to each other.
const CROWD: u32 = 64;

#[derive(Default)]
pub(super) struct Tending {
    state: Mutex<State>,
    /// Rung when it is lent, or given back.
    pub(super) changed: Notify,
    /// Rung when there is something to write for the client's thread.
    pub(super) flush: Notify,
}

#[derive(Default)]
pub(super) struct State {
    /// The client's own runtime.
    pub(super) home: Option<Id>,
    pub(super) loan: Option<Loan>,
    /// How often it was lent.
    loans: u64,
    /// So often it is not lent to a thread.
    crowd: u32,
    /// A runtime that cannot wait for sockets, or has not done so yet when it was lent
    /// the link: it may be driven by nobody.
    pub(super) unfit: Option<Id>,
    /// By which the client's thread waits for the socket, while it does not.
    pub(super) twin: Option<Twin>,
}

pub(super) struct Loan {
    number: u64,
    to: To,
    /// Somebody there has asked since the last look.
    pub(super) is_used: bool,
    /// Something was read there since the last look.
    pub(super) has_read: bool,
}

pub(super) enum To {
    Runtime {
        id: Id,
        /// It waits for the socket.
        is_begun: bool,
        /// Rung when there is something to write, and when it is taken back. Of this loan
        /// alone: a runtime that stands still must not take what is rung for others.
        bell: Arc<Notify>,
    },
    /// A thread that waits now, or a loop.
    Host,
    /// Whoever had it does not wait now. The next who does has it.
    Nobody,
}

impl Loan {
    fn is_nobodys(&self) -> bool {
        matches!(self.to, To::Nobody)
    }
}

impl State {
    /// Lend it to somebody who asks, unless it is lent already. Answers its number, and
    /// whether the client's thread had it.
    fn lend(
        &mut self,
        is_here: impl Fn(&To) -> bool,
        to: impl FnOnce() -> To,
    ) -> Option<(u64, bool)> {
        match &mut self.loan {
            Some(Loan { to: To::Nobody, .. }) | None => {}
            Some(loan) => {
                loan.is_used |= is_here(&loan.to);
                return None;
            }
        }
        // Before it is driven, nobody would take it back.
        self.home?;
        self.loans += 1;
        let loan = Loan { number: self.loans, to: to(), is_used: true, has_read: true };
        Some((self.loans, self.loan.replace(loan).is_none()))
    }
}

impl Tending {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_lent(&self) -> bool {
        self.state().loan.is_some()
    }

    pub(super) fn is_lent_as(&self, number: u64) -> bool {
        self.state().loan.as_ref().is_some_and(|loan| loan.number == number)
    }

    /// It was read there. No if it is not lent there any more.
    pub(super) fn has_read(&self, number: u64) -> bool {
        let mut state = self.state();
        let loan = state.loan.as_mut().filter(|loan| loan.number == number);
        loan.map(|loan| loan.has_read = true).is_some()
    }

    /// Tell whoever tends it that there is something to write. No if that only reads.
    pub(super) fn ring_to_write(&self) -> bool {
        match &self.state().loan {
            None => self.flush.notify_one(),
            Some(Loan { to: To::Runtime { bell, .. }, .. }) => bell.notify_one(),
            Some(Loan { to: To::Host | To::Nobody, .. }) => return false,
        }
        true
    }

    /// The client's thread has it again, if this loan lasts.
    pub(super) fn end(&self, number: u64) {
        self.end_if(|loan| loan.number == number);
    }

    pub(super) fn end_any(&self) {
        self.end_if(|_| true);
    }

    fn end_if(&self, is_it: impl FnOnce(&Loan) -> bool) {
        let mut state = self.state();
        let Some(loan) = state.loan.take_if(|loan| is_it(&*loan)) else { return };
        if let To::Runtime { id, is_begun, bell } = loan.to {
            if !is_begun {
                state.unfit = Some(id);
            }
            bell.notify_one();
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The runtime that it is, or was, lent to is driven.
    pub(super) fn begin(&self, number: u64, at: Id) {
        let mut state = self.state();
        state.unfit.take_if(|unfit| *unfit == at);
        if let Some(Loan { to: To::Runtime { is_begun, .. }, .. }) =
            state.loan.as_mut().filter(|loan| loan.number == number)
        {
            *is_begun = true;
        }
    }
}

impl Link {
    /// Called by whoever waits for an answer, where it waits.
    pub(super) fn lend(self: &Arc<Self>) {
        match Handle::try_current() {
            _ if host::is_here() => self.lend_to_host(),
            Ok(here) => self.lend_to(&here),
            Err(_) => self.tending.end_if(Loan::is_nobodys),
        }
    }

    fn lend_to_host(self: &Arc<Self>) {
        let mut state = self.tending.state();
        if state.crowd > 0 {
            state.crowd -= 1;
            drop(state);
            return self.tending.end_if(Loan::is_nobodys);
        }
        let lent = state.lend(|to| matches!(to, To::Host), || To::Host);
        drop(state);
        let Some((number, was_home)) = lent else { return };
        if was_home {
            self.tending.changed.notify_one();
            // What the client's thread was about to write.
            self.write_soon();
        }
        host::borrow(host::Loan { link: self.clone(), number });
    }

    fn lend_to(self: &Arc<Self>, here: &Handle) {
        let at = here.id();
        let mut state = self.tending.state();
        if [state.home, state.unfit].contains(&Some(at)) {
            drop(state);
            return self.tending.end_if(Loan::is_nobodys);
        }
        let mut bell = None;
        let lent = state.lend(
            |to| matches!(to, To::Runtime { id, .. } if *id == at),
            || To::Runtime {
                id: at,
                is_begun: false,
                bell: bell.insert(Arc::new(Notify::new())).clone(),
            },
        );
        drop(state);
        let (Some((number, was_home)), Some(bell)) = (lent, bell) else { return };
        let guest = Guest { link: self.clone(), number, at };
        here.spawn(async move { guest.tend(&bell).await });
        if was_home {
            self.tending.changed.notify_one();
            self.write_soon();
        }
    }
}

impl Lent for Link {
    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.descriptor()
    }

    fn read_as(&self, number: u64) -> bool {
        if let Err(why) = self.read() {
            self.shut(&why);
            self.tending.end(number);
        }
        self.tending.has_read(number)
    }

    fn leave(&self, number: u64) {
        if self.is_foreign() {
            return;
        }
        // Not under the lock: it may be the last to have the engine.
        let are_news_awaited = self.are_news_awaited();
        let mut state = self.tending.state();
        let Some(loan) = state.loan.as_mut().filter(|loan| loan.number == number) else { return };
        // Whoever asks later sees that nobody has it, and whoever has asked is seen here.
        if are_news_awaited || self.is_answer_awaited() {
            state.crowd = CROWD;
            drop(state);
            self.tending.end(number);
        } else {
            loan.to = To::Nobody;
        }
    }
}

#[cfg(test)]
mod tests;
