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
    /// What tasks wait for, by the number of the call.
    futures: Mutex<HashMap<u64, Py<PyAny>>>,
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
        Ok(Self { process: std::process::id(), bell, door, futures: Mutex::default() })
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

    fn futures(&self) -> MutexGuard<'_, HashMap<u64, Py<PyAny>>> {
        self.futures.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn forget(&self, call: u64) {
        let future = self.futures().remove(&call);
        drop(future);
    }
}

fn set_ready(py: Python<'_>, future: &Py<PyAny>) -> PyResult<()> {
    if !future.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
        future.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
    }
    Ok(())
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
            let future = self.futures().remove(&call);
            if let Some(future) = future
                && let Err(failed) = set_ready(py, &future)
            {
                failed.write_unraisable(py, None);
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Never taken while Python runs.
        if let Ok(futures) = self.futures.try_lock() {
            futures.values().try_for_each(|future| visit.call(future))?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let futures = std::mem::take(&mut *self.futures());
        drop(futures);
    }
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
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let _visit = exit::Visit::begin(py);
    let event_loop = RUNNING.import(py, "asyncio", "get_running_loop")?.call0()?;
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
                // In a tuple of its own: one that is the answer would be its arguments.
                Err(PyStopIteration::new_err((convert(py, answer)?.unbind(),)))
            }
            Poll::Pending => {
                let future = self.event_loop.bind(py).call_method0(intern!(py, "create_future"))?;
                // By this a task knows a future that is awaited.
                future.setattr(intern!(py, "_asyncio_future_blocking"), true)?;
                let reactor = self.reactor.get();
                reactor.futures().insert(self.call, future.clone().unbind());
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
