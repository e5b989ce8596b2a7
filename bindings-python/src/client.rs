//! The core's client, lock and lease, as calls.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{Client as Core, Error, Kind, Options};
use pyo3::prelude::*;

use crate::call::{Answer, Call};
use crate::error;

#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Client(Core);

impl Client {
    pub(crate) fn core(&self) -> Core {
        self.0.clone()
    }
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (url, *, ttl=None, wait=None, max_hold=None, label=None))]
    fn new(
        py: Python<'_>,
        url: &str,
        ttl: Option<f64>,
        wait: Option<f64>,
        max_hold: Option<f64>,
        label: Option<String>,
    ) -> PyResult<Self> {
        let mut options = Options::new();
        if let Some(ttl) = ttl {
            options = options.ttl(span(py, "ttl", ttl)?);
        }
        if let Some(wait) = wait {
            options = options.wait(span(py, "wait", wait)?);
        }
        if let Some(max_hold) = max_hold {
            options = options.max_hold(span(py, "max_hold", max_hold)?);
        }
        if let Some(label) = label {
            options = options.label(label);
        }
        options.client(url).map(Self).map_err(|e| error::exception(py, &e))
    }

    #[pyo3(signature = (name, *, ttl=None, wait=None, max_hold=None, auto_renew=None, label=None))]
    #[allow(clippy::too_many_arguments)] // they have names in Python
    fn lock(
        &self,
        py: Python<'_>,
        name: String,
        ttl: Option<f64>,
        wait: Option<f64>,
        max_hold: Option<f64>,
        auto_renew: Option<bool>,
        label: Option<String>,
    ) -> PyResult<Lock> {
        let mut lock = self.0.lock(name);
        if let Some(ttl) = ttl {
            lock = lock.ttl(span(py, "ttl", ttl)?);
        }
        if let Some(wait) = wait {
            lock = lock.wait(span(py, "wait", wait)?);
        }
        if let Some(max_hold) = max_hold {
            lock = lock.max_hold(span(py, "max_hold", max_hold)?);
        }
        if let Some(auto_renew) = auto_renew {
            lock = lock.auto_renew(auto_renew);
        }
        if let Some(label) = label {
            lock = lock.label(label);
        }
        Ok(Lock(lock))
    }

    #[getter]
    fn backend(&self) -> String {
        self.0.backend().to_owned()
    }

    fn caveats(&self) -> Vec<String> {
        self.0.caveats()
    }

    fn connect(&self) -> Call {
        let core = self.core();
        Call::new(async move { core.connect().await.map(|()| Answer::Nothing) })
    }

    fn list(&self) -> Call {
        let core = self.core();
        Call::new(async move { core.list().await.map(Answer::Statuses) })
    }

    fn status(&self, name: String) -> Call {
        let core = self.core();
        Call::new(async move {
            let status = core.status(&name).await?;
            Ok(Answer::Statuses(status.into_iter().collect()))
        })
    }

    fn break_lock(&self, name: String) -> Call {
        let core = self.core();
        Call::new(async move { core.break_lock(&name).await.map(Answer::Flag) })
    }

    fn close(&self) -> Call {
        let core = self.core();
        Call::new(async move {
            core.close().await;
            Ok(Answer::Nothing)
        })
    }
}

#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Lock(leasehold::Lock);

#[pymethods]
impl Lock {
    #[pyo3(signature = (wait=None))]
    fn acquire(&self, py: Python<'_>, wait: Option<f64>) -> PyResult<Call> {
        let mut lock = self.0.clone();
        if let Some(wait) = wait {
            lock = lock.wait(span(py, "timeout", wait)?);
        }
        Ok(Call::new(async move { lock.acquire().await.map(|lease| Answer::Lease(Some(lease))) }))
    }

    fn try_acquire(&self) -> Call {
        let lock = self.0.clone();
        Call::new(async move { lock.try_acquire().await.map(Answer::Lease) })
    }
}

#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Lease(Arc<leasehold::Lease>);

impl Lease {
    pub(crate) fn new(lease: leasehold::Lease) -> Self {
        Self(Arc::new(lease))
    }
}

#[pymethods]
impl Lease {
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    #[getter]
    fn fence(&self) -> u64 {
        self.0.fence()
    }

    #[getter]
    fn key(&self) -> Option<String> {
        self.0.key()
    }

    #[getter]
    fn ttl(&self) -> f64 {
        self.0.ttl().as_secs_f64()
    }

    #[getter]
    fn remaining(&self) -> f64 {
        self.0.remaining().as_secs_f64()
    }

    #[getter]
    fn is_valid(&self) -> bool {
        self.0.is_valid()
    }

    fn watch(&self) -> Watch {
        Watch(self.0.watch())
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.0.check().map_err(|e| error::exception(py, &e))
    }

    fn renew(&self) -> Call {
        let lease = self.0.clone();
        Call::new(async move { lease.renew().await.map(|()| Answer::Nothing) })
    }

    fn release(&self) -> Call {
        let lease = self.0.clone();
        Call::new(async move { lease.release().await.map(|()| Answer::Nothing) })
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

/// A time in seconds.
fn span(py: Python<'_>, what: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|e| {
        let message = format!("{what} must be a time in seconds, not {seconds}");
        error::exception(py, &Error::new(Kind::Invalid, message).because(e))
    })
}
