//! What every handle of a client holds on to, and where its engine is: there is
//! one in each process that uses the client, made when it is first needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::event::Telling;
use crate::runtime::Runtime;
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
}

impl Home {
    fn new(process: u32, telling: Arc<Telling>) -> Arc<Self> {
        Arc::new(Self {
            process,
            engine: OnceLock::new(),
            attempt: Mutex::default(),
            is_closed: AtomicBool::new(false),
            telling,
            fork: OnceLock::new(),
        })
    }

    /// The attempt to wait for; `None` if one has just succeeded.
    fn attempt(
        self: &Arc<Self>,
        target: &Arc<Target>,
        is_forked: bool,
    ) -> Result<Option<Attempt>, Error> {
        let mut attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        if attempt.is_some() || self.engine.get().is_some() {
            return Ok(attempt.clone());
        }
        let (tell, failed) = watch::channel(None);
        let new = Attempt { runtime: target.runtime(is_forked)?, failed };
        let (home, target, runtime) = (self.clone(), target.clone(), new.runtime.clone());
        new.runtime.spawn(Box::pin(async move {
            let opened = target.open(runtime, home.telling.clone()).await;
            let failed = match opened {
                Ok(engine) => {
                    home.settle(engine).await;
                    None
                }
                Err(error) => Some(Arc::new(error)),
            };
            // The next who asks tries again.
            home.attempt.lock().unwrap_or_else(PoisonError::into_inner).take();
            tell.send_replace(failed);
        }));
        Ok(Some(attempt.insert(new).clone()))
    }

    async fn settle(&self, engine: Arc<Engine>) {
        let engine = self.engine.get_or_init(|| engine);
        // Closed, or dropped, in the meantime.
        if self.is_closed.load(Ordering::SeqCst) {
            engine.close().await;
            engine.stop();
        }
    }
}

impl Anchor {
    /// Of a client that connects when it is used.
    pub(crate) fn to(target: Target) -> Self {
        Self::new(Some(Arc::new(target)), Telling::new())
    }

    /// Of a client that is connected, and cannot do it again.
    pub(crate) fn of(engine: Arc<Engine>, telling: Arc<Telling>) -> Self {
        let anchor = Self::new(None, telling);
        let _ = anchor.home.engine.set(engine);
        anchor
    }

    fn new(target: Option<Arc<Target>>, telling: Arc<Telling>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { host, target, home: Home::new(std::process::id(), telling) }
    }

    /// The engine of this process, connected now if need be, for no longer than
    /// the limit.
    ///
    /// Cancel safety: dropped midway, it is connected in the background.
    pub(crate) async fn engine(&self, limit: Option<Duration>) -> Result<&Arc<Engine>, Error> {
        let home = self.home();
        let none = || Error::new(Kind::Internal, "a client without an engine");
        let (Some(target), None) = (&self.target, home.engine.get()) else {
            // One that cannot be made anew tells itself that it is another process's.
            return home.engine.get().ok_or_else(none);
        };
        if home.is_closed.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Closed, "this client was closed; connect again"));
        }
        let is_forked = home.process != self.home.process;
        let Some(Attempt { runtime, mut failed }) = home.attempt(target, is_forked)? else {
            return home.engine.get().ok_or_else(none);
        };
        let connected = async {
            // It ends by telling, or with its runtime.
            drop(failed.changed().await);
            match (home.engine.get(), &*failed.borrow()) {
                (Some(engine), _) => Ok(engine),
                (None, Some(error)) => Err(error.again()),
                (None, None) => Err(Error::unavailable("the client's thread has ended")),
            }
        };
        let Some(limit) = limit else { return connected.await };
        tokio::select! {
            biased;
            connected = connected => connected,
            () = runtime.sleep(limit) => {
                let message = format!("{}: not connected within {limit:?}", target.scheme());
                Err(Error::unavailable(message))
            }
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
        let home = self.home();
        home.is_closed.store(true, Ordering::SeqCst);
        if let Some(engine) = home.engine.get() {
            engine.close().await;
        }
        home.telling.end();
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
