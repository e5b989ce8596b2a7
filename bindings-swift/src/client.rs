//! The core's client and lock, as calls. The types in `Sources/Leasehold` are
//! made of these, and wait for the calls.

use std::sync::Arc;

use leasehold::runtime::ThreadRuntime;
use leasehold::{Error, Options, Run};

use crate::calls::{Answer, Cancel, Reply, start};
use crate::election::{Election, election};
use crate::lease::Lease;
use crate::values::{Failure, Settings, nanos, span, with};

#[derive(uniffi::Object)]
pub struct Client {
    core: leasehold::Client,
    runtime: Arc<ThreadRuntime>,
}

/// Connect to the backend that the URL names.
#[uniffi::export]
pub(crate) fn open(url: String, settings: Settings, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
    let runtime = match ThreadRuntime::start() {
        Ok(runtime) => runtime,
        Err(error) => return reply.done(Answer::Failed { failure: error.into() }),
    };
    cancel.start(&runtime.clone(), reply, async move {
        ignore_broken_pipes();
        let options = Options::new().runtime(runtime.clone());
        let core = with!(options, settings, label).client(&url)?;
        core.connect().await?;
        Ok(Answer::Client { value: Arc::new(Client { core, runtime }) })
    });
}

/// Whoever writes to a connection that was cut gets an error, and SIGPIPE, of which a
/// Swift program dies. Every connection is written to by its client's thread, so it is
/// enough, and nobody else's business, to have none in that.
#[allow(unsafe_code)] // there is no safe way to it
fn ignore_broken_pipes() {
    // SAFETY: the set is initialised before it is used, and only this thread changes.
    unsafe {
        let mut pipe = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut pipe);
        libc::sigaddset(&mut pipe, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &pipe, std::ptr::null_mut());
    }
}

#[uniffi::export]
impl Client {
    /// One, or several that are taken together.
    pub fn lock(&self, names: Vec<String>, settings: Settings) -> Lock {
        let (core, runtime) = (self.core.clone(), self.runtime.clone());
        Lock { core, runtime, names, settings, is_election: false }
    }

    pub fn election(&self, name: String, settings: Settings) -> Election {
        Election::new(self.core.clone(), self.runtime.clone(), name, settings)
    }

    /// Work that is done once per interval.
    pub fn once(
        &self,
        name: String,
        every: Option<i64>,
        slot: Option<String>,
        settings: Settings,
    ) -> Once {
        Once { core: self.core.clone(), runtime: self.runtime.clone(), name, every, slot, settings }
    }

    pub fn backend(&self) -> String {
        self.core.backend().to_owned()
    }

    pub fn caveats(&self) -> Vec<String> {
        self.core.caveats()
    }

    pub fn list(self: Arc<Self>, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        cancel.start(
            &self.runtime.clone(),
            reply,
            async move { Ok(statuses(self.core.list().await?)) },
        );
    }

    /// Answers a list of one, or of none.
    pub fn status(self: Arc<Self>, name: String, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        cancel.start(&self.runtime.clone(), reply, async move {
            Ok(statuses(self.core.status(&name).await?))
        });
    }

    pub fn deadlocks(self: Arc<Self>, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        cancel.start(&self.runtime.clone(), reply, async move {
            let all = self.core.deadlocks().await?;
            Ok(Answer::Deadlocks { value: all.into_iter().map(Into::into).collect() })
        });
    }

    pub fn break_lock(self: Arc<Self>, name: String, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        cancel.start(&self.runtime.clone(), reply, async move {
            Ok(Answer::Flag { value: self.core.break_lock(&name).await? })
        });
    }

    pub fn adopt(
        self: Arc<Self>,
        ticket: String,
        name: Option<String>,
        cancel: Arc<Cancel>,
        reply: Box<dyn Reply>,
    ) {
        cancel.start(&self.runtime.clone(), reply, async move {
            let lease = match name {
                Some(name) => self.core.lock(name).adopt(&ticket).await?,
                None => self.core.adopt(&ticket).await?,
            };
            let (leases, runtime) = (lease.into(), self.runtime.clone());
            Ok(Answer::Lease { value: Some(Lease::new(leases, runtime)) })
        });
    }

    pub fn events(&self) -> Events {
        Events { events: Arc::new(self.core.events()), runtime: self.runtime.clone() }
    }

    /// `close` is a word of uniffi's own.
    pub fn shutdown(self: Arc<Self>, reply: Box<dyn Reply>) {
        start(&self.runtime.clone(), reply, async move {
            self.core.close().await;
            self.runtime.stop();
            Ok(Answer::Nothing)
        });
    }
}

fn statuses(all: impl IntoIterator<Item = leasehold::Status>) -> Answer {
    Answer::Statuses { value: all.into_iter().map(Into::into).collect() }
}

#[derive(uniffi::Object)]
pub struct Lock {
    core: leasehold::Client,
    runtime: Arc<ThreadRuntime>,
    names: Vec<String>,
    settings: Settings,
    /// To take it is to campaign.
    is_election: bool,
}

#[uniffi::export]
impl Lock {
    /// What is wrong with its name or options.
    pub fn check(&self) -> Option<Failure> {
        self.plan().and_then(|locks| locks.check()).err().map(Failure::from)
    }

    /// The timeout stands for the lock's `wait`, and the tasks for who asks.
    pub fn acquire(
        self: Arc<Self>,
        timeout: Option<i64>,
        tasks: Vec<u64>,
        cancel: Arc<Cancel>,
        reply: Box<dyn Reply>,
    ) {
        cancel.start(&self.runtime.clone(), reply, async move {
            let mut lock = self.plan()?.asked_by(&tasks);
            if let Some(timeout) = timeout {
                lock = lock.wait(span("timeout", timeout)?);
            }
            Ok(self.taken(Some(lock.acquire().await?)))
        });
    }

    /// Answers no lease when it is busy.
    pub fn try_acquire(self: Arc<Self>, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        cancel.start(&self.runtime.clone(), reply, async move {
            let lease = self.plan()?.try_acquire().await?;
            Ok(self.taken(lease))
        });
    }
}

impl Lock {
    /// To take it is to campaign.
    pub(crate) fn of_election(
        core: leasehold::Client,
        runtime: Arc<ThreadRuntime>,
        name: String,
        settings: Settings,
    ) -> Self {
        Self { core, runtime, names: vec![name], settings, is_election: true }
    }

    fn plan(&self) -> Result<leasehold::Locks, Error> {
        let settings = self.settings.clone();
        if self.is_election {
            return Ok(election(&self.core, &self.names.concat(), settings)?.locks());
        }
        let locks = self.core.locks(&self.names);
        let locks = if settings.shared == Some(true) { locks.shared() } else { locks };
        let min_hold = settings.min_hold.map(|least| span("min_hold", least)).transpose()?;
        let locks = min_hold.map_or(locks.clone(), |least| locks.min_hold(least));
        Ok(with!(locks, settings, auto_renew, permits, label))
    }

    fn taken(&self, leases: Option<leasehold::Leases>) -> Answer {
        let runtime = self.runtime.clone();
        Answer::Lease { value: leases.map(|leases| Lease::new(leases, runtime)) }
    }
}

#[derive(uniffi::Object)]
pub struct Once {
    core: leasehold::Client,
    runtime: Arc<ThreadRuntime>,
    name: String,
    every: Option<i64>,
    slot: Option<String>,
    settings: Settings,
}

#[uniffi::export]
impl Once {
    /// Answers a lease, or why it is skipped.
    pub fn begin(self: Arc<Self>, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        cancel.start(&self.runtime.clone(), reply, async move {
            Ok(match self.plan()?.begin().await? {
                Run::Ran(leases) => {
                    let runtime = self.runtime.clone();
                    Answer::Lease { value: Some(Lease::new(leases, runtime)) }
                }
                Run::Skipped { why, next_in } => {
                    Answer::Skipped { why: why.code().to_owned(), next_in: nanos(next_in) }
                }
            })
        });
    }
}

impl Once {
    fn plan(&self) -> Result<leasehold::Once, Error> {
        let mut once = self.core.once(&self.name);
        if let Some(every) = self.every {
            once = once.every(span("every", every)?);
        }
        if let Some(slot) = &self.slot {
            once = once.slot(slot);
        }
        if let Some(ttl) = self.settings.ttl {
            once = once.ttl(span("ttl", ttl)?);
        }
        if let Some(delay) = self.settings.delay {
            once = once.delay(span("delay", delay)?);
        }
        if let Some(most) = self.settings.max_hold {
            once = once.max_hold(span("max_hold", most)?);
        }
        if let Some(label) = &self.settings.label {
            once = once.label(label);
        }
        Ok(once)
    }
}

#[derive(uniffi::Object)]
pub struct Events {
    events: Arc<leasehold::Events>,
    runtime: Arc<ThreadRuntime>,
}

#[uniffi::export]
impl Events {
    /// Answers nothing when the client is closed.
    pub fn next(&self, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        let events = self.events.clone();
        let work = async move { Ok(Answer::Event { value: events.next().await.map(Into::into) }) };
        cancel.start(&self.runtime, reply, work);
    }
}
