//! Waiting for a loop of another language, which watches one descriptor.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token, Waker};

use super::{Here, Host, Loan};

const BELL: Token = Token(usize::MAX);
/// So many sockets are read in one turn; the others in the next.
const AT_ONCE: usize = 64;

/// What a loop watches that polls futures of this crate: its [descriptor](AsRawFd) is
/// readable when there is something to do for a [turn](Poller::turn).
pub struct Poller {
    poll: Mutex<mio::Poll>,
    bell: Waker,
    wards: Arc<Wards>,
}

/// What is waited for.
struct Wards {
    registry: Registry,
    /// By descriptor.
    loans: Mutex<HashMap<RawFd, Loan>>,
}

impl Poller {
    /// Fails when there are no descriptors to be had.
    pub fn new() -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let bell = Waker::new(poll.registry(), BELL)?;
        let wards = Wards { registry: poll.registry().try_clone()?, loans: Mutex::default() };
        Ok(Self { poll: Mutex::new(poll), bell, wards: Arc::new(wards) })
    }

    /// Poll a future, whose answer is then read in a [turn](Poller::turn).
    pub fn poll<T>(
        &self,
        future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
        context: &mut Context<'_>,
    ) -> Poll<T> {
        let _here = Here::enter(self.wards.clone());
        future.poll(context)
    }

    /// Make the descriptor readable, so that there is a turn. From any thread.
    pub fn ring(&self) {
        // It fails only when it rings already.
        drop(self.bell.wake());
    }

    /// Read what has come. It does not wait.
    pub fn turn(&self) {
        let mut events = Events::with_capacity(AT_ONCE);
        let polled = {
            let mut poll = self.poll.lock().unwrap_or_else(PoisonError::into_inner);
            poll.poll(&mut events, Some(Duration::ZERO))
        };
        if polled.is_err() {
            // By a signal: it is still readable.
            return;
        }
        for event in events.iter().filter(|event| event.token() != BELL) {
            self.wards.read(event.token().0 as RawFd);
        }
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.lock().unwrap_or_else(PoisonError::into_inner).as_raw_fd()
    }
}

impl Wards {
    fn loans(&self) -> MutexGuard<'_, HashMap<RawFd, Loan>> {
        self.loans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, of: RawFd) {
        // Reading wakes others, who may ask for loans.
        let Some(loan) = self.loans().remove(&of) else { return };
        if loan.read() {
            self.loans().insert(of, loan);
        } else {
            // It has its descriptor for as long as it is there.
            drop(self.registry.deregister(&mut SourceFd(&of)));
        }
    }
}

impl Host for Wards {
    fn borrow(&self, loan: Loan) {
        let of = loan.link.socket().as_raw_fd();
        let (mut source, token) = (SourceFd(&of), Token(of as usize));
        let mut loans = self.loans();
        // One that was taken back is still waited for, as long as nothing has come.
        let watched = match loans.contains_key(&of) {
            true => self.registry.reregister(&mut source, token, Interest::READABLE),
            false => self.registry.register(&mut source, token, Interest::READABLE),
        };
        if watched.is_ok() {
            let before = loans.insert(of, loan);
            drop(loans);
            drop(before);
        }
    }
}
