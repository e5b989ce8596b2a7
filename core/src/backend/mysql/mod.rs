//! One MySQL or MariaDB database.
//!
//! All of a lock's state is in its row: who holds it until when, who waits, the last fence. So
//! every change is one statement about one row, which is a transaction of its own, and no two
//! can lock each other out. What no statement can decide alone, [`sql`](super::sql) does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

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
mod guard;
mod rows;
mod session;
mod store;
mod table;
mod text;

use super::connection::Connection;
pub(crate) use address::Address;
use dial::{Dial, Known};
use store::Store;

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
    locks: Locks<Store>,
    known: Arc<Known>,
    /// See [`Backend::response_timeout`].
    longer_response: Duration,
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
        let description = address.place.shown.clone();
        let longer_response = address.place.timeouts.longer_response();
        let dial = Dial::new(address, runtime.clone());
        let (known, another) = (dial.known.clone(), dial.another());
        let store = Arc::new(Store::connect(dial));
        // The table is there when the other session looks for it.
        store.requests.session().await?;
        let second = Connection::start(another, runtime);
        second.session().await?;
        Ok(Self { locks: Locks::of(store, second), known, longer_response, description })
    }
}

/// How often the first of the line asks. Nobody wakes it.
const FIRST: Duration = Duration::from_millis(100);

/// Who waits as the first of the line asks more often than the others.
fn asked_again_soon(claim: &Claim, answer: Answer) -> Answer {
    match answer {
        Answer::Busy { free_in, ahead: 0, fence } if claim.place.is_some() => {
            let free_in = Some(free_in.map_or(FIRST, |free_in| free_in.min(FIRST)));
            Answer::Busy { free_in, ahead: 0, fence }
        }
        answer => answer,
    }
}

#[async_trait]
impl Backend for Mysql {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        Ok(asked_again_soon(claim, self.locks.claim(claim).await?))
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.locks.renew(leases).await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        let mut released = self.locks.release(held, then).await?;
        if let (Some(claim), Some(answer)) = (then, &mut released.next) {
            *answer = asked_again_soon(claim, *answer);
        }
        Ok(released)
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
        Ok("mysql")
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

    /// Nobody is woken, but for this.
    async fn wake(&self) -> Wake {
        self.known.alarmed().await;
        Wake::All
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
        let caveat = "the server has innodb_flush_log_at_trx_commit = 0 or 2: a crash of it or of \
                      its machine forgets leases";
        if self.known.syncs() { Vec::new() } else { vec![caveat.to_owned()] }
    }

    fn describe(&self) -> &str {
        &self.description
    }
}
