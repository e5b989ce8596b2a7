//! The core's client and lock, as calls. The classes in `python/leasehold`
//! are made of these, and say how the calls are waited for.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use leasehold::{Client as Core, Options};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arguments::{Url, count_of_permits, flag, span, text_of, with};
use crate::block::Blocks;
use crate::call::{Answer, Call, host};
use crate::election::Election;
use crate::error;
use crate::exit::Visit;
use crate::lease::{Kind, Lease};
use crate::once::Once;

/// What is to be closed when the interpreter ends.
static OPEN: Mutex<Vec<Weak<Core>>> = Mutex::new(Vec::new());

/// The clients that somebody still has, or a lock or a lease of.
pub(crate) fn open() -> Vec<Arc<Core>> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|client| client.strong_count() > 0);
    open.iter().filter_map(Weak::upgrade).collect()
}

#[pyclass(frozen, subclass, weakref, module = "leasehold._leasehold")]
pub(crate) struct Client(Arc<Core>);

#[pymethods]
impl Client {
    #[new]
    #[pyo3(
        signature = (
            url=Url("sqlite:".to_owned()), *, ttl=None, delay=None, wait=None, max_hold=None, label=None
        ),
        text_signature = "(url='sqlite:', *, ttl=None, delay=None, wait=None, max_hold=None, label=None)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        url: Url,
        ttl: Option<&Bound<'_, PyAny>>,
        delay: Option<&Bound<'_, PyAny>>,
        wait: Option<&Bound<'_, PyAny>>,
        max_hold: Option<&Bound<'_, PyAny>>,
        label: Option<&Bound<'_, PyString>>,
    ) -> PyResult<Self> {
        let _visit = Visit::begin(py);
        let label = label.map(|label| text_of("label", label)).transpose()?;
        let (ttl, wait) = (span("ttl", ttl)?, span("wait", wait)?);
        let (delay, max_hold) = (span("delay", delay)?, span("max_hold", max_hold)?);
        let options = with!(Options::new(), ttl, delay, wait, max_hold, label);
        let core = options.client(&url.0).map_err(|e| error::exception(py, &e))?;
        let client = Self(Arc::new(core));
        drop(open());
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&client.0));
        Ok(client)
    }

    /// One, or several that are taken together.
    #[pyo3(signature = (
        names, ttl, delay, wait, max_hold, min_hold, auto_renew, shared, permits, label, is_group
    ))]
    #[allow(clippy::too_many_arguments)]
    fn _lock(
        &self,
        py: Python<'_>,
        names: Vec<Bound<'_, PyString>>,
        ttl: Option<&Bound<'_, PyAny>>,
        delay: Option<&Bound<'_, PyAny>>,
        wait: Option<&Bound<'_, PyAny>>,
        max_hold: Option<&Bound<'_, PyAny>>,
        min_hold: Option<&Bound<'_, PyAny>>,
        auto_renew: &Bound<'_, PyAny>,
        shared: &Bound<'_, PyAny>,
        permits: Option<&Bound<'_, PyAny>>,
        label: Option<&Bound<'_, PyString>>,
        is_group: bool,
    ) -> PyResult<Lock> {
        let _visit = Visit::begin(py);
        let (ttl, wait) = (span("ttl", ttl)?, span("wait", wait)?);
        let (delay, max_hold) = (span("delay", delay)?, span("max_hold", max_hold)?);
        let min_hold = span("min_hold", min_hold)?;
        let names = names.iter().map(|name| text_of("lock's name", name));
        let names = names.collect::<PyResult<Vec<_>>>()?;
        let label = label.map(|label| text_of("label", label)).transpose()?;
        let permits = permits.map(count_of_permits).transpose()?;
        let locks = self.0.locks(names).auto_renew(flag("auto_renew", auto_renew)?);
        let locks = if flag("shared", shared)? { locks.shared() } else { locks };
        let locks = with!(locks, ttl, delay, wait, max_hold, min_hold, permits, label);
        locks.check().map_err(|e| error::exception(py, &e))?;
        let kind = if is_group { Kind::Group } else { Kind::One };
        Ok(Lock::new(locks, kind, self.0.clone()))
    }

    #[pyo3(signature = (name, value, ttl, delay, wait, max_hold))]
    #[allow(clippy::too_many_arguments)]
    fn _election(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyString>,
        value: Option<&Bound<'_, PyString>>,
        ttl: Option<&Bound<'_, PyAny>>,
        delay: Option<&Bound<'_, PyAny>>,
        wait: Option<&Bound<'_, PyAny>>,
        max_hold: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Election> {
        let _visit = Visit::begin(py);
        let (ttl, wait) = (span("ttl", ttl)?, span("wait", wait)?);
        let (delay, max_hold) = (span("delay", delay)?, span("max_hold", max_hold)?);
        let value = value.map(|value| text_of("value", value)).transpose()?;
        let election = self.0.election(text_of("election's name", name)?);
        let election = with!(election, value, ttl, delay, wait, max_hold);
        election.check().map_err(|e| error::exception(py, &e))?;
        Ok(Election::new(election, self.0.clone()))
    }

    /// Work that is done once per interval.
    #[pyo3(signature = (name, every, slot, ttl, delay, max_hold, label))]
    #[allow(clippy::too_many_arguments)]
    fn _once(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyString>,
        every: Option<&Bound<'_, PyAny>>,
        slot: Option<&Bound<'_, PyString>>,
        ttl: Option<&Bound<'_, PyAny>>,
        delay: Option<&Bound<'_, PyAny>>,
        max_hold: Option<&Bound<'_, PyAny>>,
        label: Option<&Bound<'_, PyString>>,
    ) -> PyResult<Once> {
        let _visit = Visit::begin(py);
        let (every, ttl) = (span("every", every)?, span("ttl", ttl)?);
        let (delay, max_hold) = (span("delay", delay)?, span("max_hold", max_hold)?);
        let name = text_of("lock's name", name)?;
        let slot = slot.map(|slot| text_of("slot", slot)).transpose()?;
        let label = label.map(|label| text_of("label", label)).transpose()?;
        let once = with!(self.0.once(&name), every, slot, ttl, delay, max_hold, label);
        once.check().map_err(|e| error::exception(py, &e))?;
        Ok(Once::new(once, name, self.0.clone()))
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

    fn _status(&self, name: &Bound<'_, PyString>) -> PyResult<Call> {
        let (core, name) = (self.0.clone(), text_of("lock's name", name)?);
        Ok(Call::new(async move {
            let status = core.status(&name).await?;
            Ok(Answer::Statuses(status.into_iter().collect()))
        }))
    }

    fn _deadlocks(&self) -> Call {
        let core = self.0.clone();
        Call::new(async move { core.deadlocks().await.map(Answer::Deadlocks) })
    }

    fn _break_lock(&self, name: &Bound<'_, PyString>) -> PyResult<Call> {
        let (core, name) = (self.0.clone(), text_of("lock's name", name)?);
        Ok(Call::new(async move { core.break_lock(&name).await.map(Answer::Flag) }))
    }

    fn _adopt(
        &self,
        ticket: &Bound<'_, PyString>,
        name: Option<&Bound<'_, PyString>>,
    ) -> PyResult<Call> {
        let name = name.map(|name| text_of("lock's name", name)).transpose()?;
        let (core, ticket) = (self.0.clone(), text_of("ticket", ticket)?);
        Ok(Call::new(async move {
            let lease = match name {
                Some(name) => core.lock(name).adopt(&ticket).await?,
                None => core.adopt(&ticket).await?,
            };
            Ok(Answer::Lease(Some(Lease::new(lease.into(), Kind::One, core))))
        }))
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
    locks: leasehold::Locks,
    kind: Kind,
    client: Arc<Core>,
    pub(crate) blocks: Blocks,
}

impl Lock {
    /// Asked by a task, if that is known; see `_host.py`.
    pub(crate) fn acquire(&self, timeout: Option<&Bound<'_, PyAny>>, task: u64) -> PyResult<Call> {
        let (wait, client) = (span("timeout", timeout)?, self.client.clone());
        let (locks, kind) = (with!(self.locks.clone(), wait).asked_by(&[task]), self.kind);
        Ok(Call::new(async move {
            let leases = locks.acquire().await?;
            Ok(Answer::Lease(Some(Lease::new(leases, kind, client))))
        }))
    }

    pub(crate) fn new(locks: leasehold::Locks, kind: Kind, client: Arc<Core>) -> Self {
        Self { locks, kind, client, blocks: Blocks::default() }
    }
}

#[pymethods]
impl Lock {
    /// The same lock, for the class that is made of this one.
    #[new]
    fn of(lock: &Lock) -> Self {
        lock.clone()
    }

    /// The lock's name; of several, all of them.
    #[getter]
    fn name(&self) -> String {
        self.locks.names().join(", ")
    }

    #[getter]
    fn _names(&self) -> Vec<String> {
        self.locks.names().to_vec()
    }

    fn _acquire(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Call> {
        self.acquire(timeout, host!(py, "task")?.call0()?.extract()?)
    }

    fn _try_acquire(&self) -> Call {
        let (locks, client, kind) = (self.locks.clone(), self.client.clone(), self.kind);
        Call::new(async move {
            let leases = locks.try_acquire().await?;
            Ok(Answer::Lease(leases.map(|leases| Lease::new(leases, kind, client))))
        })
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
