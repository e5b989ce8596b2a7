//! What every handle of a client holds on to, and where its engine is: there is
//! one in each process that uses the client, made when it is first needed.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::engine::{Engine, backoff, part};
use crate::error::{Error, Kind};
use crate::event::Telling;
use crate::runtime::{Runtime, ThreadRuntime};
use crate::target::Target;

/// When the last handle is gone, the engine stops.
pub(crate) struct Anchor {
    host: String,
    target: Option<Arc<Target>>,
    home: Arc<Home>,
}

/// The engine of one process.
struct Home {
    process: u32,
    engine: OnceLock<Arc<Engine>>,
    /// The attempt to make it that is under way.
    attempt: Mutex<Option<Attempt>>,
    /// How many attempts have failed in a row.
    failures: AtomicU32,
    /// What the engine runs on, if nobody else does.
    thread: Mutex<Weak<ThreadRuntime>>,
    is_closed: AtomicBool,
    telling: Arc<Telling>,
    /// In a fork of that process, which must not touch what is above: its
    /// threads, connections and locked mutexes stayed behind.
    fork: OnceLock<Arc<Home>>,
}

/// It goes on in the background, whoever waits for it or gives up: one who began
/// it and stands still must not keep the others.
#[derive(Clone)]
struct Attempt {
    runtime: Arc<dyn Runtime>,
    failed: watch::Receiver<Option<Arc<Error>>>,
    /// Rung when it is not to pause before it begins.
    hurry: Arc<Notify>,
}

/// Tells what came of an attempt, however it ends.
struct Report {
    home: Arc<Home>,
    tell: watch::Sender<Option<Arc<Error>>>,
    failed: Option<Error>,
}

impl Drop for Report {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message = "the client panicked while it connected; please report this as a bug";
            self.failed = Some(Error::new(Kind::Internal, message));
        }
        let mut attempt = self.home.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        // The next who asks tries again.
        attempt.take();
        if self.failed.is_none() {
            self.home.failures.store(0, Ordering::Relaxed);
        }
        self.tell.send_replace(self.failed.take().map(Arc::new));
    }
}

impl Home {
    fn new(process: u32, telling: Arc<Telling>) -> Arc<Self> {
        Arc::new(Self {
            process,
            engine: OnceLock::new(),
            attempt: Mutex::default(),
            failures: AtomicU32::new(0),
            thread: Mutex::default(),
            is_closed: AtomicBool::new(false),
            telling,
            fork: OnceLock::new(),
        })
    }

    /// The attempt to wait for; `None` if one has just succeeded. Who has waited
    /// for one that failed does not begin the next at once; who comes does.
    fn attempt(
        self: &Arc<Self>,
        target: &Arc<Target>,
        is_forked: bool,
        failed: Option<Attempt>,
    ) -> Result<Option<Attempt>, Error> {
        let mut attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        if attempt.is_some() || self.engine.get().is_some() {
            if failed.is_none() {
                attempt.iter().for_each(|attempt| attempt.hurry.notify_one());
            }
            return Ok(attempt.clone());
        }
        let pause = match &failed {
            Some(_) => backoff(self.failures.fetch_add(1, Ordering::Relaxed)),
            None => Duration::ZERO,
        };
        let runtime = match failed {
            Some(failed) => failed.runtime,
            None => {
                let (runtime, thread) = target.runtime(is_forked)?;
                self.set_thread(thread);
                runtime
            }
        };
        let (tell, failed) = watch::channel(None);
        let new = Attempt { runtime: runtime.clone(), failed, hurry: Arc::default() };
        *attempt = Some(new.clone());
        // A runtime that has ended drops what it is to do, and so reports here.
        drop(attempt);
        let (home, target, hurry) = (self.clone(), target.clone(), new.hurry.clone());
        let report = Report { home: self.clone(), tell, failed: None };
        new.runtime.spawn(Box::pin(async move {
            // All of it, to be told when this ends.
            let mut report = report;
            if !pause.is_zero() {
                tokio::select! {
                    biased;
                    () = hurry.notified() => {}
                    () = runtime.sleep(pause + part(runtime.random(), pause)) => {}
                }
            }
            match target.open(runtime, home.telling.clone()).await {
                Ok(engine) => home.settle(engine).await,
                Err(error) => report.failed = Some(error),
            }
        }));
        Ok(Some(new))
    }

    async fn settle(&self, engine: Arc<Engine>) {
        {
            let _attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
            // Who closes either finds it here, or it is nobody's.
            if !self.is_closed.load(Ordering::SeqCst) {
                let _ = self.engine.set(engine.clone());
            }
        }
        // Closed, or dropped, in the meantime.
        if self.is_closed.load(Ordering::SeqCst) {
            engine.close().await;
            // This runs on it.
            self.thread().inspect(|thread| thread.stop());
        }
    }

    fn thread(&self) -> Option<Arc<ThreadRuntime>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    fn set_thread(&self, thread: Weak<ThreadRuntime>) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = thread;
    }

    /// Give everything back, the thread and the connections too.
    async fn close(&self) {
        let is_here = self.process == std::process::id();
        let attempt = is_here.then(|| self.attempt.lock().unwrap_or_else(PoisonError::into_inner));
        self.is_closed.store(true, Ordering::SeqCst);
        drop(attempt);
        if let Some(engine) = self.engine.get() {
            engine.close().await;
        }
        self.telling.end();
        if let Some(thread) = is_here.then(|| self.thread()).flatten() {
            thread.stop();
            thread.ended().await;
        }
    }
}

impl Attempt {
    /// What came of it.
    async fn ended(mut self, home: &Home) -> Result<(), Error> {
        // It ends by telling, or with its runtime.
        drop(self.failed.changed().await);
        match (home.engine.get(), &*self.failed.borrow()) {
            (Some(_), _) => Ok(()),
            (None, Some(error)) => Err(error.again()),
            (None, None) => Err(Error::unavailable("the client's thread has ended")),
        }
    }
}

impl Anchor {
    /// Of a client that connects when it is used.
    pub(crate) fn to(target: Target) -> Self {
        Self::new(Some(Arc::new(target)), Telling::new())
    }

    /// Of a client that is connected, and cannot do it again.
    pub(crate) fn of(
        engine: Arc<Engine>,
        thread: Weak<ThreadRuntime>,
        telling: Arc<Telling>,
    ) -> Self {
        let anchor = Self::new(None, telling);
        let _ = anchor.home.engine.set(engine);
        anchor.home.set_thread(thread);
        anchor
    }

    fn new(target: Option<Arc<Target>>, telling: Arc<Telling>) -> Self {
        let system = rustix::system::uname();
        // A space ends it in a label.
        let host = system.nodename().to_string_lossy().replace(char::is_whitespace, "-");
        Self { host, target, home: Home::new(std::process::id(), telling) }
    }

    /// The engine of this process, connected now if need be: tried once, and
    /// again while the backend is unavailable and the patience lasts.
    ///
    /// Cancel safety: dropped midway, it is connected in the background.
    pub(crate) async fn engine(&self, patience: Duration) -> Result<&Arc<Engine>, Error> {
        let home = self.home();
        let none = || Error::new(Kind::Internal, "a client without an engine");
        let (Some(target), None) = (&self.target, home.engine.get()) else {
            // One that cannot be made anew tells itself that it is another process's.
            return home.engine.get().ok_or_else(none);
        };
        let is_forked = home.process != self.home.process;
        let (mut until, mut last) = (None, None);
        let mut trouble: Option<Error> = None;
        loop {
            if home.is_closed.load(Ordering::SeqCst) {
                return Err(Error::new(Kind::Closed, "this client was closed; connect again"));
            }
            let before = last.take();
            let is_again = before.is_some();
            let Some(attempt) = home.attempt(target, is_forked, before)? else {
                return home.engine.get().ok_or_else(none);
            };
            let runtime = attempt.runtime.clone();
            let until = *until.get_or_insert_with(|| runtime.now() + patience);
            let connected = attempt.clone().ended(home);
            let error = tokio::select! {
                biased;
                ended = connected => match ended {
                    Ok(()) => return home.engine.get().ok_or_else(none),
                    Err(error) => error,
                },
                // The first has its own limit.
                () = async { runtime.sleep(until.since(runtime.now())).await }, if is_again => {
                    let message = format!("{}: not connected within {patience:?}", target.scheme());
                    let error = Error::unavailable(message);
                    return Err(match trouble {
                        Some(trouble) => error.because(trouble),
                        None => error,
                    });
                }
            };
            let is_closed = home.is_closed.load(Ordering::SeqCst);
            if !is_closed && (error.kind() != Kind::Unavailable || runtime.now() >= until) {
                return Err(error);
            }
            (last, trouble) = (Some(attempt), Some(error));
        }
    }

    /// The engine of this process, if it is connected.
    pub(crate) fn connected(&self) -> Option<&Arc<Engine>> {
        self.home().engine.get()
    }

    pub(crate) fn target(&self) -> Option<&Target> {
        self.target.as_deref()
    }

    pub(crate) async fn close(&self) {
        self.home().close().await;
    }

    pub(crate) fn telling(&self) -> &Telling {
        &self.home().telling
    }

    /// Host and process id, and the user's own words.
    pub(crate) fn label(&self, text: &str) -> Arc<str> {
        let who = format!("{}:{}", self.host, std::process::id());
        match text {
            "" => who.into(),
            text => format!("{who} {text}").into(),
        }
    }

    /// The user's own words of such a label.
    pub(crate) fn text_of(&self, label: &str) -> String {
        let text = label.strip_prefix(&*self.label("")).unwrap_or_default();
        text.strip_prefix(' ').unwrap_or(text).to_owned()
    }

    fn home(&self) -> &Arc<Home> {
        let process = std::process::id();
        let mut home = &self.home;
        while home.process != process && self.target.is_some() {
            home = home.fork.get_or_init(|| Home::new(process, Telling::new()));
        }
        home
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        let mut home = Some(&self.home);
        while let Some(one) = home {
            one.is_closed.store(true, Ordering::SeqCst);
            match one.engine.get() {
                // The connections of another process must not be closed from here.
                Some(engine) if engine.is_foreign() => std::mem::forget(engine.clone()),
                Some(engine) => engine.stop(),
                None => {}
            }
            home = one.fork.get();
        }
    }
}
