//! The native part of the Python package. Types are converted here, and calls
//! are waited for; what a lock does is in the core, and how it looks to Python
//! in `python/leasehold`.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

mod arguments;
mod block;
mod call;
mod client;
mod election;
mod error;
mod exit;
mod lease;
mod once;
mod reactor;

#[pymodule(name = "_leasehold", gil_used = false)]
fn leasehold_python(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // What is kept here belongs to one interpreter. CPython sees to that from 3.12 on.
    // SAFETY: whoever initializes a module is attached to an interpreter.
    #[allow(unsafe_code)]
    let interpreter = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if interpreter != 0 {
        let message = "leasehold does not support loading in subinterpreters";
        return Err(PyImportError::new_err(message));
    }
    error::prepare(module.py())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<call::Call>()?;
    module.add_class::<reactor::Reactor>()?;
    module.add_class::<reactor::Waiting>()?;
    module.add_class::<block::Block>()?;
    module.add_class::<block::Enter>()?;
    module.add_class::<block::Exit>()?;
    module.add_class::<client::Client>()?;
    module.add_class::<client::Lock>()?;
    module.add_class::<lease::Lease>()?;
    module.add_class::<once::Once>()?;
    module.add_class::<once::Begun>()?;
    module.add_class::<lease::Watch>()?;
    module.add_class::<election::Election>()?;
    module.add_class::<election::Leaders>()?;
    module.add_class::<client::Events>()?;
    module.add_function(wrap_pyfunction!(exit::finish, module)?)
}
