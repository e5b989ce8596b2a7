//! Errors of the core as exceptions, whose classes are defined in Python.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use leasehold::Error;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::exit;

static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Find the classes now: nothing can be imported any more when the interpreter ends,
/// and a finalizer may still want to know why its release failed.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    MAKE.import(py, "leasehold._errors", "make").map(drop)
}

/// The exception for an error, with its causes, or what kept it from being made.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let _visit = exit::Visit::begin(py);
    let outcome = error.outcome().code();
    let made = MAKE
        .import(py, "leasehold._errors", "make")
        .and_then(|make| make.call1((error.code(), error.to_string(), outcome, error.lock())));
    match made {
        Ok(exception) => {
            let exception = PyErr::from_value(exception);
            exception.set_cause(py, error.source().map(|source| cause(py, source)));
            exception
        }
        Err(failed) => failed,
    }
}

fn cause(py: Python<'_>, source: &(dyn StdError + 'static)) -> PyErr {
    let shared = source.downcast_ref::<Arc<Error>>().map(Arc::as_ref);
    if let Some(error) = source.downcast_ref::<Error>().or(shared) {
        return exception(py, error);
    }
    let cause = match source.downcast_ref::<io::Error>() {
        // The class for that number, as Python's own calls raise it.
        Some(failed) => match failed.raw_os_error() {
            Some(code) => PyOSError::new_err((code, reason(failed, code))),
            None => PyOSError::new_err(failed.to_string()),
        },
        None => PyException::new_err(source.to_string()),
    };
    cause.set_cause(py, source.source().map(|deeper| self::cause(py, deeper)));
    cause
}

/// As Python has it, which adds the number itself.
fn reason(failed: &io::Error, code: i32) -> String {
    failed.to_string().replace(&format!(" (os error {code})"), "")
}

/// Whether an exception is an error of this package.
pub(crate) fn is_ours(py: Python<'_>, raised: &PyErr) -> PyResult<bool> {
    static OURS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(raised.matches(py, OURS.import(py, "leasehold._errors", "LeaseholdError")?)?)
}
