//! Calls that a coroutine waits for. They are polled by the coroutine's own task;
//! other threads only note which can go on, and write a byte to a socket that the
//! event loop watches. No thread of ours ever touches Python: an interpreter that
//! ends does not survive that.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use pyo3::exceptions::PyStopIteration;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::call::{Work, convert};
use crate::exit;

/// What wakes the coroutines of one event loop, which keeps it: when it is closed
/// and forgotten, so are they.
#[pyclass(frozen, weakref, module = "leasehold._leasehold")]
pub(crate) struct Reactor {
    process: u32,
    bell: Arc<Bell>,
    door: UnixStream,
    /// By the number of the call.
    waiters: Mutex<HashMap<u64, Waiter>>,
}

enum Waiter {
    /// A task waits for this future.
    Task(Py<PyAny>),
    /// This is called with the answer.
    Callback(Work, Waker, Py<PyAny>),
}

struct Bell {
    rung: Mutex<Rung>,
    door: UnixStream,
}

#[derive(Default)]
struct Rung {
    last: u64,
    calls: Vec<u64>,
}

impl Bell {
    fn rung(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ring {
    bell: Arc<Bell>,
    call: u64,
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        let mut rung = self.bell.rung();
        rung.calls.push(self.call);
        if rung.calls.len() == 1 {
            // The loop may be closed already, or not have read what is there.
            let _ = (&self.bell.door).write(&[1]);
        }
    }
}

impl Reactor {
    fn new() -> io::Result<Self> {
        let (door, other) = UnixStream::pair()?;
        door.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        let bell = Arc::new(Bell { rung: Mutex::default(), door: other });
        Ok(Self { process: std::process::id(), bell, door, waiters: Mutex::default() })
    }

    /// That of an event loop, made when it is first needed.
    fn of<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        static ALL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = event_loop.py();
        let all = ALL.get_or_try_init(py, || {
            let class = py.import("weakref")?.getattr("WeakKeyDictionary")?;
            PyResult::Ok(class.call0()?.unbind())
        })?;
        let all = all.bind(py);
        if let Ok(known) = all.get_item(event_loop)
            && let Ok(known) = known.call0()
            && let Ok(known) = known.cast_into::<Self>()
            && known.get().process == std::process::id()
        {
            return Ok(known);
        }
        let new = Bound::new(py, Self::new()?)?;
        let ready = new.getattr(intern!(py, "ready"))?;
        event_loop.call_method1("add_reader", (new.get().door.as_raw_fd(), ready))?;
        let weak = py.import("weakref")?.getattr("ref")?.call1((&new,))?;
        all.set_item(event_loop, weak)?;
        Ok(new)
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<u64, Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a call, and what wakes who waits for it.
    fn new_call(&self) -> (u64, Waker) {
        let call = {
            let mut rung = self.bell.rung();
            rung.last += 1;
            rung.last
        };
        (call, Waker::from(Arc::new(Ring { bell: self.bell.clone(), call })))
    }

    /// Go on with a call whose answer goes to a callback.
    fn advance(&self, py: Python<'_>, call: u64, waiter: Waiter) -> PyResult<()> {
        match waiter {
            Waiter::Task(future) => {
                if !future.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
                    future.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
                }
            }
            Waiter::Callback(mut work, waker, callback) => {
                match work.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(answer) => drop(callback.call1(py, (convert(py, answer)?,))?),
                    Poll::Pending => {
                        let waiter = Waiter::Callback(work, waker, callback);
                        self.waiters().insert(call, waiter);
                    }
                }
            }
        }
        Ok(())
    }
}

#[pymethods]
impl Reactor {
    /// Wake whoever can go on; called by the event loop.
    fn ready(&self, py: Python<'_>) {
        let _visit = exit::Visit::begin(py);
        let mut bytes = [0; 64];
        while matches!((&self.door).read(&mut bytes), Ok(64)) {}
        let calls = std::mem::take(&mut self.bell.rung().calls);
        for call in calls {
            let waiter = self.waiters().remove(&call);
            if let Some(waiter) = waiter
                && let Err(failed) = self.advance(py, call, waiter)
            {
                failed.write_unraisable(py, None);
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Never taken while Python runs.
        if let Ok(waiters) = self.waiters.try_lock() {
            for waiter in waiters.values() {
                match waiter {
                    Waiter::Task(object) | Waiter::Callback(_, _, object) => visit.call(object)?,
                }
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let waiters = std::mem::take(&mut *self.waiters());
        drop(waiters);
    }

    /// Forget a callback.
    fn forget(&self, call: u64) {
        let waiter = self.waiters().remove(&call);
        drop(waiter);
    }
}

fn running(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    RUNNING.import(py, "asyncio", "get_running_loop")?.call0()
}

/// Call back with the answer, in the event loop that runs in this thread. What
/// comes back is for `forget`.
pub(crate) fn call_back(
    py: Python<'_>,
    work: Work,
    callback: Py<PyAny>,
) -> PyResult<(Py<Reactor>, u64)> {
    let _visit = exit::Visit::begin(py);
    let reactor = Reactor::of(&running(py)?)?;
    let (call, waker) = reactor.get().new_call();
    reactor.get().advance(py, call, Waiter::Callback(work, waker, callback))?;
    Ok((reactor.unbind(), call))
}

/// Of one call: what `await` iterates over. Dropped, as it is when the task is
/// cancelled, the call is, too.
#[pyclass(module = "leasehold._leasehold")]
pub(crate) struct Waiting {
    // A lock is never contended: one task has it.
    work: Mutex<Option<Work>>,
    waker: Waker,
    call: u64,
    reactor: Py<Reactor>,
    event_loop: Py<PyAny>,
}

/// Begin to wait in the event loop that runs in this thread.
pub(crate) fn start<'py>(py: Python<'py>, work: Work) -> PyResult<Bound<'py, Waiting>> {
    let _visit = exit::Visit::begin(py);
    let event_loop = running(py)?;
    let reactor = Reactor::of(&event_loop)?;
    let (call, waker) = reactor.get().new_call();
    let (work, reactor) = (Mutex::new(Some(work)), reactor.unbind());
    Bound::new(py, Waiting { work, waker, call, reactor, event_loop: event_loop.unbind() })
}

#[pymethods]
impl Waiting {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reactor)?;
        visit.call(&self.event_loop)
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    /// The answer by StopIteration, or a future that is ready when it is worth
    /// asking again.
    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let slot = self.work.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _visit = exit::Visit::begin(py);
        let Some(work) = slot else { return Err(PyStopIteration::new_err(py.None())) };
        match work.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(answer) => {
                *slot = None;
                Err(PyStopIteration::new_err(convert(py, answer)?.unbind()))
            }
            Poll::Pending => {
                let future = self.event_loop.bind(py).call_method0(intern!(py, "create_future"))?;
                // By this a task knows a future that is awaited.
                future.setattr(intern!(py, "_asyncio_future_blocking"), true)?;
                let waiter = Waiter::Task(future.clone().unbind());
                self.reactor.get().waiters().insert(self.call, waiter);
                Ok(future)
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.reactor.get().forget(self.call);
    }
}
