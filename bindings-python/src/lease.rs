//! A lease, or several that are held together, and word of their end.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold::Client as Core;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::arguments::{span, text_of};
use crate::call::{Answer, Call};
use crate::error;
use crate::exit::Visit;

/// As what users have a lease.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    One,
    /// Of several, though that may be one.
    Group,
    /// Of an election.
    Term,
}

#[pyclass(frozen, subclass, weakref, module = "leasehold._leasehold")]
#[derive(Clone)]
pub(crate) struct Lease {
    leases: Arc<leasehold::Leases>,
    kind: Kind,
    /// It is closed when the interpreter ends, if it is there.
    _client: Arc<Core>,
}

impl Lease {
    pub(crate) fn new(leases: leasehold::Leases, kind: Kind, client: Arc<Core>) -> Self {
        Self { leases: Arc::new(leases), kind, _client: client }
    }

    /// As users have it. No code in Python runs here, so no handler of a signal can
    /// come between a grant and whoever it is for.
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static GROUP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static TERM: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let class = match self.kind {
            Kind::One => CLASS.import(py, "leasehold._lease", "Lease"),
            Kind::Group => GROUP.import(py, "leasehold._leases", "Leases"),
            Kind::Term => TERM.import(py, "leasehold._election", "Term"),
        };
        class?.call1((Bound::new(py, self)?,))
    }

    /// Begin to give it back.
    pub(crate) fn finish(&self) -> Call {
        let call = self._finish();
        call.start();
        call
    }

    /// Give it back at the end of a block; if that raised, its error goes on, with a
    /// note when the lease was lost.
    pub(crate) fn leave<'py>(
        &self,
        py: Python<'py>,
        raised: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        static NOTE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let _visit = Visit::begin(py);
        let call = Bound::new(py, self.finish())?;
        match (Call::wait(&call, None), raised) {
            (Ok(_), _) => Ok(()),
            (Err(failed), Some(raised)) if error::is_ours(py, &failed)? => {
                NOTE.import(py, "leasehold._errors", "note")?.call1((raised, failed)).map(drop)
            }
            (Err(failed), _) => Err(failed),
        }
    }
}

#[pymethods]
impl Lease {
    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
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
        self.leave(py, error)
    }

    /// The same lease, for the class that is made of this one.
    #[new]
    fn of(lease: &Lease) -> Self {
        lease.clone()
    }

    /// The lock's name.
    #[getter]
    fn name(&self) -> String {
        self._names().join(", ")
    }

    #[getter]
    fn _names(&self) -> Vec<&str> {
        self.leases.names().collect()
    }

    #[getter]
    fn _fences(&self) -> BTreeMap<String, u64> {
        self.leases.fences()
    }

    #[getter]
    fn _keys(&self) -> BTreeMap<String, String> {
        self.leases.keys()
    }

    #[getter]
    fn _slots(&self) -> BTreeMap<String, u32> {
        self.leases.slots()
    }

    /// The fencing token: larger than that of every earlier holder of this name. Send it
    /// along with every operation on what the lock protects, reads included, and let that
    /// refuse smaller ones than it has seen.
    #[getter]
    fn fence(&self) -> u64 {
        self.leases.first().fence()
    }

    /// With etcd: the key whose create_revision is the fence; with ZooKeeper: its node.
    #[getter]
    fn key(&self) -> Option<String> {
        self.leases.first().key()
    }

    /// With permits: which of them it is, from 0; nobody else has it meanwhile.
    #[getter]
    fn slot(&self) -> Option<u32> {
        self.leases.first().slot()
    }

    /// The ttl that it is renewed by, in seconds.
    #[getter]
    fn ttl(&self) -> f64 {
        self.leases.ttl().as_secs_f64()
    }

    /// The seconds for which it stays valid without another renewal.
    #[getter]
    fn remaining(&self) -> f64 {
        self.leases.remaining().as_secs_f64()
    }

    /// Whether it is held at this instant, by the clock alone.
    #[getter]
    fn is_valid(&self) -> bool {
        self.leases.is_valid()
    }

    /// Raise LeaseLost if it is not held at this instant, or NotHeld if it was released.
    /// A thread cannot be interrupted safely, so call this before each step that must not
    /// be done twice.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.leases.check().map_err(|e| error::exception(py, &e))
    }

    /// With PostgreSQL, MySQL and MariaDB: an SQL statement without parameters. Run it in your
    /// own transaction, in the database where the lock is. It fails if this lease does not hold
    /// the lock any more: roll back then. If it does not fail, nobody takes the lock over until
    /// that transaction ends, whatever the clocks do. Commit, then release. Does no I/O.
    ///
    /// Raises LeaseLost or NotHeld when the lease is over; Unsupported on other backends, and
    /// with MySQL for a lock that is shared or has permits.
    fn guard(&self, py: Python<'_>) -> PyResult<String> {
        self.leases.guard().map_err(|e| error::exception(py, &e))
    }

    fn _watch(&self) -> Watch {
        Watch(self.leases.watch())
    }

    fn _renew(&self, ttl: Option<&Bound<'_, PyAny>>) -> PyResult<Call> {
        let (leases, ttl) = (self.leases.clone(), span("ttl", ttl)?);
        Ok(Call::new(async move {
            match ttl {
                Some(ttl) => leases.renew_for(ttl).await?,
                None => leases.renew().await?,
            }
            Ok(Answer::Nothing)
        }))
    }

    fn _into_ticket(&self, valid: Option<&Bound<'_, PyAny>>) -> PyResult<Call> {
        let (leases, valid) = (self.leases.clone(), span("valid", valid)?);
        Ok(Call::new(async move {
            let ticket = match valid {
                Some(valid) => leases.into_ticket_for(valid).await?,
                None => leases.into_ticket().await?,
            };
            Ok(Answer::Ticket(ticket))
        }))
    }

    fn _proclaim(&self, value: &Bound<'_, PyString>) -> PyResult<Call> {
        let (leases, value) = (self.leases.clone(), text_of("value", value)?);
        Ok(Call::new(async move { leases.proclaim(&value).await.map(|()| Answer::Nothing) }))
    }

    fn _release(&self) -> Call {
        let leases = self.leases.clone();
        Call::new(async move { leases.release().await.map(|()| Answer::Nothing) })
    }

    /// The work that is done once has succeeded.
    fn _succeed(&self) {
        self.leases.succeed();
    }

    /// A task is inside of the block that gives it back.
    pub(crate) fn _keep_for(&self, task: u64) {
        self.leases.keep_for(task);
    }

    fn _finish(&self) -> Call {
        let leases = self.leases.clone();
        Call::new(async move { leases.finish().await.map(|()| Answer::Nothing) })
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

    /// The name of the lock that was lost, of several the first.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.lost_name()
    }

    /// Wait for its end.
    fn ended(&self) -> Call {
        let watch = self.0.clone();
        Call::new(async move { Ok(Answer::Text(watch.ended().await.map(|loss| loss.code()))) })
    }
}
