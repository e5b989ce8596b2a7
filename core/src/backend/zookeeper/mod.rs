//! One ZooKeeper ensemble.
//!
//! A lock is a node, whoever holds it or waits has a child there, and the first of them is
//! the holder: the recipe of ZooKeeper's own documentation
//! (<https://zookeeper.apache.org/doc/r3.8.0/recipes.html#sc_recipes_Locks>), with the names
//! that Curator gives them, so that its clients and ours keep each other out. What is
//! different: how long a lease lasts is not believed because a server answers, see `proof`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use super::{Answer, Backend, Claim, Held, Released, Renewal, Status, Wake, cannot_rest};
use crate::error::{Error, Kind};
use crate::name::LockName;
use crate::runtime::Runtime;

mod address;
mod claim;
mod dial;
mod failure;
#[cfg(test)]
mod fuzz;
mod homes;
mod inspect;
mod jute;
mod link;
mod names;
mod news;
mod note;
mod place;
mod places;
mod proof;
mod release;
mod renew;
mod words;

pub(crate) use address::Address;
use dial::Servers;
use homes::Homes;
use names::Tree;
use news::News;
use places::Places;

/// One client's use of one ZooKeeper ensemble, 3.5 or newer.
///
/// # URL
/// `zookeeper://USER:PASSWORD@HOST:PORT,HOST:PORT,HOST:PORT/PATH`, `zookeepers://…` encrypted.
/// One server is used at a time; when it does not answer in time, or has no leader, the next.
/// Below the node `PATH`, which is `/leasehold` if there is none in the URL and is made if it
/// is not there, the locks are. With a user whatever is created is only for those who log in
/// as that user, by the scheme `digest`. Options follow as a query:
///
/// * `connect_timeout=2s` and `response_timeout=2s`: how long a server is waited for, but no
///   longer than a third of a lease's ttl. The only one that the URL names has 5 s and 3 s.
/// * `tick=2s`: the servers' `tickTime`. Without it half of the shortest timeout that they give
///   a session is taken for it, which is right or too long unless `minSessionTimeout` was set
///   to less than two ticks: then it must be said.
/// * `ca=FILE` (`zookeepers` only): the authority that signed the servers' certificates, instead
///   of those that the system trusts.
/// * `cert=FILE` and `key=FILE` (`zookeepers` only): the client's own certificate.
///
/// # What it promises
/// One holder at a time and rising fences. A lease's deadline counts from a moment since when
/// a leader with a majority is known to have heard of the session. That a server answers pings
/// proves nothing, as one that is cut off from the leader does so, too; nor does what a leader
/// answers that its followers have left. So each session writes: twice every second or two, with
/// the usual `tickTime`, something that a majority notes and that changes nothing. The assumption:
/// a leader that is stopped for longer than half a tick does not go on as the leader. While there
/// is no majority nothing is granted, and what is held is lost at its deadline. The death of a
/// server or of the leader costs no lease whose ttl is longer than the ensemble takes to elect
/// another.
///
/// The fence is the `czxid` of the lease's [node](crate::Lease::key).
///
/// # Ttls
/// Leases of about one ttl share a session, which lasts longer by about a third of it and by two
/// ticks at least: so long the locks of a process that died stay taken. The shortest session
/// is two ticks, usually 4 s; the longest 20 of them, usually 40 s, which allows for a ttl of
/// 32 s. A longer one is `invalid`. In whole ticks the servers round a session's end up. A lease
/// that is not renewed, and whose client lives, ends with its ttl.
///
/// # Waiting
/// Clients are served in the order in which they came to the ensemble's line. Each waits for
/// the one before it alone, and asks again every now and then. A dead waiter keeps the others
/// until its session is over.
///
/// # Beside others
/// Curator's `InterProcessMutex` for the path `/leasehold/NAME` and these locks keep each other
/// out, and stand in one line; a `/` in a name is written `%2F`, as is all else that a node's
/// name cannot have. Kazoo's `Lock` is respected here, and respects these with
/// `extra_lock_patterns=["-lock-"]`.
///
/// # Access
/// One connection for each session. The user needs to create, read, write and delete below the
/// path.
pub struct Zookeeper {
    shared: Arc<Shared>,
    wakes: tokio::sync::Mutex<mpsc::UnboundedReceiver<Wake>>,
    _alive: watch::Sender<()>,
}

/// What its tasks share.
struct Shared {
    runtime: Arc<dyn Runtime>,
    tree: Tree,
    places: Arc<Places>,
    homes: Homes,
    longer_response: Duration,
    description: String,
}

impl Zookeeper {
    /// Connect to the servers that the URL names, with the options above. The `runtime` must
    /// run its tasks on a Tokio runtime with I/O, as
    /// [`ThreadRuntime`](crate::runtime::ThreadRuntime) does.
    ///
    /// # Errors
    /// `unavailable` when no server can be reached that has a leader, `refused` when the user
    /// is not accepted or may not use the path, `invalid` for a URL or certificates that cannot
    /// be read.
    pub async fn connect(url: &str, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let options: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self::at(Address::parse(address, &options)?, runtime).await
    }

    pub(crate) async fn at(address: Address, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let address = Arc::new(address);
        let shortest = Servers::new(address.clone(), runtime.clone()).shortest().await?;
        let tree = Tree::new(&address.base);
        let (places, description) = (Arc::<Places>::default(), address.cluster.shown.clone());
        let (news, wakes) = News::new(tree.clone(), Arc::downgrade(&places));
        let longer_response = address.cluster.timeouts.longer_response();
        let homes = Homes::new(address, runtime.clone(), (places.clone(), news), shortest);
        let shared = Shared { runtime, tree, places, homes, longer_response, description };
        let shared = Arc::new(shared);
        let (alive, mut gone) = watch::channel(());
        let chores = shared.clone();
        shared.runtime.spawn(Box::pin(async move {
            tokio::select! {
                biased;
                _ = gone.changed() => {}
                () = chores.run_chores() => {}
            }
        }));
        Ok(Self { shared, wakes: tokio::sync::Mutex::new(wakes), _alive: alive })
    }
}

impl Drop for Zookeeper {
    /// End the sessions, so that nobody waits behind what is left in them; but not where a lock
    /// is held that was not given back: that lasts, as when a process dies.
    fn drop(&mut self) {
        const LIMIT: Duration = Duration::from_secs(1);
        let shared = self.shared.clone();
        self.shared.runtime.spawn(Box::pin(async move {
            let homes = shared.homes.all();
            let links = homes.iter().filter_map(|home| home.link_now().ok());
            let links = links.filter(|link| !shared.places.holds_in(link.session));
            let ends: Vec<_> = links.map(|link| link.send(words::Ask::Close)).collect();
            let ended = async {
                for end in ends {
                    drop(end.await_it().await);
                }
            };
            tokio::select! {
                biased;
                () = ended => {}
                () = async { shared.runtime.sleep(LIMIT).await } => {}
            }
        }));
    }
}

#[async_trait]
impl Backend for Zookeeper {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        self.supports(claim.mode)?;
        self.shared.asking(claim).answer().await
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.shared.renew_all(leases).await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        then.map_or(Ok(()), |then| self.supports(then.mode))?;
        self.shared.hand_on(held, then).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        self.shared.places.retire(claim.owner, self.shared.runtime.now());
        self.shared.settle(claim.owner).await.map_err(|e| {
            // It is tried again in the background, for as long as there may be something.
            e.with_outcome(crate::error::Outcome::Unknown)
        })
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        self.shared.evict_holder(name).await
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        self.shared.show(held, label).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        self.shared.look_at(name).await
    }

    fn tickets(&self, _: Duration) -> Result<&'static str, Error> {
        let message = "a lease in ZooKeeper lives with the session of its client, which no other \
                       process can go on with; release it here, and take it there";
        Err(Error::new(Kind::Unsupported, message))
    }

    fn supports_rest(&self) -> Result<(), Error> {
        Err(cannot_rest("the node that takes a lock ends with the session of its client"))
    }

    async fn wake(&self) -> Wake {
        let mut wakes = self.wakes.lock().await;
        match wakes.recv().await {
            Some(wake) => wake,
            None => std::future::pending().await,
        }
    }

    fn response_timeout(&self) -> Duration {
        self.shared.longer_response
    }

    fn key(&self, lease: &Held) -> Option<String> {
        self.shared.place_of(lease).map(|place| place.path)
    }

    async fn settle(&self) {
        // What was given back is deleted, or its session ends.
        while let Some(owner) = self.shared.places.ending() {
            if self.shared.settle(owner).await.is_err() {
                return;
            }
        }
    }

    fn describe(&self) -> &str {
        &self.shared.description
    }
}
