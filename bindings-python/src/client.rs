//! The core's client, lock and lease, as calls. The classes in `python/leasehold`
//! are made of these, and say how the calls are waited for.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use leasehold::{Client as Core, Error, Kind, Options};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::call::{Answer, Call};
use crate::error;

/// What is to be closed when the interpreter ends.
static OPEN: Mutex<Vec<Weak<Core>>> = Mutex::new(Vec::new());

/// The clients that somebody still has, or a lock or a lease of.
pub(crate) fn open() -> Vec<Arc<Core>> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|client| client.strong_count() > 0);
    open.iter().filter_map(Weak::upgrade).collect()
}

/// Set the options that were given.
macro_rules! with {
    ($to:expr, $($option:ident),*) => {{
        let mut to = $to;
        $(if let Some($option) = $option { to = to.$option($option); })*
        to
    }};
}

#[pyclass(frozen, subclass, weakref, module = "leasehold._leasehold")]
pub(crate) struct Client(Arc<Core>);

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (url="sqlite:", *, ttl=None, wait=None, max_hold=None, label=None))]
    fn new(
        py: Python<'_>,
        url: &str,
        ttl: Option<&Bound<'_, PyAny>>,
        wait: Option<&Bound<'_, PyAny>>,
        max_hold: Option<&Bound<'_, PyAny>>,
        label: Option<String>,
    ) -> PyResult<Self> {
        let (ttl, wait) = (span("ttl", ttl)?, span("wait", wait)?);
        let max_hold = span("max_hold", max_hold)?;
        let options = with!(Options::new(), ttl, wait, max_hold, label);
        let core = options.client(url).map_err(|e| error::exception(py, &e))?;
        let client = Self(Arc::new(core));
        drop(open());
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&client.0));
        Ok(client)
    }

    #[pyo3(signature = (name, ttl, wait, max_hold, auto_renew, label))]
    fn _lock(
        &self,
        name: String,
        ttl: Option<&Bound<'_, PyAny>>,
        wait: Option<&Bound<'_, PyAny>>,
        max_hold: Option<&Bound<'_, PyAny>>,
        auto_renew: Option<bool>,
        label: Option<String>,
    ) -> PyResult<Lock> {
        let (ttl, wait) = (span("ttl", ttl)?, span("wait", wait)?);
        let max_hold = span("max_hold", max_hold)?;
        let lock = with!(self.0.lock(name.clone()), ttl, wait, max_hold, auto_renew, label);
        Ok(Lock { name, lock, client: self.0.clone() })
    }

    /// The backend as messages name it, without passwords; of one that is not connected
    /// yet only the kind.
    #[getter]
    fn backend(&self) -> &str {
        self.0.backend()
    }

    /// What the server that answers now promises less than its backend does.
    fn caveats(&self) -> Vec<String> {
        self.0.caveats()
    }

    fn _connect(&self) -> Call {
        let core = self.0.clone();
        Call::new(async move { core.connect().await.map(|()| Answer::Nothing) })
    }

    fn _list(&self) -> Call {
        let core = self.0.clone();
        Call::new(async move { core.list().await.map(Answer::Statuses) })
    }

    fn _status(&self, name: String) -> Call {
        let core = self.0.clone();
        Call::new(async move {
            let status = core.status(&name).await?;
            Ok(Answer::Statuses(status.into_iter().collect()))
        })
    }

    fn _break_lock(&self, name: String) -> Call {
        let core = self.0.clone();
        Call::new(async move { core.break_lock(&name).await.map(Answer::Flag) })
    }

    fn _events(&self) -> Events {
        Events(Arc::new(self.0.events()))
    }

    fn _close(&self) -> Call {
        let core = self.0.clone();
        Call::new(async move {
            core.close().await;
            Ok(Answer::Nothing)
        })
    }
}

#[pyclass(frozen, subclass, weakref, module = "leasehold._leasehold")]
#[derive(Clone)]
pub(crate) struct Lock {
    /// The lock's name.
    #[pyo3(get)]
    name: String,
    lock: leasehold::Lock,
    client: Arc<Core>,
}

#[pymethods]
impl Lock {
    /// The same lock, for the class that is made of this one.
    #[new]
    fn of(lock: &Lock) -> Self {
        lock.clone()
    }

    fn _acquire(&self, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Call> {
        let (wait, client) = (span("timeout", timeout)?, self.client.clone());
        let lock = with!(self.lock.clone(), wait);
        Ok(Call::new(async move {
            let lease = lock.acquire().await?;
            Ok(Answer::Lease(Some(Lease { lease: Arc::new(lease), _client: client })))
        }))
    }

    fn _try_acquire(&self) -> Call {
        let (lock, client) = (self.lock.clone(), self.client.clone());
        Call::new(async move {
            let lease = lock.try_acquire().await?;
            Ok(Answer::Lease(lease.map(|lease| Lease { lease: Arc::new(lease), _client: client })))
        })
    }
}

#[pyclass(frozen, subclass, weakref, module = "leasehold._leasehold")]
#[derive(Clone)]
pub(crate) struct Lease {
    lease: Arc<leasehold::Lease>,
    /// It is closed when the interpreter ends, if it is there.
    _client: Arc<Core>,
}

#[pymethods]
impl Lease {
    /// The same lease, for the class that is made of this one.
    #[new]
    fn of(lease: &Lease) -> Self {
        lease.clone()
    }

    /// The lock's name.
    #[getter]
    fn name(&self) -> &str {
        self.lease.name()
    }

    /// The fencing token: larger than that of every earlier holder of this name. Send it
    /// along with every operation on what the lock protects, reads included, and let that
    /// refuse smaller ones than it has seen.
    #[getter]
    fn fence(&self) -> u64 {
        self.lease.fence()
    }

    /// With etcd: the key whose create_revision is the fence.
    #[getter]
    fn key(&self) -> Option<String> {
        self.lease.key()
    }

    /// The ttl that it is renewed by, in seconds.
    #[getter]
    fn ttl(&self) -> f64 {
        self.lease.ttl().as_secs_f64()
    }

    /// The seconds for which it stays valid without another renewal.
    #[getter]
    fn remaining(&self) -> f64 {
        self.lease.remaining().as_secs_f64()
    }

    /// Whether it is held at this instant, by the clock alone.
    #[getter]
    fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    /// Raise LeaseLost if it is not held at this instant, or NotHeld if it was released.
    /// A thread cannot be interrupted safely, so call this before each step that must not
    /// be done twice.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.lease.check().map_err(|e| error::exception(py, &e))
    }

    fn _watch(&self) -> Watch {
        Watch(self.lease.watch())
    }

    fn _renew(&self) -> Call {
        let lease = self.lease.clone();
        Call::new(async move { lease.renew().await.map(|()| Answer::Nothing) })
    }

    fn _release(&self) -> Call {
        let lease = self.lease.clone();
        Call::new(async move { lease.release().await.map(|()| Answer::Nothing) })
    }

    fn _finish(&self) -> Call {
        let lease = self.lease.clone();
        Call::new(async move { lease.finish().await.map(|()| Answer::Nothing) })
    }
}

/// Word of a lease's end, for those who do not hold it: a thread that waits for the
/// end must not put it off.
#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Watch(leasehold::Watch);

#[pymethods]
impl Watch {
    /// Why it was lost, if it was.
    #[getter]
    fn loss(&self) -> Option<&'static str> {
        self.0.loss().map(|loss| loss.code())
    }

    /// Wait for its end.
    fn ended(&self) -> Call {
        let watch = self.0.clone();
        Call::new(async move { Ok(Answer::Text(watch.ended().await.map(|loss| loss.code()))) })
    }
}

/// What happens to the leases of a client.
#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Events(Arc<leasehold::Events>);

#[pymethods]
impl Events {
    /// Wait for the next; None when the client is closed.
    fn next(&self) -> Call {
        let events = self.0.clone();
        Call::new(async move { Ok(Answer::Event(events.next().await)) })
    }
}

/// A time in seconds, or a timedelta.
pub(crate) fn seconds(what: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let seconds = match value.call_method0("total_seconds") {
        Ok(seconds) => seconds.extract(),
        Err(_) => value.extract(),
    };
    match seconds {
        Ok(seconds) if !value.is_instance_of::<PyBool>() => Ok(seconds),
        _ => {
            let message = format!("{what} is a time in seconds or a timedelta, not {value:?}");
            Err(error::exception(value.py(), &Error::new(Kind::Invalid, message)))
        }
    }
}

fn span(what: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    let seconds = seconds(what, value)?;
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|e| {
        let message = format!("{what} must be a time in seconds, not {seconds}");
        error::exception(value.py(), &Error::new(Kind::Invalid, message).because(e))
    })
}
