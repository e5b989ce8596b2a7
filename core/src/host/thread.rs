//! A thread that waits, outside of a runtime.

use std::cell::RefCell;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Here, Host, Loan};
use crate::time::{Clock, SystemClock};

/// Run a future of this crate in a thread that is not in a Tokio runtime, and wait
/// for it. What its answer comes by is read here, so that no other thread is woken.
///
/// # Cancel safety
/// Nothing ends it early. Give an `acquire` a [`wait`](crate::Lock::wait).
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let (waiter, mut future) = (Waiter::new(), pin!(future));
    loop {
        if let Some(answer) = waiter.wait(future.as_mut(), None) {
            return answer;
        }
    }
}

/// A thread that waits for one future, perhaps in several parts: to look after
/// something else in between, as a language's signals.
pub struct Waiter(Arc<Sleeper>);

impl Default for Waiter {
    fn default() -> Self {
        Self::new()
    }
}

impl Waiter {
    /// For this thread.
    pub fn new() -> Self {
        Self(Arc::new(Sleeper {
            thread: thread::current(),
            process: std::process::id(),
            state: AtomicU8::new(AWAKE),
            loans: Mutex::default(),
            bell: OnceLock::new(),
        }))
    }

    /// Poll it here until it is ready, and no longer than `most`; then the answer is `None`.
    /// A signal may end the wait earlier.
    pub fn wait<T>(
        &self,
        mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
        most: Option<Duration>,
    ) -> Option<T> {
        let end = most.map(|most| SystemClock.now() + most);
        let waker = Waker::from(self.0.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            let here = Here::enter(self.0.clone());
            let polled = future.as_mut().poll(&mut context);
            drop(here);
            if let Poll::Ready(answer) = polled {
                return Some(answer);
            }
            let left = end.map(|end| end.since(SystemClock.now()));
            if left == Some(Duration::ZERO) || self.0.sleep(left) == Slept::Interrupted {
                return None;
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Wakers may live on.
        drop(self.0.take_loans());
    }
}

thread_local! {
    /// What wakes this thread while it waits for sockets, and whose process made it: a
    /// child shares it with its parent.
    static BELL: RefCell<Option<(u32, Arc<Bell>)>> = const { RefCell::new(None) };
}

const AWAKE: u8 = 0;
const PARKED: u8 = 1;
/// It waits for sockets, and for its bell.
const POLLING: u8 = 2;
/// Woken before it slept, or out of its sleep.
const WOKEN: u8 = 3;

struct Sleeper {
    thread: Thread,
    /// A child that a signal's handler forks must not read its parent's sockets.
    process: u32,
    state: AtomicU8,
    loans: Mutex<Vec<Loan>>,
    bell: OnceLock<Arc<Bell>>,
}

#[derive(PartialEq, Eq)]
enum Slept {
    Well,
    /// By a signal.
    Interrupted,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match self.state.swap(WOKEN, Ordering::AcqRel) {
            PARKED => self.thread.unpark(),
            POLLING => self.bell.get().into_iter().for_each(|bell| bell.ring()),
            _ => {}
        }
    }
}

impl Host for Sleeper {
    fn borrow(&self, loan: Loan) {
        if self.has_bell() {
            self.loans().push(loan);
        }
    }
}

impl Sleeper {
    fn loans(&self) -> MutexGuard<'_, Vec<Loan>> {
        self.loans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To wait for and to read.
    fn take_loans(&self) -> Vec<Loan> {
        let loans = std::mem::take(&mut *self.loans());
        if loans.is_empty() || self.process == std::process::id() {
            return loans;
        }
        std::mem::forget(loans);
        Vec::new()
    }

    fn has_bell(&self) -> bool {
        if self.bell.get().is_none()
            && let Some(bell) = Bell::of_this_thread()
        {
            drop(self.bell.set(bell));
        }
        self.bell.get().is_some()
    }

    /// Until it is woken, or this long. It may be for nothing.
    fn sleep(&self, most: Option<Duration>) -> Slept {
        let mut loans = self.take_loans();
        let how = if loans.is_empty() { PARKED } else { POLLING };
        let began = self.state.compare_exchange(AWAKE, how, Ordering::AcqRel, Ordering::Acquire);
        let mut slept = Slept::Well;
        match (began, self.bell.get()) {
            (Ok(_), Some(bell)) if how == POLLING => slept = wait_for(bell, &mut loans, most),
            (Ok(_), _) => match most {
                Some(most) => thread::park_timeout(most),
                None => thread::park(),
            },
            (Err(_), _) => {}
        }
        self.state.store(AWAKE, Ordering::Release);
        self.loans().append(&mut loans);
        slept
    }
}

/// Until the bell rings or there is something to read, which is read then.
fn wait_for(bell: &Bell, loans: &mut Vec<Loan>, most: Option<Duration>) -> Slept {
    let most = most.and_then(|most| Timespec::try_from(most).ok());
    let watch = |of| PollFd::from_borrowed_fd(of, PollFlags::IN);
    let sockets = loans.iter().map(|loan| watch(loan.link.socket()));
    let mut all: Vec<PollFd<'_>> =
        std::iter::once(watch(bell.door.as_fd())).chain(sockets).collect();
    let polled = poll(&mut all, most.as_ref());
    let seen: Vec<bool> = all.iter().map(|one| !one.revents().is_empty()).collect();
    if polled == Err(rustix::io::Errno::INTR) {
        return Slept::Interrupted;
    }
    if seen[0] {
        bell.silence();
    }
    let mut at = 0;
    loans.retain(|loan| {
        at += 1;
        !seen[at] || loan.read()
    });
    Slept::Well
}

/// Wakes a thread that waits for sockets.
struct Bell {
    door: UnixStream,
    other: UnixStream,
}

impl Bell {
    /// `None` when there are no descriptors to be had: then it sleeps without.
    fn of_this_thread() -> Option<Arc<Self>> {
        let process = std::process::id();
        let known = BELL.with_borrow(|bell| {
            bell.as_ref().filter(|(made_in, _)| *made_in == process).map(|(_, bell)| bell.clone())
        });
        known.or_else(|| {
            let bell = Arc::new(Self::new().ok()?);
            BELL.set(Some((process, bell.clone())));
            Some(bell)
        })
    }

    fn new() -> std::io::Result<Self> {
        let (door, other) = UnixStream::pair()?;
        door.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        Ok(Self { door, other })
    }

    fn ring(&self) {
        // If it is full, it rings.
        drop((&self.other).write(&[1]));
    }

    fn silence(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.door).read(&mut bytes), Ok(64)) {}
    }
}
