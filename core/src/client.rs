//! An open connection to one backend.

use std::sync::Arc;
use std::time::Duration;

use crate::anchor::Anchor;
use crate::backend::{Backend, Status};
use crate::deadlocks::{Deadlock, deadlocks};
use crate::election::Election;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::event::{Events, Telling};
use crate::lease::Lease;
use crate::lock::Lock;
use crate::locks::Locks;
use crate::name::LockName;
use crate::once::Once;
use crate::runtime::Runtime;
use crate::settings::Settings;
use crate::target::{Target, ground};
use crate::ticket::Content;

/// Open the backend that `url` names; see [`Options::connect`].
pub async fn connect(url: &str) -> Result<Client, Error> {
    Options::new().connect(url).await
}

/// The SQL statements that make the table in which the locks of a `postgres:` or `mysql:` URL
/// are, for those who make tables by migrations. A client makes the table itself at its first
/// connect, if its user may. Nothing is connected to.
///
/// # Errors
/// `invalid` for a URL that cannot be read; `unsupported` for a backend without such a table.
pub fn ddl(url: &str) -> Result<String, Error> {
    let client = Options::new().client(url)?;
    let none = || Error::new(Kind::Internal, "a client without a URL");
    client.anchor.target().ok_or_else(none)?.ddl()
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

    /// The delay of locks that do not set one; see [`Lock::delay`].
    pub fn delay(mut self, delay: Duration) -> Self {
        self.settings.delay = delay;
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

    /// Open the backend that `url` names, now; see [`client`](Options::client). It
    /// is tried once, as [`Client::connect`].
    ///
    /// # Errors
    /// `invalid` for a URL that cannot be read; `unavailable` when the backend
    /// cannot be opened; `refused` when what is there must not be touched.
    pub async fn connect(self, url: &str) -> Result<Client, Error> {
        let client = self.client(url)?;
        client.connect().await?;
        Ok(client)
    }

    /// A client of the backend that `url` names, which connects when it is first
    /// used, and again in a process that was forked from this one:
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
    /// * `zookeeper://USER:PASSWORD@HOST:PORT,HOST:PORT,HOST:PORT/PATH`: a ZooKeeper ensemble;
    ///   `zookeepers://…` encrypted. See [`Zookeeper`](crate::backend::Zookeeper).
    /// * `memory:`: inside this client only.
    ///
    /// `ttl`, `delay`, `wait`, `max_hold` and `label` can follow as a query, as in
    /// `sqlite:/var/lib/jobs.db?ttl=30s&label=importer`; they win over these
    /// options, and what a lock sets wins over both.
    ///
    /// # Errors
    /// `invalid` for a URL that cannot be read.
    pub fn client(mut self, url: &str) -> Result<Client, Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let backend_options = self.read_query(query)?;
        let target = Target::new(address, backend_options, self.runtime)?;
        Ok(Client { anchor: Arc::new(Anchor::to(target)), settings: self.settings })
    }

    /// A client of a backend that is open already. After a fork it is of no use
    /// in the child.
    pub fn open(self, backend: Arc<dyn Backend>) -> Result<Client, Error> {
        self.settings.check()?;
        let (runtime, thread) = ground(self.runtime)?;
        let telling = Telling::new();
        let engine = Engine::start(backend, runtime, telling.clone());
        let anchor = Arc::new(Anchor::of(engine, thread, telling));
        Ok(Client { anchor, settings: self.settings })
    }

    /// Take what is ours, and answer the rest, which is the backend's.
    fn read_query(&mut self, query: &str) -> Result<Vec<(String, String)>, Error> {
        let mut rest = Vec::new();
        for (option, value) in form_urlencoded::parse(query.as_bytes()) {
            // Not shown: it is a part of a password.
            if option.contains('@') {
                return Err(Error::invalid(
                    "the first ? of a URL ends its address; in a password it is written %3F",
                ));
            }
            let span = || {
                humantime::parse_duration(&value).map_err(|e| {
                    let message = format!("{option}={value} in the URL is not a time such as 30s");
                    Error::invalid(message).because(e)
                })
            };
            match &*option {
                "ttl" => self.settings.ttl = span()?,
                "delay" => self.settings.delay = span()?,
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

/// An open connection to one backend. Clones are the same client.
///
/// It has a thread of its own for renewals and clean-up, which ends when it is
/// [closed](Client::close), or the last clone, lock and lease are gone and what was
/// to be cleaned up is. After a
/// `fork`, one that was made from a URL connects anew when the child uses it.
#[derive(Clone)]
pub struct Client {
    anchor: Arc<Anchor>,
    settings: Settings,
}

impl Client {
    /// The locks of these names, to be taken together, all or nothing.
    pub fn locks<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> Locks {
        Locks::new(self.lock(""), names.into_iter().map(Into::into).collect())
    }

    /// The lock of this name: 1 to 1024 bytes without NUL.
    pub fn lock(&self, name: impl Into<String>) -> Lock {
        Lock::new(self.anchor.clone(), name.into(), self.settings.clone())
    }

    /// The election of this name, which is led by who holds the lock of the same name.
    pub fn election(&self, name: impl Into<String>) -> Election {
        Election::new(self.lock(name))
    }

    /// Work that is done once per interval, or once for each [slot](Once::slot), by
    /// whichever client comes first.
    pub fn once(&self, name: impl Into<String>) -> Once {
        Once::new(self.lock(name))
    }

    /// The locks that are held or waited for, by name. See [`status`](Client::status).
    ///
    /// # Errors
    /// `unavailable` when the backend cannot be asked.
    pub async fn list(&self) -> Result<Vec<Status>, Error> {
        self.engine().await?.inspect(None).await
    }

    /// Who holds and who waits for one lock; `None` when nobody does. Of each other
    /// client only the first that waits is seen; of this one all are, and those that
    /// the backend does not know come last, though they may be served before.
    ///
    /// # Errors
    /// As [`list`](Client::list), and `invalid` for a bad name.
    pub async fn status(&self, name: &str) -> Result<Option<Status>, Error> {
        let name = LockName::new(name)?;
        Ok(self.engine().await?.inspect(Some(&name)).await?.pop())
    }

    /// The circles in which processes wait for each other's locks, from one look at all of
    /// them. Each may be none: see [`Deadlock`]. Nor is all seen: of a client that is not
    /// this one only the first waiter of each lock, and of other libraries' clients nothing.
    /// A client has one place in a server's line, so whoever waits for a lock that another
    /// task of the same client holds is seen by that client alone. What a
    /// [ticket](crate::Ticket) holds counts as held by the client that made it, until it is
    /// adopted.
    ///
    /// # Errors
    /// As [`list`](Client::list).
    pub async fn deadlocks(&self) -> Result<Vec<Deadlock>, Error> {
        Ok(deadlocks(&self.list().await?))
    }

    /// Take the lock from whoever holds it; answers whether somebody did. The
    /// holder's lease is lost at once where the backend can tell it, and in this
    /// client; else within a third of its ttl, or if it is not renewed, at the
    /// latest at its deadline. Until its work has stopped, two may be at
    /// work, and only their fences tell them apart.
    ///
    /// # Errors
    /// As [`status`](Client::status). With Redlock `unavailable` also says that too few nodes
    /// have noted that the lease is over: it may live on, so break it again.
    pub async fn break_lock(&self, name: &str) -> Result<bool, Error> {
        let name = LockName::new(name)?;
        self.engine().await?.evict(&name).await
    }

    /// Go on with a lease that another process has [handed
    /// on](crate::Lease::into_ticket): the same fence, ttl and other options, renewed from
    /// here. It never takes the lock anew. [`Lock::adopt`] also checks which lock it is of.
    ///
    /// A ticket is for one use. A backend that does not answer is asked again for 10 s.
    ///
    /// # Errors
    /// `invalid` for a text that is no ticket, or not a whole one. `refused` for a ticket
    /// of another kind of backend or of a newer version; it stays good. `lost` for one
    /// that was used, whose time is over, or of another server: nothing is held.
    /// `unavailable` when the backend did not answer, and then the ticket may be used up
    /// and its lease given back.
    ///
    /// # Cancel safety
    /// Dropped midway, nothing stays held here: the ticket is as good as before, or used
    /// up and the lease given back in the background.
    pub async fn adopt(&self, ticket: &str) -> Result<Lease, Error> {
        Lease::adopt(&self.anchor, Content::read(ticket)?).await
    }

    /// What happens to this client's leases from now on, for logs; in a fork, to
    /// those of the child.
    pub fn events(&self) -> Events {
        self.anchor.telling().events()
    }

    /// What the server that answers now, as it is, promises less than its
    /// backend does; for people to read, and worth telling them once.
    /// Nothing before it is connected and after it is closed.
    pub fn caveats(&self) -> Vec<String> {
        self.anchor.connected().map_or_else(Vec::new, |engine| engine.backend().caveats())
    }

    /// The backend as messages name it, without passwords; of one that is not
    /// connected yet only the kind.
    pub fn backend(&self) -> &str {
        let kind = self.anchor.target().map_or("", Target::scheme);
        self.anchor.connected().map_or(kind, |engine| engine.describe())
    }

    /// Connect now, unless it is connected. It is tried once; a lock that is
    /// waited for has the patience for a backend that is not there yet.
    ///
    /// # Errors
    /// As [`Options::connect`].
    ///
    /// # Cancel safety
    /// Cancel safe; it connects when it is next used.
    pub async fn connect(&self) -> Result<(), Error> {
        self.engine().await.map(drop)
    }

    /// Give back everything and end. Waiting calls fail with `closed`, leases
    /// are [lost](crate::Loss::Closed), and all clones are closed with it.
    ///
    /// Returns when the backend has confirmed, or when everything has expired, and the
    /// client's thread and connections are no more. Of a quorum the nodes that a
    /// majority did not need are waited for, too, but 5 s at most, and not those without
    /// a connection: a vote that one of them keeps ends with its ttl.
    ///
    /// # Cancel safety
    /// Once polled, dropping it only stops the waiting.
    pub async fn close(&self) {
        self.anchor.close().await;
    }

    /// Close when the process ends: as [`close`](Client::close), for a second at
    /// most. What is not given back by then ends with its ttl.
    pub async fn close_at_exit(&self) {
        const LIMIT: Duration = Duration::from_secs(1);
        let Some(engine) = self.anchor.connected() else { return self.close().await };
        let limit = engine.runtime().sleep(LIMIT);
        tokio::select! {
            biased;
            () = self.close() => {}
            () = limit => {}
        }
    }
}

impl Client {
    async fn engine(&self) -> Result<&Engine, Error> {
        let engine = self.anchor.engine(Duration::ZERO).await?;
        engine.check_open()?;
        Ok(engine)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("backend", &self.backend()).finish()
    }
}
