//! One PostgreSQL database.
//!
//! A lock is a row, and all of its state is in that row: who holds it until when, who waits,
//! the last fence. So every change is one statement about one row, which is a transaction of
//! its own, and no two can lock each other out. What happens most is a statement that decides
//! by itself: taking a free lock, giving it back, renewing. All else reads the row, decides
//! here by the rules that the embedded backend has, too, and writes the row if it still has the
//! version that was read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::record::{Address as Client, Record, Rest, Retired};
use super::{
    Answer, Backend, Claim, Heir, Held, Mode, Released, Renewal, Status, Transferred, Wake,
};
use crate::error::Error;
use crate::name::{LockName, Owner};
use crate::runtime::Runtime;

mod address;
mod chores;
mod claim;
mod dial;
#[cfg(feature = "tls")]
mod encryption;
mod failure;
mod listener;
mod release;
mod renew;
mod rows;
mod session;
mod store;
mod table;

use super::connection::Connection;
pub(crate) use address::Address;
use chores::Chores;
use dial::{Dial, Known};
use listener::Listener;
use session::Session;
use store::{From, Moment, Store};

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
/// * `connect_timeout=5s` and `response_timeout=3s`: how long the server is waited for. It
///   ends a statement that takes longer.
/// * `application_name=leasehold`, as the server shows the sessions.
///
/// # The table
/// It is made at the first connect if the user may; else the error says the statements that
/// make it. The user needs to read and write its rows. A row stays for a day after its last
/// use, then it is dropped; fences go on rising. What sessions need is set for each of them,
/// whatever is default for the user: `read committed`, a commit that waits for the disk.
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
/// waiter that died keeps the others for up to three seconds.
///
/// # Access
/// Two sessions per client: one asks for locks, the other listens and renews.
pub struct Postgres {
    store: Arc<Store>,
    /// It hears, and renews.
    second: Connection<Arc<Session>>,
    wakes: tokio::sync::Mutex<mpsc::UnboundedReceiver<Wake>>,
    /// What this process gave back or withdrew.
    retired: Arc<Mutex<Retired>>,
    chores: Chores,
    known: Arc<Known>,
    listens: bool,
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
        let (description, listens) = (address.shown.clone(), address.listens);
        let dial = Dial::new(address, runtime.clone());
        let (ear, known) = (Arc::new(AtomicU64::new(0)), dial.known().clone());
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
        let chores = Chores::of(store.clone());
        chores.forget_old();
        let (wakes, retired) = (tokio::sync::Mutex::new(wakes), Arc::default());
        Ok(Self { store, second, wakes, retired, chores, known, listens, description })
    }

    fn retired(&self) -> MutexGuard<'_, Retired> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_retired(&self, owner: Owner) -> bool {
        self.retired().contains(owner)
    }

    /// Change a record from what it is.
    async fn change<T>(
        &self,
        name: &LockName,
        change: impl FnMut(&mut Record, Moment) -> (T, Vec<Client>),
    ) -> Result<T, Error> {
        self.store.change(name, From::default(), change).await
    }
}

/// Where a client hears. It fits a column of the table.
fn some_client(runtime: &dyn Runtime) -> Client {
    (runtime.random() as u64 >> 1).max(1)
}

/// Whom to wake: the first of the line, when there is room for it.
fn next_client(record: &Record) -> Vec<Client> {
    record.next_in_line().map(|first| first.client).into_iter().collect()
}

#[async_trait]
impl Backend for Postgres {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        self.chores.count_request();
        if self.is_retired(claim.owner) {
            return Ok(Answer::Retired);
        }
        match claim.mode {
            Mode::Exclusive => self.claim_alone(claim).await,
            Mode::Shared | Mode::Counted { .. } => self.claim_row(claim, From::default()).await,
        }
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.renew_all(leases).await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        self.chores.count_request();
        self.retired().insert(held.owner);
        self.give_back(held, then).await
    }

    async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        self.retired().insert(held.owner);
        let rest = Rest { lasts: rest, client: 0 };
        let change = |record: &mut Record, moment: Moment| {
            let was_held = record.rest(held.owner, rest, moment.now.instant);
            let others = record.waiters_besides(None);
            (Released { held: was_held, next: None, others }, Vec::new())
        };
        self.change(&held.name, change).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        self.retired().insert(claim.owner);
        self.take_back(claim).await
    }

    async fn transfer(&self, held: &Held, to: &Claim, heir: Heir) -> Result<Transferred, Error> {
        let client = match heir {
            Heir::Ticket => 0,
            Heir::Client => self.store.address(),
        };
        let transfer = |record: &mut Record, moment: Moment| {
            let is_done = !self.is_retired(to.owner)
                && record.transfer(held.owner, to, client, moment.now.instant);
            (is_done, Vec::new())
        };
        if !self.change(&held.name, transfer).await? {
            return Ok(Transferred::Gone);
        }
        self.retired().insert(held.owner);
        Ok(Transferred::Done { term: None })
    }

    fn tickets(&self, _: Duration) -> Result<&'static str, Error> {
        Ok("postgres")
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        let evict = |record: &mut Record, _: Moment| {
            let evicted = std::mem::take(&mut record.tenants);
            let mut told: Vec<Client> = evicted.iter().map(|tenant| tenant.client).collect();
            told.extend(next_client(record));
            (!evicted.is_empty(), told)
        };
        self.change(name, evict).await
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        let relabel = |record: &mut Record, moment: Moment| {
            (record.relabel(held.owner, label, moment.now.instant), Vec::new())
        };
        self.change(&held.name, relabel).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        self.look_at(name).await
    }

    async fn wake(&self) -> Wake {
        match self.wakes.lock().await.recv().await {
            Some(wake) => wake,
            None => std::future::pending().await,
        }
    }

    fn supports(&self, _: Mode) -> Result<(), Error> {
        Ok(())
    }

    fn supports_rest(&self) -> Result<(), Error> {
        Ok(())
    }

    fn response_timeout(&self) -> Duration {
        self.store.longer_response
    }

    fn caveats(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        if !self.known.syncs() {
            let caveat = "the server has fsync = off: a crash of its machine forgets leases";
            caveats.push(caveat.to_owned());
        }
        if self.listens && self.store.ear.load(Ordering::Relaxed) == 0 {
            let caveat = "notifications do not arrive, as behind a pooler in transaction mode: \
                          who waits asks again every now and then, and is served later";
            caveats.push(caveat.to_owned());
        }
        caveats
    }

    fn describe(&self) -> &str {
        &self.description
    }
}
