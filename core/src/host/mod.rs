//! Who waits for an answer reads it. A Tokio runtime can wait for sockets; this is for
//! those who are not in one: a thread that waits ([`block_on`]), and whatever loop can
//! watch a descriptor ([`Poller`]).

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

mod poller;
mod thread;

pub use poller::Poller;
pub use thread::{Waiter, block_on};

/// A connection that is read outside of its client's thread.
pub(crate) trait Lent: Send + Sync {
    /// What is waited for.
    fn socket(&self) -> BorrowedFd<'_>;

    /// Read what has come. No if it is not lent by this number any more.
    fn read_as(&self, number: u64) -> bool;

    /// Whoever it was lent to by this number does not wait any more.
    fn leave(&self, number: u64);
}

/// A connection on loan.
pub(crate) struct Loan {
    pub(crate) link: Arc<dyn Lent>,
    pub(crate) number: u64,
}

impl Loan {
    /// Read what has come. No if it was taken back.
    fn read(&self) -> bool {
        self.link.read_as(self.number)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.link.leave(self.number);
    }
}

/// Waits for connections.
trait Host: Send + Sync {
    /// Wait for it, too, until it is taken back. Dropped, it is given back.
    fn borrow(&self, loan: Loan);
}

thread_local! {
    /// Who polls in this thread.
    static HERE: RefCell<Option<Arc<dyn Host>>> = const { RefCell::new(None) };
}

/// Whether somebody polls here who can take a loan.
pub(crate) fn is_here() -> bool {
    HERE.with_borrow(Option::is_some)
}

/// Have it waited for here.
pub(crate) fn borrow(loan: Loan) {
    if let Some(host) = HERE.with_borrow(Clone::clone) {
        host.borrow(loan);
    }
}

/// While somebody polls. It can be in that of another.
struct Here(Option<Arc<dyn Host>>);

impl Here {
    fn enter(host: Arc<dyn Host>) -> Self {
        Self(HERE.replace(Some(host)))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(self.0.take());
    }
}
