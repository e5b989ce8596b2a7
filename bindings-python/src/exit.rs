//! The end of the interpreter. CPython up to 3.13 ends a thread that comes back
//! to Python then, in a way that no Rust code on its stack survives. So from the
//! moment on when it begins, all threads but the one that ends it stay where they
//! are as soon as they are in here.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::{self, ThreadId};
use std::time::Duration;

use leasehold::host::block_on;
use pyo3::prelude::*;

use crate::client;

/// Threads that call Python from native code, or are about to.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static IS_OVER: AtomicBool = AtomicBool::new(false);
/// What is left of the program runs in this one: other exit handlers, finalizers.
static LAST: OnceLock<ThreadId> = OnceLock::new();

thread_local! {
    /// How many visits of this thread are in each other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// For two seconds the end waits until nobody is inside: a busy machine may not let a
/// thread finish sooner.
const LOOKS: u32 = 400;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Native code that may call Python: whatever runs there may let other threads run, also
/// the one that ends the interpreter. While there is one, that waits; once it has begun,
/// there are no new ones. Every function that is called from Python, and calls it, begins
/// with one.
pub(crate) struct Visit(());

impl Visit {
    pub(crate) fn begin(py: Python<'_>) -> Self {
        if DEPTH.get() == 0 && !enter() {
            py.detach(stay);
        }
        DEPTH.set(DEPTH.get() + 1);
        Self(())
    }

    /// Do something without Python. If the interpreter ends meanwhile, this never
    /// returns.
    pub(crate) fn detach<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
        let depth = DEPTH.replace(0);
        leave();
        let result = py.detach(|| {
            let result = work();
            if !enter() {
                stay();
            }
            result
        });
        DEPTH.set(depth);
        result
    }

    /// Call Python for something that takes long. Other greenlets of this thread may run
    /// meanwhile.
    pub(crate) fn suspend<T>(&self, py: Python<'_>, work: impl FnOnce() -> T) -> T {
        let depth = DEPTH.replace(0);
        leave();
        let result = work();
        if !enter() {
            py.detach(stay);
        }
        DEPTH.set(depth);
        result
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            leave();
        }
    }
}

/// Answers whether it is allowed; counted first, so that `finish` sees either
/// nobody or one that it waits for.
fn enter() -> bool {
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let is_allowed = !IS_OVER.load(Ordering::SeqCst) || LAST.get() == Some(&thread::current().id());
    if !is_allowed {
        leave();
    }
    is_allowed
}

fn leave() {
    INSIDE.fetch_sub(1, Ordering::SeqCst);
}

/// Until the process is gone.
fn stay() {
    loop {
        thread::park();
    }
}

/// Keep the other threads from coming back to Python, and close all clients.
/// Called when the interpreter ends. Those who wait do not hear of it: a daemon
/// thread that did would take the end of the program for a failure.
#[pyfunction]
pub(crate) fn finish(py: Python<'_>) {
    let _ = LAST.set(thread::current().id());
    IS_OVER.store(true, Ordering::SeqCst);
    py.detach(|| {
        let clients = client::open();
        let mut all: Vec<Pin<Box<_>>> =
            clients.iter().map(|client| Box::pin(client.close_at_exit())).collect();
        let closed = pin!(poll_fn(|context| {
            all.retain_mut(|one| one.as_mut().poll(context).is_pending());
            if all.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        }));
        block_on(closed);
        // Short, unless a function of the user's that is called from here waits.
        for _ in 0..LOOKS {
            if INSIDE.load(Ordering::SeqCst) == 0 {
                break;
            }
            thread::park_timeout(BETWEEN_LOOKS);
        }
    });
}
