//! What Python passes: texts, times and flags, or a clear error that says what was passed.

use std::time::Duration;

use leasehold::{Error, Kind};
use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};

use crate::error;

/// Set the options that were given.
macro_rules! with {
    ($to:expr, $($option:ident),*) => {{
        let mut to = $to;
        $(if let Some($option) = $option { to = to.$option($option); })*
        to
    }};
}
pub(crate) use with;

/// A name or a label. Python's text may hold what no other language can: halves of
/// characters, as `os.fsdecode` makes them of bytes that are not UTF-8.
pub(crate) fn text_of(what: &str, text: &Bound<'_, PyString>) -> PyResult<String> {
    text.to_str().map(str::to_owned).or_else(|_| {
        // As an ASCII literal, which has them escaped.
        let shown = text.repr()?.to_string();
        let message = format!(
            "a {what} is text that can be written as UTF-8, not {shown}; decode the bytes \
             that it comes from otherwise, or use their hex()"
        );
        Err(error::exception(text.py(), &Error::new(Kind::Invalid, message)))
    })
}

/// It is not shown: it may hold a password.
pub(crate) struct Url(pub(crate) String);

impl<'py> FromPyObject<'_, 'py> for Url {
    type Error = PyErr;

    fn extract(url: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        url.cast::<PyString>()?.to_str().map(|url| Self(url.to_owned())).map_err(|_| {
            let message = "the URL holds halves of characters (from \\ud800 to \\udfff), which cannot \
                           be written as UTF-8; in a password, bytes are written as %XX, and the \
                           path of a file must be UTF-8";
            error::exception(url.py(), &Error::new(Kind::Invalid, message))
        })
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

/// Nothing but a flag: a number, or a text such as "no", is taken for none.
pub(crate) fn flag(what: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value
        .extract()
        .map_err(|_: PyErr| PyTypeError::new_err(format!("{what} is True or False, not {value:?}")))
}

/// A number that can be one of permits; the core knows how many there can be.
pub(crate) fn count_of_permits(value: &Bound<'_, PyAny>) -> PyResult<u32> {
    match value.extract() {
        Ok(permits) if !value.is_instance_of::<PyBool>() => Ok(permits),
        _ => {
            let message = format!("permits is a whole number from 1 to 1000, not {value:?}");
            Err(error::exception(value.py(), &Error::new(Kind::Invalid, message)))
        }
    }
}

pub(crate) fn span(what: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    let seconds = seconds(what, value)?;
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|e| {
        let message = format!("{what} must be a time in seconds, not {seconds}");
        error::exception(value.py(), &Error::new(Kind::Invalid, message).because(e))
    })
}
