//! A thread that waits, outside of a runtime.

use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::task::unconstrained;

use super::{Here, Host, Loan};
use crate::time::{Clock, SystemClock};

/// Run a future of this crate in a thread that is not in a Tokio runtime, and wait
/// for it. What its answer comes by is read here, so that no other thread is woken.
/// In a task of a runtime it works, too, and blocks the thread that runs the task.
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
            bell: Mutex::default(),
            cannot_poll: AtomicBool::new(false),
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
        // In a task of a Tokio runtime, what runs out of its budget there is told to go on
        // when the task has yielded, which it does not before this is ready.
        let mut future = pin!(unconstrained(future.as_mut()));
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
        if let Some(bell) = lock(&self.0.bell).take() {
            bell.put_back();
        }
    }
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
    bell: Mutex<Option<Arc<Bell>>>,
    /// The system does not let it: more descriptors are open than it allows by now.
    cannot_poll: AtomicBool,
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
            POLLING => lock(&self.bell).iter().for_each(|bell| bell.ring()),
            _ => {}
        }
    }
}

impl Host for Sleeper {
    fn borrow(&self, loan: Loan) {
        if !self.cannot_poll.load(Ordering::Relaxed) && self.bell().is_some() {
            lock(&self.loans).push(loan);
        }
    }
}

impl Sleeper {
    /// To wait for and to read.
    fn take_loans(&self) -> Vec<Loan> {
        let loans = std::mem::take(&mut *lock(&self.loans));
        if loans.is_empty() || self.process == std::process::id() {
            return loans;
        }
        std::mem::forget(loans);
        Vec::new()
    }

    /// `None` when there are no descriptors to be had: then it sleeps without.
    fn bell(&self) -> Option<Arc<Bell>> {
        let mut bell = lock(&self.bell);
        if bell.is_none() {
            *bell = Bell::take().map(Arc::new);
        }
        bell.clone()
    }

    /// Until it is woken, or this long. It may be for nothing.
    fn sleep(&self, most: Option<Duration>) -> Slept {
        let mut loans = self.take_loans();
        let how = if loans.is_empty() { PARKED } else { POLLING };
        let began = self.state.compare_exchange(AWAKE, how, Ordering::AcqRel, Ordering::Acquire);
        let bell = lock(&self.bell).clone().filter(|_| how == POLLING);
        let polled = match (began, bell) {
            (Ok(_), Some(bell)) => wait_for(&bell, &loans, most),
            (Ok(_), None) => {
                match most {
                    Some(most) => thread::park_timeout(most),
                    None => thread::park(),
                }
                Ok(Vec::new())
            }
            (Err(_), _) => Ok(Vec::new()),
        };
        // Before it reads: whoever is woken by that is this thread, and need not be rung for.
        self.state.store(AWAKE, Ordering::Release);
        let slept = match polled {
            Ok(seen) => {
                let mut seen = seen.into_iter();
                loans.retain(|loan| !seen.next().unwrap_or(false) || loan.read());
                Slept::Well
            }
            Err(rustix::io::Errno::INTR) => Slept::Interrupted,
            Err(_) => {
                self.cannot_poll.store(true, Ordering::Relaxed);
                loans.clear();
                Slept::Well
            }
        };
        lock(&self.loans).append(&mut loans);
        // Whatever woke it meanwhile: the future is polled after this.
        self.state.store(AWAKE, Ordering::Release);
        slept
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until the bell rings or there is something to read; of which loans there is.
fn wait_for(
    bell: &Bell,
    loans: &[Loan],
    most: Option<Duration>,
) -> Result<Vec<bool>, rustix::io::Errno> {
    let most = most.and_then(|most| Timespec::try_from(most).ok());
    let watch = |of| PollFd::from_borrowed_fd(of, PollFlags::IN);
    let sockets = loans.iter().map(|loan| watch(loan.link.socket()));
    let mut all: Vec<PollFd<'_>> =
        sockets.chain(std::iter::once(watch(bell.door.as_fd()))).collect();
    poll(&mut all, most.as_ref())?;
    let mut seen: Vec<bool> = all.iter().map(|one| !one.revents().is_empty()).collect();
    if seen.pop() == Some(true) {
        bell.silence();
    }
    Ok(seen)
}

/// Wakes a thread that waits for sockets.
struct Bell {
    door: UnixStream,
    other: UnixStream,
    process: u32,
}

/// Those that nobody uses now. Threads that wait no more keep none.
static BELLS: Mutex<Vec<Bell>> = Mutex::new(Vec::new());
/// So many are kept.
const SPARE: usize = 16;

impl Bell {
    fn take() -> Option<Self> {
        // Not waited for: a child that was forked from a process whose other thread was
        // here finds it locked for ever.
        let spare = BELLS.try_lock().ok().and_then(|mut bells| bells.pop());
        // A child shares those of its parent.
        spare.filter(|bell| bell.process == std::process::id()).or_else(|| Self::new().ok())
    }

    /// For the next. It may ring, or be rung by who still has a waker of the last: for
    /// nothing.
    fn put_back(self: Arc<Self>) {
        if let Ok(mut bells) = BELLS.try_lock()
            && bells.len() < SPARE
            && let Some(bell) = Arc::into_inner(self)
        {
            bells.push(bell);
        }
    }

    fn new() -> std::io::Result<Self> {
        let (door, other) = UnixStream::pair()?;
        door.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        Ok(Self { door, other, process: std::process::id() })
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::BorrowedFd;

    use super::*;
    use crate::host::{self, Lent};

    /// Whoever waits for its answer is woken by reading it.
    struct Link {
        socket: UnixStream,
        asker: Mutex<Option<Waker>>,
    }

    impl Lent for Link {
        fn socket(&self) -> BorrowedFd<'_> {
            self.socket.as_fd()
        }

        fn read_as(&self, _: u64) -> bool {
            drop((&self.socket).read(&mut [0]));
            lock(&self.asker).take().into_iter().for_each(Waker::wake);
            true
        }

        fn leave(&self, _: u64) {}
    }

    #[test]
    fn a_thread_that_reads_its_answer_does_not_ring_its_own_bell() {
        let (socket, server) = UnixStream::pair().unwrap();
        let link = Arc::new(Link { socket, asker: Mutex::default() });
        let mut is_asked = false;
        let mut asking = pin!(poll_fn(|context| {
            if is_asked && lock(&link.asker).is_none() {
                return Poll::Ready(());
            }
            is_asked = true;
            *lock(&link.asker) = Some(context.waker().clone());
            host::borrow(host::Loan { link: link.clone(), number: 1 });
            (&server).write_all(&[1]).unwrap();
            Poll::Pending
        }));
        let waiter = Waiter::new();
        waiter.wait(asking.as_mut(), None).unwrap();
        let bell = lock(&waiter.0.bell).clone().unwrap();
        let heard = (&bell.door).read(&mut [0]).unwrap_err();
        assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock);
    }
}
