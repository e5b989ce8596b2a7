//! `with lock:`, so that an exception from the handler of a signal, which comes between
//! any two instructions of Python, never leaves the lock held.
//!
//! For a `with` the interpreter looks up `__enter__` and `__exit__`, calls the first,
//! and keeps the second until the block is left, or given up before it began. So what it
//! finds as `__exit__` is an object of that one statement, and that is what owns the
//! lease: it is given back when it is called, and when it is dropped without that. All
//! of it is native: a frame of Python would be kept by the exception's traceback, and
//! its lease with it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, ThreadId};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::call::{Call, host};
use crate::client::Lock;
use crate::exit::Visit;
use crate::lease::Lease;

/// The lease of a block, once it has begun.
struct Slot {
    /// Who looked up the block's `__exit__`, and will call its `__enter__` next.
    thread: ThreadId,
    lease: Mutex<Option<Lease>>,
}

impl Slot {
    fn take(&self) -> Option<Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, lease: Lease) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
    }
}

impl Drop for Slot {
    /// The block has gone in another way than by its end. Whoever else has the lease
    /// shall not keep it.
    fn drop(&mut self) {
        if let Some(lease) = self.take() {
            drop(lease.finish());
        }
    }
}

/// The blocks of a lock that have not begun.
#[derive(Clone, Default)]
pub(crate) struct Blocks(Arc<Mutex<Vec<Weak<Slot>>>>);

impl Blocks {
    fn open(&self) -> Arc<Slot> {
        let slot = Arc::new(Slot { thread: thread::current().id(), lease: Mutex::new(None) });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|slot| slot.strong_count() > 0);
        all.push(Arc::downgrade(&slot));
        slot
    }

    /// The one that this thread begins: nothing else of it has run since it was opened,
    /// but for handlers of signals, and their blocks are over.
    fn begin(&self) -> Option<Arc<Slot>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.iter().enumerate().rev().find_map(|(at, slot)| {
            let slot = slot.upgrade().filter(|slot| slot.thread == thread::current().id());
            Some((at, slot?))
        });
        own.map(|(at, slot)| {
            all.remove(at);
            slot
        })
    }
}

fn enter<'py>(lock: &Bound<'py, Lock>) -> PyResult<Bound<'py, PyAny>> {
    let py = lock.py();
    let _visit = Visit::begin(py);
    let Some(slot) = lock.get().blocks.begin() else {
        // Called as a method, and not for a `with`.
        return lock.call_method0(intern!(py, "_enter"));
    };
    lock.call_method0(intern!(py, "_refuse"))?;
    let (task, is_inside) = host!(py, "block")?.call1((1,))?.extract()?;
    let call = Bound::new(py, lock.get().acquire(None, task)?)?;
    let lease = Call::wait(&call, None)?;
    let held = lease.cast::<Lease>()?.get();
    if is_inside {
        held._keep_for(task);
    }
    slot.put(held.clone());
    Ok(lease)
}

/// `__enter__` of a lock: a descriptor, as functions are.
#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Enter(());

#[pymethods]
impl Enter {
    #[new]
    fn new() -> Self {
        Self(())
    }

    fn __get__<'py>(
        slf: Bound<'py, Self>,
        lock: Option<&Bound<'py, Lock>>,
        _class: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match lock {
            Some(lock) => Ok(Bound::new(slf.py(), Entrance(lock.clone().unbind()))?.into_any()),
            None => Ok(slf.into_any()),
        }
    }

    /// As `type(lock).__enter__(lock)`; exit stacks do that.
    fn __call__<'py>(&self, lock: &Bound<'py, Lock>) -> PyResult<Bound<'py, PyAny>> {
        enter(lock)
    }
}

#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Entrance(Py<Lock>);

#[pymethods]
impl Entrance {
    fn __call__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        enter(self.0.bind(py))
    }
}

/// `__exit__` of a lock: a descriptor that opens a block.
#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Exit(());

#[pymethods]
impl Exit {
    #[new]
    fn new() -> Self {
        Self(())
    }

    fn __get__<'py>(
        slf: Bound<'py, Self>,
        lock: Option<&Bound<'py, Lock>>,
        _class: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(lock) = lock else { return Ok(slf.into_any()) };
        let block = Block { slot: lock.get().blocks.open(), lock: lock.clone().unbind() };
        Ok(Bound::new(slf.py(), block)?.into_any())
    }

    /// As `type(lock).__exit__(lock, …)`; exit stacks do that.
    #[pyo3(signature = (lock, *raised))]
    fn __call__<'py>(
        &self,
        lock: &Bound<'py, Lock>,
        raised: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _visit = Visit::begin(lock.py());
        lock.call_method1(intern!(lock.py(), "_exit"), raised)
    }
}

/// One `with`.
#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Block {
    slot: Arc<Slot>,
    lock: Py<Lock>,
}

#[pymethods]
impl Block {
    #[pyo3(signature = (*raised))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        raised: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _visit = Visit::begin(py);
        let Some(lease) = self.slot.take() else {
            // Called as a method: the block began by another one.
            return self.lock.bind(py).call_method1(intern!(py, "_exit"), raised);
        };
        let error = raised.get_item(1).ok().filter(|error| !error.is_none());
        lease.leave(py, error.as_ref())?;
        Ok(py.None().into_bound(py))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.lock)
    }
}
