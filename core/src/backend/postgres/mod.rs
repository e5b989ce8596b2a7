//! One PostgreSQL database.
//!
//! All of a lock's state is in its row: who holds it until when, who waits, the last fence. So
//! every change is one statement about one row, which is a transaction of its own, and no two
//! can lock each other out. What no statement can decide alone, [`sql`](super::sql) does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::record::Address as Client;
use super::sql::Locks;
use super::{
    Answer, Backend, Claim, Heir, Held, Mode, Released, Renewal, Status, Transferred, Wake,
};
use crate::error::Error;
use crate::name::LockName;
use crate::runtime::Runtime;

mod address;
mod dial;
#[cfg(feature = "tls")]
mod encryption;
mod failure;
mod greeting;
mod guard;
mod listener;
mod rows;
mod session;
mod store;
mod table;

use super::connection::Connection;
pub(crate) use address::Address;
use address::Ear;
use dial::{Dial, Known};
use listener::Listener;
use store::Store;

/// One client's use of one PostgreSQL database, 13 or newer.
///
/// # URL
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or `postgresql://…`; a socket is
/// `postgres:///DATABASE?host=/run/postgresql&user=USER`. Options follow as a query:
///
/// * `table=schema.name`: where the locks are, `public.leasehold` by default. Clients of other
///   tables have other locks.
/// * `sslmode=verify-full` (the default for hosts): encrypted, with a server that proves who it
///   is; `sslrootcert=FILE` (or `ca`) names its authority if the system does not know it,
///   `sslcert=FILE` and `sslkey=FILE` the client's own certificate. `sslmode=disable`: not
///   encrypted. The modes between them are refused.
/// * `password_file=FILE`: the password is its first line, read anew at every connect.
/// * `listen=off`: no notifications; who waits asks again every now and then.
/// * `listen=postgres://USER:PASSWORD@HOST/DATABASE`, with % encoding: the server itself, past a
///   pooler which does not deliver notifications. Its own options are those for login and
///   encryption.
/// * `connect_timeout=5s` and `response_timeout=3s`: how long the server is waited for. It
///   ends a statement that takes longer.
/// * `application_name=leasehold`, as the server shows the sessions.
///
/// # The table
/// It is made at the first connect if the user may; else the error says the statements that
/// make it. The user needs to read and write its rows. A row stays for a day after its last
/// use, then it is dropped; fences go on rising. What sessions need is set for each of them,
/// whatever is default for the user: `read committed`, a commit that waits for the disk. A
/// transaction that stays open for long, or a replication slot that nobody reads, has the server
/// keep what rows were: a lock that was taken 5 000 times meanwhile takes twice as long.
///
/// # What it promises
/// One holder at a time and rising fences, as long as the database keeps what it has
/// committed, and its clock does not jump by more than what is left of a lease. Times are those
/// of the server. Another database, or a table that was made anew, is refused by clients that
/// have seen the former. A failover to a replica that had not got all of it forgets leases:
/// have it be synchronous.
///
/// # Waiting
/// Clients are served in the order in which they came. Who gives a lock back wakes the first
/// of the line by `NOTIFY`, and only then; everyone asks again every now and then besides. A
/// waiter that died keeps the others for up to three seconds. A row that a transaction of somebody
/// else keeps locked is waited for for 250 ms each time, then its lock is `unavailable`.
///
/// # Poolers
/// PgBouncer works in its modes `session` and `transaction`. What others use afterwards is left
/// as it was: nothing is set for the pooler's sessions, and nothing is kept in them. There the
/// user's own defaults hold; one that has a commit not wait for the disk is overruled, and
/// conflicts of `serializable` are tried again. In the mode `transaction` nobody is woken, unless
/// `listen` names the server itself. A `server_login_retry` or an outage that is longer than a
/// ttl costs its lease.
///
/// # Access
/// Two sessions per client: one asks for locks, the other listens and renews.
pub struct Postgres {
    locks: Locks<Store>,
    wakes: tokio::sync::Mutex<mpsc::UnboundedReceiver<Wake>>,
    known: Arc<Known>,
    listens: bool,
    /// See [`Backend::response_timeout`].
    longer_response: Duration,
    description: String,
}

impl Postgres {
    /// Connect to the database that the URL names, with the options above. The
    /// `runtime` must run its tasks on a Tokio runtime with I/O, as
    /// [`ThreadRuntime`](crate::runtime::ThreadRuntime) does.
    ///
    /// # Errors
    /// `unavailable` when the server cannot be reached or cannot be written to, `refused` when
    /// the user is not let in, or has not the rights that it needs, or the table is one of a
    /// newer version, `invalid` for a URL or certificates that cannot be read.
    pub async fn connect(url: &str, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let options: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self::at(Address::parse(address, &options)?, runtime).await
    }

    pub(crate) async fn at(address: Address, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let listens = !matches!(address.ear, Ear::Off);
        let description = address.place.shown.clone();
        let longer_response = address.place.timeouts.longer_response();
        let dial = Dial::new(address, runtime.clone());
        let (ear, known) = (Arc::new(AtomicU64::new(0)), dial.known.clone());
        let another = dial.another();
        let store = Arc::new(Store::connect(dial, ear.clone()));
        // The table is there when the other session looks for it.
        store.requests.session().await?;
        let (tell, wakes) = mpsc::unbounded_channel();
        let client = if listens { some_client(&*runtime) } else { 0 };
        let listener =
            Listener { dial: another, store: store.clone(), address: client, ear, wakes: tell };
        let second = Connection::start(listener, runtime);
        second.session().await?;
        let (locks, wakes) = (Locks::of(store, second), tokio::sync::Mutex::new(wakes));
        Ok(Self { locks, wakes, known, listens, longer_response, description })
    }
}

/// Where a client hears. It fits a column of the table.
fn some_client(runtime: &dyn Runtime) -> Client {
    (runtime.random() as u64 >> 1).max(1)
}

#[async_trait]
impl Backend for Postgres {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        self.locks.claim(claim).await
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.locks.renew(leases).await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        self.locks.release(held, then).await
    }

    async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        self.locks.rest(held, rest).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        self.locks.withdraw(claim).await
    }

    async fn transfer(&self, held: &Held, to: &Claim, heir: Heir) -> Result<Transferred, Error> {
        self.locks.transfer(held, to, heir).await
    }

    fn tickets(&self, _: Duration) -> Result<&'static str, Error> {
        Ok("postgres")
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        self.locks.evict(name).await
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        self.locks.relabel(held, label).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        self.locks.inspect(name).await
    }

    async fn wake(&self) -> Wake {
        let mut wakes = self.wakes.lock().await;
        tokio::select! {
            Some(wake) = wakes.recv() => wake,
            () = self.known.alarmed() => Wake::All,
        }
    }

    fn supports(&self, _: Mode) -> Result<(), Error> {
        Ok(())
    }

    fn supports_rest(&self) -> Result<(), Error> {
        Ok(())
    }

    fn guard(&self, leases: &[&Held]) -> Result<String, Error> {
        self.guard_of(leases)
    }

    fn response_timeout(&self) -> Duration {
        self.longer_response
    }

    fn caveats(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        if !self.known.syncs() {
            let caveat = "the server has fsync = off: a crash of its machine forgets leases";
            caveats.push(caveat.to_owned());
        }
        if self.known.is_unlogged() {
            let caveat = "the table is UNLOGGED: a crash of the server forgets leases; ALTER \
                          TABLE … SET LOGGED";
            caveats.push(caveat.to_owned());
        }
        if self.listens && self.locks.rows.ear.load(Ordering::Relaxed) == 0 {
            let caveat = "notifications do not arrive, as behind a pooler in transaction mode: \
                          who waits asks again every now and then, and is served later; name the \
                          server itself in the URL: listen=postgres://USER@HOST/DATABASE";
            caveats.push(caveat.to_owned());
        }
        caveats
    }

    fn describe(&self) -> &str {
        &self.description
    }
}
