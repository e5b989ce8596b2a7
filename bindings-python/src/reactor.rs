//! Calls that a scheduler's task waits for: a coroutine, or a greenlet. The task
//! polls them itself, and the scheduler's thread reads the answers; other threads only
//! note which can go on, and make readable what the scheduler watches. No thread of ours
//! ever touches Python: an interpreter that ends does not survive that.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use leasehold::host::Poller;
use leasehold::{Error, Kind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::call::{Answer, Work, convert};
use crate::{error, exit};

/// What wakes the tasks of one scheduler.
#[pyclass(frozen, weakref, module = "leasehold._leasehold")]
pub(crate) struct Reactor {
    process: u32,
    bell: Arc<Bell>,
    /// What wakes who waits, by the number of the call.
    parked: Mutex<HashMap<u64, Py<PyAny>>>,
}

struct Bell {
    rung: Mutex<Rung>,
    poller: Poller,
}

#[derive(Default)]
struct Rung {
    last: u64,
    calls: Vec<u64>,
    /// Those are looked for already.
    is_heard: bool,
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
        if rung.calls.len() == 1 && !rung.is_heard {
            self.bell.poller.ring();
        }
    }
}

impl Reactor {
    fn parked(&self) -> MutexGuard<'_, HashMap<u64, Py<PyAny>>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Have this called once when the call can go on.
    fn park(&self, call: u64, wake: Py<PyAny>) {
        let before = self.parked().insert(call, wake);
        drop(before);
    }

    fn forget(&self, call: u64) {
        let wake = self.parked().remove(&call);
        drop(wake);
    }
}

#[pymethods]
impl Reactor {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let poller = Poller::new().map_err(|e| {
            let message = "there is no descriptor to be had for the scheduler to watch";
            error::exception(py, &Error::new(Kind::Unavailable, message).because(e))
        })?;
        let bell = Arc::new(Bell { rung: Mutex::default(), poller });
        Ok(Self { process: std::process::id(), bell, parked: Mutex::default() })
    }

    /// What the scheduler is to watch: readable when somebody can go on.
    fn fileno(&self) -> i32 {
        self.bell.poller.as_raw_fd()
    }

    /// Whether it was made in the process that this one was forked from.
    fn is_foreign(&self) -> bool {
        self.process != std::process::id()
    }

    /// Wake whoever can go on; called by the scheduler. What a signal's handler raises
    /// meanwhile is the scheduler's, and the others are woken when it goes on.
    fn ready(&self, py: Python<'_>) -> PyResult<()> {
        let _visit = exit::Visit::begin(py);
        if self.is_foreign() {
            return Ok(());
        }
        self.bell.rung().is_heard = true;
        self.bell.poller.turn();
        let mut calls = {
            let mut rung = self.bell.rung();
            rung.is_heard = false;
            std::mem::take(&mut rung.calls)
        };
        // The first comes last, and is taken first.
        calls.reverse();
        while let Some(call) = calls.pop() {
            let wake = self.parked().remove(&call);
            let Some(wake) = wake else { continue };
            if let Err(raised) = wake.call0(py) {
                // It may not have been woken. To be woken twice does no harm.
                self.park(call, wake);
                calls.push(call);
                calls.reverse();
                self.bell.rung().calls.append(&mut calls);
                self.bell.poller.ring();
                return Err(raised);
            }
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Never taken while Python runs.
        if let Ok(parked) = self.parked.try_lock() {
            parked.values().try_for_each(|wake| visit.call(wake))?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let parked = std::mem::take(&mut *self.parked());
        drop(parked);
    }
}

/// A call that has begun. Its answer stays in here until it is asked for, so that
/// an exception anywhere in Python leaves nothing in a frame that outlives it.
#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Waiting {
    // Never contended: one task has it.
    state: Mutex<State>,
    waker: Waker,
    call: u64,
    reactor: Py<Reactor>,
}

enum State {
    Pending(Work),
    Ready(Result<Answer, Error>),
    Over,
}

impl Waiting {
    pub(crate) fn new(work: Work, reactor: Py<Reactor>) -> Self {
        let (call, waker) = reactor.get().new_call();
        Self { state: Mutex::new(State::Pending(work)), waker, call, reactor }
    }

    fn poll_here(&self, work: &mut Work) -> Poll<Result<Answer, Error>> {
        let mut context = Context::from_waker(&self.waker);
        self.reactor.get().bell.poller.poll(work.as_mut(), &mut context)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Waiting {
    /// Go on with it; whether the answer is there.
    fn poll(&self, py: Python<'_>) -> bool {
        let _visit = exit::Visit::begin(py);
        let mut state = self.state();
        if let State::Pending(work) = &mut *state
            && let Poll::Ready(answer) = self.poll_here(work)
        {
            *state = State::Ready(answer);
        }
        !matches!(*state, State::Pending(_))
    }

    /// Call this once when it is worth polling again.
    fn park(&self, wake: Py<PyAny>) {
        self.reactor.get().park(self.call, wake);
    }

    /// The answer, once it is there; it can be taken once.
    fn answer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let _visit = exit::Visit::begin(py);
        match std::mem::replace(&mut *self.state(), State::Over) {
            State::Ready(answer) => convert(py, answer),
            _ => Err(PyRuntimeError::new_err("there is no answer to a call")),
        }
    }

    /// Nobody waits any more: a call that has no answer is cancelled, and what an
    /// answer that was not taken grants is given back.
    fn close(&self) {
        self.reactor.get().forget(self.call);
        let state = std::mem::replace(&mut *self.state(), State::Over);
        drop(state);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reactor)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.reactor.get().forget(self.call);
    }
}
