//! What every handle of a client holds on to, and where its engine is: there is
//! one in each process that uses the client, made when it is first needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::target::Target;

/// When the last handle is gone, the engine stops.
pub(crate) struct Anchor {
    host: String,
    target: Option<Target>,
    home: Home,
}

/// The engine of one process.
struct Home {
    process: u32,
    engine: OnceLock<Arc<Engine>>,
    /// Held by whoever makes the engine.
    opening: tokio::sync::Mutex<()>,
    is_closed: AtomicBool,
    /// In a fork of that process, which must not touch what is above: its
    /// threads, connections and locked mutexes stayed behind.
    fork: OnceLock<Box<Home>>,
}

impl Home {
    fn new(process: u32) -> Self {
        Self {
            process,
            engine: OnceLock::new(),
            opening: tokio::sync::Mutex::default(),
            is_closed: AtomicBool::new(false),
            fork: OnceLock::new(),
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        match self.is_closed.load(Ordering::SeqCst) {
            true => Err(Error::new(Kind::Closed, "this client was closed; connect again")),
            false => Ok(()),
        }
    }
}

impl Anchor {
    /// Of a client that connects when it is used.
    pub(crate) fn to(target: Target) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { host, target: Some(target), home: Home::new(std::process::id()) }
    }

    /// Of a client that is connected, and cannot do it again.
    pub(crate) fn of(engine: Arc<Engine>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let anchor = Self { host, target: None, home: Home::new(std::process::id()) };
        let _ = anchor.home.engine.set(engine);
        anchor
    }

    /// The engine of this process, connected now if need be.
    ///
    /// Cancel safety: dropped midway, the next who asks connects.
    pub(crate) async fn engine(&self) -> Result<&Arc<Engine>, Error> {
        let home = self.home();
        let (Some(target), None) = (&self.target, home.engine.get()) else {
            // One that cannot be made anew tells itself that it is another process's.
            let none = || Error::new(Kind::Internal, "a client without an engine");
            return home.engine.get().ok_or_else(none);
        };
        let _others_wait = home.opening.lock().await;
        home.check_open()?;
        if home.engine.get().is_none() {
            let engine = target.open(home.process != self.home.process).await?;
            let engine = home.engine.get_or_init(|| engine);
            // Closed in the meantime.
            if home.check_open().is_err() {
                engine.close().await;
            }
        }
        home.engine.get().ok_or_else(|| Error::new(Kind::Internal, "the engine is gone"))
    }

    /// The engine of this process, if it is connected.
    pub(crate) fn connected(&self) -> Option<&Arc<Engine>> {
        self.home().engine.get()
    }

    pub(crate) fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    pub(crate) async fn close(&self) {
        let home = self.home();
        home.is_closed.store(true, Ordering::SeqCst);
        if let Some(engine) = home.engine.get() {
            engine.close().await;
        }
    }

    /// Host and process id, and the user's own words.
    pub(crate) fn label(&self, text: &str) -> Arc<str> {
        let who = format!("{}:{}", self.host, std::process::id());
        match text {
            "" => who.into(),
            text => format!("{who} {text}").into(),
        }
    }

    fn home(&self) -> &Home {
        let process = std::process::id();
        let mut home = &self.home;
        while home.process != process && self.target.is_some() {
            home = home.fork.get_or_init(|| Box::new(Home::new(process)));
        }
        home
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        let mut home = Some(&self.home);
        while let Some(Home { engine, fork, .. }) = home {
            match engine.get() {
                // The connections of another process must not be closed from here.
                Some(engine) if engine.is_foreign() => std::mem::forget(engine.clone()),
                Some(engine) => engine.stop(),
                None => {}
            }
            home = fork.get().map(|fork| &**fork);
        }
    }
}
