//! Work that is done once per interval.

use std::sync::{Arc, Mutex, PoisonError};

use leasehold::{Client as Core, Run};
use pyo3::prelude::*;

use crate::call::{Answer, Call, host};
use crate::exit::Visit;
use crate::lease::{Kind, Lease};

#[pyclass(frozen, subclass, module = "leasehold._leasehold")]
#[derive(Clone)]
pub(crate) struct Once {
    once: leasehold::Once,
    name: String,
    client: Arc<Core>,
}

impl Once {
    pub(crate) fn new(once: leasehold::Once, name: String, client: Arc<Core>) -> Self {
        Self { once, name, client }
    }
}

#[pymethods]
impl Once {
    /// The same, for the class that is made of this one.
    #[new]
    fn of(once: &Once) -> Self {
        once.clone()
    }

    /// The name, without the slot.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    fn _begin(&self) -> Call {
        let (once, client) = (self.once.clone(), self.client.clone());
        Call::new(async move {
            Ok(Answer::Begun(match once.begin().await? {
                Run::Ran(leases) => Begun::with(Lease::new(leases, Kind::One, client)),
                Run::Skipped { why, next_in } => {
                    Begun { lease: Mutex::default(), skip: (why.code(), next_in.as_secs_f64()) }
                }
            }))
        })
    }
}

/// What a `with` enters that does such work. It owns the lease, as the block of a lock does:
/// however it goes, the lease is given back.
#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Begun {
    lease: Mutex<Option<Lease>>,
    /// Why it is skipped, and when to try again.
    skip: (&'static str, f64),
}

impl Begun {
    fn with(lease: Lease) -> Self {
        Self { lease: Mutex::new(Some(lease)), skip: ("", 0.0) }
    }

    fn lease(&self) -> Option<Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remove(&self) -> Option<Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn shown<'py>(&self, py: Python<'py>, lease: Option<Lease>) -> PyResult<Bound<'py, PyAny>> {
        match lease {
            Some(lease) => lease.into_python(py),
            None => Ok(self.skip.into_pyobject(py)?.into_any()),
        }
    }
}

#[pymethods]
impl Begun {
    /// The lease, or why it is skipped and when to try again.
    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let lease = self.lease();
        if let Some(lease) = &lease {
            lease._keep_for(host!(py, "task")?.call0()?.extract()?);
        }
        self.shown(py, lease)
    }

    #[pyo3(signature = (kind, error, trace))]
    #[allow(unused_variables)]
    fn __exit__<'py>(
        &self,
        py: Python<'py>,
        kind: Option<&Bound<'py, PyAny>>,
        error: Option<&Bound<'py, PyAny>>,
        trace: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let _visit = Visit::begin(py);
        self.remove().map_or(Ok(()), |lease| lease.leave(py, error))
    }

    /// The same as `__enter__`, for who gives it back.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.shown(py, self.remove())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(lease) = self.remove() {
            drop(lease.finish());
        }
    }
}
