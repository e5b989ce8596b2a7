//! An open connection to one backend.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
use crate::backend::redis::{Address, Redis, Redlock};
use crate::backend::{Backend, Memory, Status};
use crate::engine::Engine;
use crate::error::Error;
use crate::lock::{Lock, Settings};
use crate::name::LockName;
use crate::runtime::{Runtime, ThreadRuntime};

/// Open the backend that `url` names; see [`Options::connect`].
pub async fn connect(url: &str) -> Result<Client, Error> {
    Options::new().connect(url).await
}

/// How a client is made.
#[derive(Clone, Default)]
#[must_use = "options do nothing until they connect"]
pub struct Options {
    runtime: Option<Arc<dyn Runtime>>,
    settings: Settings,
}

impl Options {
    /// The defaults: a thread of the client's own, a ttl of 10 s.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where time, timers, randomness and background tasks come from.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// The ttl of locks that do not set one; see [`Lock::ttl`].
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// The wait of locks that do not set one; see [`Lock::wait`].
    pub fn wait(mut self, wait: Duration) -> Self {
        self.settings.wait = Some(wait);
        self
    }

    /// The max_hold of locks that do not set one; see [`Lock::max_hold`].
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.settings.max_hold = Some(max_hold);
        self
    }

    /// The label of locks that do not set one; see [`Lock::label`].
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.settings.label = label.into();
        self
    }

    /// Open the backend that `url` names:
    ///
    /// * `sqlite:PATH`: a file, for the processes of one machine. The file is
    ///   made if it is missing, its directory is not.
    /// * `sqlite:`: the same, in the user's state directory. No server needed.
    /// * `redis://USER:PASSWORD@HOST:PORT/DB`: one Redis or Valkey server;
    ///   `rediss://…` encrypted, `redis+unix:///PATH?db=DB` through a socket. See
    ///   [`Redis`](crate::backend::Redis) for what it promises and its options.
    /// * `redlock://HOST:PORT,HOST:PORT,HOST:PORT`: three, five or more independent
    ///   Redis or Valkey servers, of which a majority decides; each can also be a
    ///   whole `redis://…` URL. See [`quorum`](crate::backend::quorum).
    /// * `etcd://USER:PASSWORD@HOST:PORT,HOST:PORT,HOST:PORT`: an etcd cluster;
    ///   `etcds://…` encrypted. See [`Etcd`](crate::backend::Etcd).
    /// * `memory:`: inside this client only.
    ///
    /// `ttl`, `wait`, `max_hold` and `label` can follow as a query, as in
    /// `sqlite:/var/lib/jobs.db?ttl=30s&label=importer`; they win over these
    /// options, and what a lock sets wins over both.
    ///
    /// # Errors
    /// `invalid` for a URL that cannot be read; `unavailable` when the backend
    /// cannot be opened; `refused` when what is there must not be touched.
    pub async fn connect(mut self, url: &str) -> Result<Client, Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let backend_options = self.read_query(query)?;
        let (scheme, path) = address.split_once(':').ok_or_else(|| unknown(url))?;
        #[cfg(any(feature = "sqlite", feature = "redis", feature = "etcd"))]
        let runtime = self.chosen_runtime()?;
        if let Some((option, _)) = backend_options.first()
            && matches!(scheme, "memory" | "sqlite")
        {
            return Err(Error::invalid(format!(
                "unknown option {option:?} in the URL; there are ttl, wait, max_hold, label"
            )));
        }
        match scheme {
            "memory" if !path.is_empty() => Err(Error::invalid(format!(
                "memory: is inside this client and has no name, not {path:?}"
            ))),
            "memory" => {
                self.open(Arc::new(Memory::new(Arc::new(crate::time::SystemClock)).client()))
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => {
                use crate::backend::Sqlite;
                let path = match path {
                    "" => Sqlite::default_path()?,
                    path => path.strip_prefix("//").unwrap_or(path).into(),
                };
                self.open(Arc::new(Sqlite::open(&path, runtime).await?))
            }
            #[cfg(feature = "etcd")]
            "etcd" | "etcds" => {
                use crate::backend::etcd::{Address, Etcd};
                let address = Address::parse(address, &backend_options)?;
                self.open(Arc::new(Etcd::at(address, runtime).await?))
            }
            #[cfg(feature = "redis")]
            "redlock" => {
                let nodes = Redlock::parse(path, &backend_options)?;
                self.open(Arc::new(nodes.connect(runtime).await?))
            }
            #[cfg(feature = "redis")]
            scheme if Address::SCHEMES.contains(&scheme) => {
                let address = Address::parse(address, &backend_options)?;
                self.open(Arc::new(Redis::at(address, runtime).await?))
            }
            _ => Err(unknown(url)),
        }
    }

    /// A client of a backend that is open already.
    pub fn open(mut self, backend: Arc<dyn Backend>) -> Result<Client, Error> {
        self.settings.check()?;
        let runtime = self.chosen_runtime()?;
        let engine = Engine::start(backend, runtime);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let who = format!("{host}:{}", std::process::id());
        Ok(Client { anchor: Arc::new(Anchor { engine, who }), settings: self.settings })
    }

    fn chosen_runtime(&mut self) -> Result<Arc<dyn Runtime>, Error> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => ThreadRuntime::start()?,
        };
        Ok(self.runtime.insert(runtime).clone())
    }

    /// Take what is ours, and answer the rest, which is the backend's.
    fn read_query(&mut self, query: &str) -> Result<Vec<(String, String)>, Error> {
        let mut rest = Vec::new();
        for (option, value) in form_urlencoded::parse(query.as_bytes()) {
            let span = || {
                humantime::parse_duration(&value).map_err(|e| {
                    let message = format!("{option}={value} in the URL is not a time such as 30s");
                    Error::invalid(message).because(e)
                })
            };
            match &*option {
                "ttl" => self.settings.ttl = span()?,
                "wait" => self.settings.wait = Some(span()?),
                "max_hold" => self.settings.max_hold = Some(span()?),
                "label" => self.settings.label = value.into_owned(),
                _ => rest.push((option.into_owned(), value.into_owned())),
            }
        }
        self.settings.check()?;
        Ok(rest)
    }
}

/// Of a URL it names only the scheme: what follows may hold a password.
fn unknown(url: &str) -> Error {
    let known = "there are redis://HOST, rediss://HOST, redlock://HOST,HOST,HOST, \
                 etcd://HOST,HOST,HOST, etcds://HOST, sqlite:PATH, sqlite: and memory:";
    match url.split_once(':') {
        Some((scheme, _)) => Error::invalid(format!("no backend is called {scheme:?}; {known}")),
        None => Error::invalid(format!("{url:?} names no backend, it has no scheme; {known}")),
    }
}

/// An open connection to one backend. Clones are the same client.
///
/// It has a thread of its own for renewals and clean-up, which ends when the
/// last clone, lock and lease are gone and what was to be cleaned up is.
#[derive(Clone)]
pub struct Client {
    anchor: Arc<Anchor>,
    settings: Settings,
}

impl Client {
    /// The lock of this name: 1 to 1024 bytes without NUL.
    pub fn lock(&self, name: impl Into<String>) -> Lock {
        Lock::new(self.anchor.clone(), name.into(), self.settings.clone())
    }

    /// The locks that are held or waited for, by name.
    ///
    /// # Errors
    /// `unavailable` when the backend cannot be asked.
    pub async fn list(&self) -> Result<Vec<Status>, Error> {
        self.anchor.engine.check_open()?;
        self.anchor.engine.backend().inspect(None).await
    }

    /// Who holds and who waits for one lock; `None` when nobody does.
    ///
    /// # Errors
    /// As [`list`](Client::list), and `invalid` for a bad name.
    pub async fn status(&self, name: &str) -> Result<Option<Status>, Error> {
        self.anchor.engine.check_open()?;
        let name = LockName::new(name)?;
        Ok(self.anchor.engine.backend().inspect(Some(&name)).await?.pop())
    }

    /// Take the lock from whoever holds it; answers whether somebody did. The
    /// holder's lease is lost at once where the backend can tell it, else
    /// within a third of its ttl; until its work has stopped, two may be at
    /// work, and only their fences tell them apart.
    ///
    /// # Errors
    /// As [`status`](Client::status).
    pub async fn break_lock(&self, name: &str) -> Result<bool, Error> {
        self.anchor.engine.check_open()?;
        self.anchor.engine.backend().evict(&LockName::new(name)?).await
    }

    /// What the server that answers now, as it is, promises less than its
    /// backend does; for people to read, and worth telling them once.
    pub fn caveats(&self) -> Vec<String> {
        self.anchor.engine.backend().caveats()
    }

    /// The backend as messages name it, without passwords.
    pub fn backend(&self) -> &str {
        self.anchor.engine.backend().describe()
    }

    /// Give back everything and end. Waiting calls fail with `closed`, leases
    /// are [lost](crate::Loss::Closed), and all clones are closed with it.
    ///
    /// Returns when the backend has confirmed, or when everything has expired.
    ///
    /// # Cancel safety
    /// Once polled, dropping it only stops the waiting.
    pub async fn close(&self) {
        self.anchor.engine.close().await;
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("backend", &self.backend()).finish()
    }
}

/// What every handle holds on to; when the last is gone, the engine stops.
pub(crate) struct Anchor {
    pub(crate) engine: Arc<Engine>,
    who: String,
}

impl Anchor {
    /// Host and process id, and the user's own words.
    pub(crate) fn label(&self, text: &str) -> Arc<str> {
        match text {
            "" => self.who.as_str().into(),
            text => format!("{} {text}", self.who).into(),
        }
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        if self.engine.is_foreign() {
            // The parent's connections must not be closed from here.
            std::mem::forget(self.engine.clone());
        } else {
            self.engine.stop();
        }
    }
}
