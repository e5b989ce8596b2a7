//! Errors of the core as exceptions, whose classes are defined in Python.

use leasehold::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::exit;

static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Find the classes now: nothing can be imported any more when the interpreter ends,
/// and a finalizer may still want to know why its release failed.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    MAKE.import(py, "leasehold._errors", "make").map(drop)
}

/// The exception for an error, or what kept it from being made.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let _visit = exit::Visit::begin(py);
    let make = || MAKE.import(py, "leasehold._errors", "make");
    let outcome = error.outcome().code();
    let made = make()
        .and_then(|make| make.call1((error.code(), error.to_string(), outcome, error.lock())));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(failed) => failed,
    }
}
