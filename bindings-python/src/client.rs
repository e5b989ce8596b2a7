//! The core's client, lock and lease, as calls. The classes in `python/leasehold`
//! are made of these, and say how the calls are waited for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use leasehold::{Client as Core, Error, Kind as ErrorKind, Options, Run};
use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyString};

use crate::block::Blocks;
use crate::call::{Answer, Call};
use crate::error;
use crate::exit::Visit;

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
        Ok(Lock { locks, kind, client: self.0.clone(), blocks: Blocks::default() })
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
        Ok(Election { election, client: self.0.clone() })
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
        Ok(Once { once, name, client: self.0.clone() })
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
            let leases = Arc::new(lease.into());
            Ok(Answer::Lease(Some(Lease { leases, kind: Kind::One, _client: core })))
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

/// As what users have a lease.
#[derive(Clone, Copy)]
enum Kind {
    One,
    /// Of several, though that may be one.
    Group,
    /// Of an election.
    Term,
}

#[pyclass(frozen, subclass, weakref, module = "leasehold._leasehold")]
#[derive(Clone)]
pub(crate) struct Lock {
    locks: leasehold::Locks,
    kind: Kind,
    client: Arc<Core>,
    pub(crate) blocks: Blocks,
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

    pub(crate) fn _acquire(&self, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Call> {
        let (wait, client) = (span("timeout", timeout)?, self.client.clone());
        let (locks, kind) = (with!(self.locks.clone(), wait), self.kind);
        Ok(Call::new(async move {
            let leases = Arc::new(locks.acquire().await?);
            Ok(Answer::Lease(Some(Lease { leases, kind, _client: client })))
        }))
    }

    fn _try_acquire(&self) -> Call {
        let (locks, client, kind) = (self.locks.clone(), self.client.clone(), self.kind);
        Call::new(async move {
            let leases = locks.try_acquire().await?.map(Arc::new);
            Ok(Answer::Lease(leases.map(|leases| Lease { leases, kind, _client: client })))
        })
    }
}

#[pyclass(frozen, subclass, module = "leasehold._leasehold")]
#[derive(Clone)]
pub(crate) struct Once {
    once: leasehold::Once,
    name: String,
    client: Arc<Core>,
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

    /// Answers the lease, or why it is skipped and when to try again.
    fn _begin(&self) -> Call {
        let (once, client) = (self.once.clone(), self.client.clone());
        Call::new(async move {
            Ok(match once.begin().await? {
                Run::Ran(leases) => {
                    let leases = Arc::new(leases);
                    Answer::Lease(Some(Lease { leases, kind: Kind::One, _client: client }))
                }
                Run::Skipped { why, next_in } => Answer::Skipped(why, next_in),
            })
        })
    }
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

    /// With etcd: the key whose create_revision is the fence.
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

    fn _finish(&self) -> Call {
        let leases = self.leases.clone();
        Call::new(async move { leases.finish().await.map(|()| Answer::Nothing) })
    }
}

#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Election {
    election: leasehold::Election,
    client: Arc<Core>,
}

#[pymethods]
impl Election {
    /// What is taken to campaign.
    fn campaign(&self) -> Lock {
        let (locks, client) = (self.election.locks(), self.client.clone());
        Lock { locks, kind: Kind::Term, client, blocks: Blocks::default() }
    }

    fn leader(&self) -> Call {
        let election = self.election.clone();
        Call::new(async move { election.leader().await.map(Answer::Leader) })
    }

    fn observe(&self) -> Leaders {
        Leaders { leaders: Arc::new(self.election.observe()), _client: self.client.clone() }
    }
}

/// Who leads, one after the other.
#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Leaders {
    leaders: Arc<leasehold::Leaders>,
    _client: Arc<Core>,
}

#[pymethods]
impl Leaders {
    /// Wait for the next; None when nobody leads.
    fn next(&self) -> Call {
        let leaders = self.leaders.clone();
        Call::new(async move { leaders.next().await.map(Answer::Leader) })
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

/// A name or a label. Python's text may hold what no other language can: halves of
/// characters, as `os.fsdecode` makes them of bytes that are not UTF-8.
fn text_of(what: &str, text: &Bound<'_, PyString>) -> PyResult<String> {
    text.to_str().map(str::to_owned).or_else(|_| {
        // As an ASCII literal, which has them escaped.
        let shown = text.repr()?.to_string();
        let message = format!(
            "a {what} is text that can be written as UTF-8, not {shown}; decode the bytes \
             that it comes from otherwise, or use their hex()"
        );
        Err(error::exception(text.py(), &Error::new(ErrorKind::Invalid, message)))
    })
}

/// It is not shown: it may hold a password.
struct Url(String);

impl<'py> FromPyObject<'_, 'py> for Url {
    type Error = PyErr;

    fn extract(url: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        url.cast::<PyString>()?.to_str().map(|url| Self(url.to_owned())).map_err(|_| {
            let message = "the URL holds halves of characters (from \\ud800 to \\udfff), which cannot \
                           be written as UTF-8; in a password, bytes are written as %XX, and the \
                           path of a file must be UTF-8";
            error::exception(url.py(), &Error::new(ErrorKind::Invalid, message))
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
            Err(error::exception(value.py(), &Error::new(ErrorKind::Invalid, message)))
        }
    }
}

/// Nothing but a flag: a number, or a text such as "no", is taken for none.
fn flag(what: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value
        .extract()
        .map_err(|_: PyErr| PyTypeError::new_err(format!("{what} is True or False, not {value:?}")))
}

/// A number that can be one of permits; the core knows how many there can be.
fn count_of_permits(value: &Bound<'_, PyAny>) -> PyResult<u32> {
    match value.extract() {
        Ok(permits) if !value.is_instance_of::<PyBool>() => Ok(permits),
        _ => {
            let message = format!("permits is a whole number from 1 to 1000, not {value:?}");
            Err(error::exception(value.py(), &Error::new(ErrorKind::Invalid, message)))
        }
    }
}

fn span(what: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    let seconds = seconds(what, value)?;
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|e| {
        let message = format!("{what} must be a time in seconds, not {seconds}");
        error::exception(value.py(), &Error::new(ErrorKind::Invalid, message).because(e))
    })
}
