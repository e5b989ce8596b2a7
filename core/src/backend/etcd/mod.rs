//! One etcd cluster.
//!
//! The line of a lock is the keys under `leasehold/NAME/#`, one for each owner
//! that holds or waits, in the order of their creation; the first is the
//! holder, and the revision that created its key is its fence; of those who share a lock
//! or count permits `share` tells more. That is the
//! recipe of etcd's own clients (`concurrency.Mutex`,
//! <https://pkg.go.dev/go.etcd.io/etcd/client/v3/concurrency>), with these
//! differences: who has waited looks again, by a linearizable read; every
//! attempt has a key of its own, which no other has before all that was sent for
//! it is answered; and deadlines count from the sending of the keep-alive that
//! was answered.
//!
//! A session is shared by all locks of a ttl that are renewed. Who waits has its
//! key in one of two seconds, so that a dead waiter keeps others no longer than
//! that, and moves it to the session of its ttl as it takes the lock.
//!
//! No answer is believed because it came: a grant is a key of ours, that says for
//! which attempt it was written, in the session that it was written under, at the
//! head of its line.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};

use super::{
    Answer, Backend, Claim, Heir, Held, Mode, Released, Renewal, Status, Transferred, Wake,
};
use crate::error::{Error, Kind, Outcome};
use crate::name::{LockName, Owner};
use crate::runtime::Runtime;
use crate::time::Instant;

mod claim;
pub mod cluster;
mod grpc;
mod history;
mod inspect;
mod keys;
mod memory;
mod note;
mod places;
mod proof;
mod release;
mod renew;
mod rest;
mod sessions;
mod share;
mod slots;
mod transfer;
mod txns;
mod verdict;

pub use cluster::Cluster;
use cluster::{Change, Done, Failure, News, SessionId, Txn};
pub(crate) use grpc::Address;
use grpc::Members;
use history::History;
use keys::Keyspace;
pub use memory::{MemoryCluster, MemoryClusterClient};
use places::{Place, Places, Sent};
use sessions::{Session, Sessions};
use transfer::Moves;

/// What could not be cleaned up for so long is tried by others of the client, too,
const OVERDUE: Duration = Duration::from_secs(2);
/// a few at a time.
const MOST_DEBTS: usize = 16;

/// One client's use of one etcd cluster, 3.4 to 3.6.
///
/// # URL
/// `etcd://USER:PASSWORD@HOST:PORT,HOST:PORT,HOST:PORT`, `etcds://…` encrypted. One
/// member is used at a time; when it does not answer in time, or knows of no
/// leader, the next. All must be of one cluster: a client refuses answers of
/// another than the first that it came to. Options follow as a query:
///
/// * `connect_timeout=2s` and `response_timeout=2s`: how long a member is waited
///   for. The only one that the URL names has 5 s and 3 s. A client that was not
///   running itself, because it was stopped or the machine busy, looks at what
///   has come before it gives a member up.
/// * `prefix=leasehold/` stands before every key.
/// * `ca=FILE` (`etcds` only): the authority that signed the members'
///   certificates, instead of those that the system trusts.
/// * `cert=FILE` and `key=FILE` (`etcds` only): the client's own certificate.
///
/// # What it promises
/// One holder at a time, and rising fences, as long as the cluster keeps its
/// data. Deadlines count from the sending of the keep-alive that was answered;
/// the cluster's clocks count only time that passes. While it has no majority,
/// nothing is granted, and what is held is lost at its deadline. A cluster that
/// was restored from a backup has forgotten leases; clients that saw it before
/// refuse to go on until it has passed the revision that they saw.
///
/// Old versions promise less, which [`caveats`](crate::Client::caveats) tells;
/// where there are users, only root may ask for the version.
///
/// The fence of a lock that is held alone is the `create_revision` of the lease's
/// [key](crate::Lease::key), so that etcd itself can check it, in the transaction that writes:
///
/// ```sh
/// leasehold run --url etcd://127.0.0.1 invoices/42 -- sh -c 'etcdctl txn <<END
/// create("$LEASEHOLD_KEY") = "$LEASEHOLD_FENCE"
///
/// put invoices/42 paid
///
/// END'
/// ```
///
/// # Ttls
/// etcd counts whole seconds, and has a shortest ttl, of usually 2 s. What is
/// asked for is raised to the next, and [`Lease::ttl`](crate::Lease::ttl)
/// tells. A lock that is not [renewed](crate::Lock::auto_renew) has an etcd
/// lease of its own, the others share one for each ttl: a thousand of them are
/// kept alive by one request. A lease begins with its whole ttl, one that shares
/// with two thirds of it at least.
///
/// # Waiting
/// Clients are served in the order in which they came to the cluster's line, and
/// inside a client its own waiters in theirs. The first of a client's waiters
/// joins the cluster's line when no other of that client holds the lock: whoever
/// waits behind its own client's lease comes after those who stood in the
/// cluster's line when that was released. Each waits for the one before it
/// alone, and asks again after a wait. A dead waiter keeps the others for 2 s.
///
/// Whoever shares a lock waits for the last exclusive one before it alone. Of those who
/// count permits the first waiter hears of each that is given back, the others of the
/// one before them.
///
/// # Beside clients that were built before locks could be shared here
/// They wait as exclusive ones for all others, and all wait for them. They know of no
/// permits: they stand in the line of those who count, who are refused meanwhile.
/// [`break_lock`](crate::Client::break_lock) by them takes a lock from the first of those
/// who share it, and their status shows the others as waiters.
///
/// # Access
/// One connection per client. The user needs to read and write the keys that
/// begin with the prefix: `etcdctl role grant-permission ROLE readwrite --prefix leasehold/`.
/// `etcdctl get --prefix leasehold/` shows who holds, who waits, and since when.
pub struct Etcd {
    cluster: Arc<dyn Cluster>,
    runtime: Arc<dyn Runtime>,
    keys: Keyspace,
    history: Arc<History>,
    sessions: Arc<Sessions>,
    places: Arc<Places>,
    moves: Moves,
    /// Leases may be gone that nobody has asked about.
    alarm: Notify,
    /// The shortest ttl that the cluster keeps.
    min_ttl: Duration,
}

impl Etcd {
    /// Connect to the cluster that the URL names, with the options above. The
    /// `runtime` must run its tasks on a Tokio runtime with I/O, as
    /// [`ThreadRuntime`](crate::runtime::ThreadRuntime) does.
    ///
    /// # Errors
    /// `unavailable` when no member can be reached that knows of a leader,
    /// `refused` when the user is not accepted or may not use the prefix,
    /// `invalid` for a URL or certificates that cannot be read.
    pub async fn connect(url: &str, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let options: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self::at(Address::parse(address, &options)?, runtime).await
    }

    pub(crate) async fn at(address: Address, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let prefix = address.prefix.clone();
        let members = Members::connect(address, runtime.clone()).await?;
        Self::over(Arc::new(members), &prefix, runtime).await
    }

    /// A client of a cluster, for locks whose keys begin with `prefix`.
    ///
    /// # Errors
    /// `unavailable` when the cluster does not answer.
    pub async fn over(
        cluster: Arc<dyn Cluster>,
        prefix: &str,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self, Error> {
        let sessions = Arc::new(Sessions::new(cluster.clone(), runtime.clone()));
        let min_ttl = sessions.shortest().await?;
        let keys = Keyspace::new(prefix);
        cluster.watch(&keys.evicted(), Change::Written, 0);
        let history = Arc::new(History::of(cluster.clone()));
        let (places, alarm) = (Arc::default(), Notify::new());
        let moves = Moves::default();
        Ok(Self { cluster, runtime, keys, history, sessions, places, moves, alarm, min_ttl })
    }

    fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// The key of an owner that asks, or has asked.
    fn key_of(&self, name: &LockName, owner: Owner) -> String {
        self.keys.place(name, self.places.slot(owner))
    }

    /// Note where an owner stands, and watch what it waits for, from a revision on.
    fn set_place(&self, owner: Owner, place: Place, after: u64) {
        let (unwatched, watched) = self.places.set(owner, place);
        if let Some(key) = unwatched {
            self.cluster.unwatch(&key);
        }
        if let Some((key, change)) = watched {
            self.cluster.watch(&key, change, after);
        }
    }

    /// Nothing is watched on a new connection. Who waits looks at the line again,
    /// and watches what it finds.
    fn watch_anew(&self) {
        for (owner, place) in self.places.stop_watching_all() {
            let (created, key) = (place.created, self.key_of(&place.name, owner));
            let watched = Some((key, Change::Deleted));
            self.set_place(owner, Place { watched, ..place }, created);
        }
    }

    /// Forget where an owner stands.
    fn leave(&self, owner: Owner) -> Option<Place> {
        let (place, unwatched) = self.places.remove(owner);
        if let Some(key) = unwatched {
            self.cluster.unwatch(&key);
        }
        place
    }

    /// It is over, and all that lived with it.
    fn session_over(&self, session: SessionId) {
        self.sessions.forget(session);
        for key in self.places.remove_session(session) {
            self.cluster.unwatch(&key);
        }
        self.alarm.notify_one();
    }

    /// End a session that nobody needs. If that fails, it ends by itself.
    fn end_in_background(&self, session: SessionId) {
        let cluster = self.cluster.clone();
        self.runtime.spawn(Box::pin(async move { drop(cluster.end(session).await) }));
    }

    /// Carry out a transaction that grants and keeps nothing.
    async fn txn(&self, txn: &Txn) -> Result<Done, Failure> {
        self.history.ask(txn).await
    }

    /// Carry out a transaction that writes a key of an owner under a session.
    async fn write(&self, session: &Session, owner: Owner, txn: Txn) -> Result<Done, Failure> {
        if !self.places.send(owner) {
            return Err(Error::new(Kind::Cancelled, "the claim was withdrawn").into());
        }
        let done = self.sent(owner, txn).await;
        if matches!(done, Err(Failure::NoSession)) {
            self.session_over(session.id);
        }
        done
    }

    /// Carry out a transaction for an owner that counts as sent. It goes on when
    /// this is dropped, so that it is known how it ended.
    async fn sent(&self, owner: Owner, txn: Txn) -> Result<Done, Failure> {
        let (tell, told) = oneshot::channel();
        let (history, places) = (self.history.clone(), self.places.clone());
        self.runtime.spawn(Box::pin(async move {
            let done = history.txn(&txn).await;
            places.answered(
                owner,
                match &done {
                    Ok(_) => Sent::CarriedOut,
                    Err(Failure::Error(e)) if e.outcome() == Outcome::Unknown => Sent::Lost,
                    Err(_) => Sent::NotCarriedOut,
                },
            );
            drop(tell.send(done));
        }));
        let ended = || Err(Error::unavailable("the client's thread has ended").into());
        told.await.unwrap_or_else(|_| ended())
    }
}

#[async_trait]
impl Backend for Etcd {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        // A claim is several requests.
        self.asking(claim).answer().await.map_err(|e| match self.places.was_not_sent(claim.owner) {
            true => e.with_outcome(Outcome::NotHeld),
            false => e.with_outcome(Outcome::Unknown),
        })
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.renew_all(leases).await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        self.hand_on(held, then).await
    }

    async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        self.release_to_rest(held, rest).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        if let Some(rest) = self.places.rest_of(claim.owner) {
            return self.let_rest(claim.owner, &claim.name, rest).await.map(drop);
        }
        self.places.retire(claim.owner, &claim.name, self.now());
        self.take_back(claim.owner).await?;
        self.clean_up(claim.owner, &claim.name, false).await
    }

    async fn transfer(&self, held: &Held, to: &Claim, heir: Heir) -> Result<Transferred, Error> {
        self.hand_to(held, to, heir).await
    }

    fn tickets(&self, _: Duration) -> Result<&'static str, Error> {
        Ok("etcd")
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        self.evict_holder(name).await
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        self.show(held, label).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        self.look_at(name).await
    }

    async fn wake(&self) -> Wake {
        loop {
            let news = tokio::select! {
                biased;
                () = self.alarm.notified() => return Wake::All,
                news = self.cluster.news() => news,
            };
            match news {
                News::Reconnected => {
                    self.watch_anew();
                    self.cluster.watch(&self.keys.evicted(), Change::Written, 0);
                    return Wake::All;
                }
                // The watch had to be ended, and evictions may have been missed.
                News::Changed { key, value } if key == self.keys.evicted() && value.is_empty() => {
                    self.cluster.watch(&key, Change::Written, 0);
                    return Wake::All;
                }
                News::Changed { key, value } => {
                    let name = match key == self.keys.evicted() {
                        true => LockName::new(&value).ok(),
                        false => self.places.call(&key),
                    };
                    if let Some(name) = name {
                        return Wake::Name(name);
                    }
                }
            }
        }
    }

    fn supports(&self, _: Mode) -> Result<(), Error> {
        Ok(())
    }

    fn supports_rest(&self) -> Result<(), Error> {
        Ok(())
    }

    fn ttl(&self, asked: Duration) -> Duration {
        Duration::from_secs(sessions::seconds(asked)).max(self.min_ttl)
    }

    fn response_timeout(&self) -> Duration {
        self.cluster.response_timeout()
    }

    fn key(&self, lease: &Held) -> Option<String> {
        // The fence of the others is not the revision that created theirs.
        let is_alone = lease.mode == Mode::Exclusive;
        is_alone.then(|| self.key_of(&lease.name, lease.owner))
    }

    fn caveats(&self) -> Vec<String> {
        self.cluster.caveats()
    }

    fn describe(&self) -> &str {
        self.cluster.describe()
    }
}
