//! A call of the core that is waited for. How depends on who waits: a thread does it
//! here, a task of a scheduler as `python/leasehold/_host.py` says.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use leasehold::host::Waiter;
use leasehold::{Deadlock, Error, Event, Kind, Leader, Status};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::arguments::seconds;
use crate::lease::Lease;
use crate::once::Begun;
use crate::reactor::{Reactor, Waiting};
use crate::{error, exit};

/// What a call answers.
pub(crate) enum Answer {
    Nothing,
    Flag(bool),
    Text(Option<&'static str>),
    Lease(Option<Lease>),
    Begun(Begun),
    Statuses(Vec<Status>),
    Deadlocks(Vec<Deadlock>),
    Event(Option<Event>),
    Ticket(leasehold::Ticket),
    Leader(Option<Leader>),
}

pub(crate) type Work = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;

/// It does nothing until it is waited for, which can be done once.
#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Call(Mutex<Option<Work>>);

impl Call {
    pub(crate) fn new(work: impl Future<Output = Result<Answer, Error>> + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::pin(work))))
    }

    fn work(&self) -> PyResult<Work> {
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        work.ok_or_else(|| PyRuntimeError::new_err("a call can be waited for once"))
    }
}

/// Something of the file that knows who waits.
macro_rules! host {
    ($py:expr, $name:literal) => {{
        static KNOWN: pyo3::sync::PyOnceLock<pyo3::Py<pyo3::PyAny>> = pyo3::sync::PyOnceLock::new();
        KNOWN.import($py, "leasehold._host", $name)
    }};
}
pub(crate) use host;

#[pymethods]
impl Call {
    /// Wait here, for so many seconds at most: then the answer is None. A greenlet
    /// lets others run meanwhile. A signal whose handler raises ends it, and nothing
    /// is left behind.
    #[pyo3(signature = (timeout=None))]
    pub(crate) fn wait<'py>(
        slf: &Bound<'py, Self>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let visit = exit::Visit::begin(py);
        let timeout = timeout.map(|timeout| seconds("timeout", timeout)).transpose()?;
        let hub = host!(py, "hub")?.call0()?;
        if hub.is_none() {
            return slf.get().wait_in_thread(py, &visit, timeout);
        }
        visit.suspend(py, || hub.call_method1(intern!(py, "wait"), (slf, timeout)))
    }

    /// Wait in the scheduler that runs this coroutine. Cancelled, nothing is left
    /// behind.
    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let _visit = exit::Visit::begin(py);
        host!(py, "wait_async")?.call1((slf,))?.call_method0(intern!(py, "__await__"))
    }

    /// Let it begin: a release that was dropped after that goes on in the background.
    pub(crate) fn start(&self) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = slot.as_mut()
            && let Poll::Ready(answer) = work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            *slot = Some(Box::pin(ready(answer)));
        }
    }

    /// Begin, for a task of the scheduler that has this reactor.
    fn begin(&self, reactor: Py<Reactor>) -> PyResult<Waiting> {
        Ok(Waiting::new(self.work()?, reactor))
    }
}

impl Call {
    fn wait_in_thread<'py>(
        &self,
        py: Python<'py>,
        visit: &exit::Visit,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut work = self.work()?;
        // What is left until some moment may be a bit less than nothing.
        let limit = timeout.and_then(|s| Duration::try_from_secs_f64(s.max(0.0)).ok());
        let end = limit.and_then(|limit| now().checked_add(limit));
        let slice = signals_come_here(py)?.then_some(SLICE);
        let (waiter, process) = (Waiter::new(), std::process::id());
        loop {
            let left = end.map(|end| end.saturating_duration_since(now()));
            let most = slice.into_iter().chain(left).min();
            match visit.detach(py, || waiter.wait(work.as_mut(), most)) {
                Some(answer) => return convert(py, answer),
                None if end.is_some_and(|end| end <= now()) => return Ok(py.None().into_bound(py)),
                None => {}
            }
            let handled = py.check_signals();
            if process == std::process::id() {
                handled?;
                continue;
            }
            // A handler has forked, and this is the child, where no answer comes. Nothing is
            // dropped: a thread of the parent may have been in the midst of it.
            std::mem::forget(work);
            handled?;
            let message = "the process was forked while this call waited; the parent has it";
            return Err(error::exception(py, &Error::new(Kind::Closed, message)));
        }
    }
}

/// What a signal waits for at most.
const SLICE: Duration = Duration::from_millis(50);

#[allow(clippy::disallowed_methods)] // for the user's own timeout, not for a lease
fn now() -> Instant {
    Instant::now()
}

/// Python runs the handlers of signals in its main thread only.
fn signals_come_here(py: Python<'_>) -> PyResult<bool> {
    static MAIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static THIS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let main = MAIN.import(py, "threading", "main_thread")?.call0()?;
    Ok(main.is(&THIS.import(py, "threading", "current_thread")?.call0()?))
}

/// An answer as Python has it.
pub(crate) fn convert(py: Python<'_>, answer: Result<Answer, Error>) -> PyResult<Bound<'_, PyAny>> {
    match answer.map_err(|e| error::exception(py, &e))? {
        Answer::Nothing | Answer::Lease(None) | Answer::Event(None) | Answer::Leader(None) => {
            Ok(py.None().into_bound(py))
        }
        Answer::Flag(flag) => Ok(flag.into_pyobject(py)?.to_owned().into_any()),
        Answer::Text(text) => Ok(text.into_pyobject(py)?),
        Answer::Ticket(ticket) => Ok(ticket.as_str().into_pyobject(py)?.into_any()),
        Answer::Lease(Some(lease)) => lease.into_python(py),
        Answer::Begun(begun) => Ok(Bound::new(py, begun)?.into_any()),
        Answer::Event(Some(event)) => Ok(told(&event).into_pyobject(py)?.into_any()),
        Answer::Leader(Some(leader)) => Ok(shown(&leader).into_pyobject(py)?.into_any()),
        Answer::Statuses(all) => Ok(all.iter().map(row).collect::<Vec<_>>().into_pyobject(py)?),
        Answer::Deadlocks(all) => {
            Ok(all.iter().map(waits).collect::<Vec<_>>().into_pyobject(py)?)
        }
    }
}

/// Its lock, fence and name, why, and how a log has it.
fn told(event: &Event) -> (&str, u64, &'static str, Option<&'static str>, String) {
    let (lock, what) = (event.lock.as_str(), &event.what);
    (lock, event.fence, what.code(), what.reason(), event.to_string())
}

/// Its value and term, who it is, and for how long.
fn shown(leader: &Leader) -> (&str, u64, &str, f64, f64) {
    let (held_for, free_in) = (leader.held_for.as_secs_f64(), leader.free_in.as_secs_f64());
    (&leader.value, leader.term, &leader.label, held_for, free_in)
}

type Holder = (String, f64, f64, &'static str, Option<u32>, u64, bool);

fn row(status: &Status) -> (String, u64, Vec<Holder>, Vec<String>) {
    let holders = status.holders.iter().map(|holder| {
        let (held_for, free_in) = (holder.held_for.as_secs_f64(), holder.free_in.as_secs_f64());
        let (label, mode) = (holder.label.to_string(), holder.mode.name());
        (label, held_for, free_in, mode, holder.permit(), holder.fence, holder.resting)
    });
    let holders = holders.collect();
    let waiters = status.waiters.iter().map(|label| label.to_string()).collect();
    (status.name.to_string(), status.fence, holders, waiters)
}

/// The lock, who waits and who holds it, of each.
fn waits(deadlock: &Deadlock) -> Vec<(&str, &str, &str)> {
    let waits = deadlock.waits.iter();
    waits.map(|wait| (wait.lock.as_str(), &*wait.waiter, &*wait.holder)).collect()
}
