//! One MySQL or MariaDB database.
//!
//! A lock is a row, and all of its state is in that row: who holds it until when, who waits,
//! the last fence. So every change is one statement about one row, which is a transaction of
//! its own, and no two can lock each other out. What happens most is a statement that decides
//! by itself: taking a free lock, giving it back, renewing. All else reads the row, decides
//! here by the rules that the embedded backend has, too, and writes the row if it still has the
//! version that was read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::record::{Now, Record, Rest, Retired};
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
mod release;
mod renew;
mod rows;
mod session;
mod store;
mod table;
mod text;

use super::connection::Connection;
pub(crate) use address::Address;
use chores::Chores;
use dial::{Dial, Known};
use session::Session;
use store::{From, Store};

/// One client's use of one MySQL or MariaDB database. MariaDB 10.11 was run.
///
/// # URL
/// `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, or `mariadb://…`; a socket is
/// `mysql://USER@localhost/DATABASE?socket=/run/mysqld/mysqld.sock`. Options follow as a query:
///
/// * `table=name` or `table=database.name`: where the locks are, `leasehold` in the database of
///   the URL by default. Clients of other tables have other locks.
/// * `sslmode=verify-full` (or `VERIFY_IDENTITY`; the default for hosts): encrypted, with a
///   server that proves who it is; `ca=FILE` (or `ssl-ca`) names its authority if the system
///   does not know it, `cert=FILE` and `key=FILE` the client's own certificate.
///   `sslmode=disable` (or `DISABLED`): not encrypted. The modes between them are refused.
/// * `password_file=FILE`: the password is its first line, read anew at every connect.
/// * `connect_timeout=5s` and `response_timeout=3s`: how long the server is waited for.
///
/// # The table
/// It is made at the first connect if the user may; else the error says the statements that
/// make it. The user needs to read and write its rows. A row stays for a day after its last
/// use, then it is dropped; fences go on rising. It is kept by InnoDB. What sessions need is set
/// for each of them, whatever is default: `READ COMMITTED`, `autocommit`, the mode, the times.
///
/// # What it promises
/// One holder at a time and rising fences, as long as the database keeps what it has
/// committed, and its clock does not jump by more than what is left of a lease. Times are those
/// of the server. A table that was made anew is refused by clients that have seen the former. A
/// failover to a replica that had not got all of it forgets leases. Several servers that are
/// written to at once (Galera, group replication with several primaries) have not been run:
/// name one of them.
///
/// # Waiting
/// Clients are served in the order in which they came. Nobody is woken by the server: the first
/// of the line asks ten times in a second, the others less often. A waiter that died keeps the
/// others for up to three seconds.
///
/// # Access
/// Two sessions per client: one asks for locks, the other renews. While a transaction of
/// somebody else keeps a lock's row locked, who asks for it is kept for a second, and so are
/// the other requests of its client.
pub struct Mysql {
    store: Arc<Store>,
    /// It renews.
    second: Connection<Arc<Session>>,
    /// What this process gave back or withdrew.
    retired: Arc<Mutex<Retired>>,
    chores: Chores,
    known: Arc<Known>,
    description: String,
}

impl Mysql {
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
        let description = address.shown.clone();
        let dial = Dial::new(address, runtime.clone());
        let (known, another) = (dial.known().clone(), dial.another());
        let store = Arc::new(Store::connect(dial));
        // The table is there when the other session looks for it.
        store.requests.session().await?;
        let second = Connection::start(another, runtime);
        second.session().await?;
        let chores = Chores::of(store.clone());
        chores.forget_old();
        Ok(Self { store, second, retired: Arc::default(), chores, known, description })
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
        change: impl FnMut(&mut Record, Now) -> T,
    ) -> Result<T, Error> {
        self.store.change(name, From::default(), change).await
    }
}

/// Nobody is woken, so nobody has an address.
const NO_ADDRESS: super::record::Address = 0;

#[async_trait]
impl Backend for Mysql {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        self.chores.count_request();
        if self.is_retired(claim.owner) {
            return Ok(Answer::Retired);
        }
        let answer = match claim.mode {
            Mode::Exclusive => self.claim_alone(claim).await?,
            Mode::Shared | Mode::Counted { .. } => self.claim_row(claim, From::default()).await?,
        };
        Ok(claim::asked_again_soon(claim, answer))
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.renew_all(leases).await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        self.chores.count_request();
        self.retired().insert(held.owner);
        let mut released = self.give_back(held, then).await?;
        if let (Some(claim), Some(answer)) = (then, &mut released.next) {
            *answer = claim::asked_again_soon(claim, *answer);
        }
        Ok(released)
    }

    async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        self.retired().insert(held.owner);
        let rest = Rest { lasts: rest, client: NO_ADDRESS };
        let change = |record: &mut Record, now: Now| {
            let was_held = record.rest(held.owner, rest, now.instant);
            let others = record.waiters_besides(None);
            Released { held: was_held, next: None, others }
        };
        self.change(&held.name, change).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        self.retired().insert(claim.owner);
        self.take_back(claim).await
    }

    async fn transfer(&self, held: &Held, to: &Claim, _: Heir) -> Result<Transferred, Error> {
        let transfer = |record: &mut Record, now: Now| {
            !self.is_retired(to.owner) && record.transfer(held.owner, to, NO_ADDRESS, now.instant)
        };
        if !self.change(&held.name, transfer).await? {
            return Ok(Transferred::Gone);
        }
        self.retired().insert(held.owner);
        Ok(Transferred::Done { term: None })
    }

    fn tickets(&self, _: Duration) -> Result<&'static str, Error> {
        Ok("mysql")
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        let evict = |record: &mut Record, _: Now| !std::mem::take(&mut record.tenants).is_empty();
        self.change(name, evict).await
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        let relabel =
            |record: &mut Record, now: Now| record.relabel(held.owner, label, now.instant);
        self.change(&held.name, relabel).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        self.look_at(name).await
    }

    async fn wake(&self) -> Wake {
        std::future::pending().await
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
        let caveat = "the server has innodb_flush_log_at_trx_commit = 0 or 2: a crash of it or of \
                      its machine forgets leases";
        if self.known.syncs() { Vec::new() } else { vec![caveat.to_owned()] }
    }

    fn describe(&self) -> &str {
        &self.description
    }
}
