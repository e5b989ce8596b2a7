//! The etcd backend on a cluster that answers when it is told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use leasehold::backend::etcd::cluster::{
    Change, Cluster, Done, Failure, News, Read, SessionId, Step, Txn,
};
use leasehold::backend::etcd::cluster::{Keys, Order};
use leasehold::backend::etcd::{MemoryCluster, MemoryClusterClient};
use leasehold::backend::{Answer, Backend, Claim, Etcd, Held, Mode, Renewal, Wake};
use leasehold::runtime::{BoxFuture, Runtime, ThreadRuntime};
use leasehold::testing::ManualClock;
use leasehold::time::{Clock, Instant, SystemClock};
use leasehold::{Error, Kind, LockName, Outcome, Owner};
use tokio::sync::{Semaphore, watch};

mod sharing;

const TTL: Duration = Duration::from_secs(60);

/// Lets keep-alives through one by one, and tells that one has come.
struct Gated {
    client: MemoryClusterClient,
    come: watch::Sender<usize>,
    go: Semaphore,
    /// What befalls the next transaction.
    next: Mutex<Option<Fate>>,
    /// The keep-alive of this session fails.
    broken: Mutex<Option<SessionId>>,
}

enum Fate {
    /// It tells that it has come, and waits to be let through.
    Held,
    /// Not this one but the one after it.
    Next(Box<Fate>),
    /// After it, and before its answer comes, this key is deleted.
    Deletes(String),
    /// It is carried out, and its answer is lost.
    Unheard,
    /// It does not reach the cluster.
    NotSent,
}

impl Gated {
    fn before(memory: &MemoryCluster) -> Arc<Self> {
        let (client, come, go) = (memory.client(), watch::Sender::new(0), Semaphore::new(0));
        Arc::new(Self { client, come, go, next: Mutex::default(), broken: Mutex::default() })
    }

    fn next(&self, fate: Fate) {
        *self.next.lock().unwrap() = Some(fate);
    }
}

#[async_trait]
impl Cluster for Gated {
    async fn txn(&self, txn: &Txn) -> Result<Done, Failure> {
        let fate = self.next.lock().unwrap().take();
        match fate {
            None => self.client.txn(txn).await,
            Some(Fate::Deletes(key)) => {
                let done = self.client.txn(txn).await;
                let then = vec![Step::Delete(key)];
                self.client.txn(&Txn { then, ..Txn::default() }).await?;
                done
            }
            Some(Fate::Held) => {
                self.come.send_modify(|come| *come += 1);
                self.go.acquire().await.unwrap().forget();
                self.client.txn(txn).await
            }
            Some(Fate::Unheard) => {
                self.client.txn(txn).await?;
                Err(Error::new(Kind::Unavailable, "cut").with_outcome(Outcome::Unknown).into())
            }
            Some(Fate::NotSent) => {
                Err(Error::new(Kind::Unavailable, "refused").with_outcome(Outcome::NotHeld).into())
            }
            Some(Fate::Next(fate)) => {
                self.next(*fate);
                self.client.txn(txn).await
            }
        }
    }

    async fn open(&self, seconds: u64) -> Result<(SessionId, Duration), Error> {
        self.client.open(seconds).await
    }

    async fn keep_alive(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        self.come.send_modify(|come| *come += 1);
        self.go.acquire().await.unwrap().forget();
        let is_broken = *self.broken.lock().unwrap() == Some(session);
        match is_broken {
            true => Err(Error::new(Kind::Unavailable, "a member that hangs")),
            false => self.client.keep_alive(session).await,
        }
    }

    async fn end(&self, session: SessionId) -> Result<(), Error> {
        self.client.end(session).await
    }

    async fn ends_in(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        self.client.ends_in(session).await
    }

    fn watch(&self, key: &str, change: Change, after: u64) {
        self.client.watch(key, change, after);
    }

    fn unwatch(&self, key: &str) {
        self.client.unwatch(key);
    }

    async fn news(&self) -> News {
        self.client.news().await
    }

    fn describe(&self) -> &str {
        "gated"
    }
}

/// Time as the manual clock has it.
struct Slow(ManualClock, Arc<ThreadRuntime>);

impl Clock for Slow {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn wall_micros(&self) -> u64 {
        self.0.wall_micros()
    }
}

impl Runtime for Slow {
    fn sleep(&self, span: Duration) -> BoxFuture {
        self.1.sleep(span)
    }

    fn spawn(&self, task: BoxFuture) {
        self.1.spawn(task);
    }

    fn random(&self) -> u128 {
        self.1.random()
    }
}

fn claim(owner: u128) -> Claim {
    Claim {
        name: LockName::new("x").unwrap(),
        owner: Owner::from_bits(owner),
        ttl: TTL,
        delay: Duration::ZERO,
        mode: Mode::Exclusive,
        label: "test".into(),
        place: Some(Duration::from_secs(2)),
        renewed: true,
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods)] // it is one Tokio runtime
async fn a_claim_that_is_withdrawn_while_the_lock_is_passed_to_it_leaves_no_key() {
    let clock = ManualClock::new();
    let memory = MemoryCluster::new(Arc::new(clock.clone()));
    let cluster = Gated::before(&memory);
    let runtime = Arc::new(Slow(clock.clone(), ThreadRuntime::start().unwrap()));
    let etcd = Arc::new(Etcd::over(cluster.clone(), "", runtime).await.unwrap());
    let (first, next) = (claim(1), claim(2));
    let Answer::Granted { fence, .. } = etcd.claim(&first).await.unwrap() else { panic!() };
    let (name, owner) = (first.name.clone(), first.owner);
    let held = Held { name, owner, mode: Mode::Exclusive, fence, ttl: TTL, renewed: true };
    // The session is not so fresh any more that the lock is passed at once.
    clock.advance(TTL / 2);
    let releasing = {
        let (etcd, next) = (etcd.clone(), next.clone());
        tokio::spawn(async move { etcd.release(&held, Some(&next)).await })
    };
    cluster.come.subscribe().wait_for(|come| *come == 1).await.unwrap();
    etcd.withdraw(&next).await.unwrap();
    cluster.go.add_permits(10);
    assert!(releasing.await.unwrap().unwrap().held);
    assert_eq!(places(&cluster.client).await, 0);
}

/// How many hold the lock or wait for it.
async fn places(cluster: &MemoryClusterClient) -> usize {
    let keys = Keys::Under("x/#".to_owned());
    let all = Read { keys, before: None, order: Order::OldestFirst, limit: 0 };
    let txn = Txn { then: vec![Step::Read(all)], ..Txn::default() };
    cluster.txn(&txn).await.unwrap().reads[0].entries.len()
}

#[tokio::test]
#[allow(clippy::disallowed_methods)] // it is one Tokio runtime
async fn a_claim_that_its_own_release_has_overtaken_is_undone() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let cluster = Gated::before(&memory);
    let runtime = ThreadRuntime::start().unwrap();
    let etcd = Arc::new(Etcd::over(cluster.clone(), "", runtime).await.unwrap());
    let asked = Claim { place: None, ..claim(1) };
    cluster.next(Fate::Held);
    let first = {
        let (etcd, asked) = (etcd.clone(), asked.clone());
        tokio::spawn(async move { etcd.claim(&asked).await })
    };
    cluster.come.subscribe().wait_for(|come| *come == 1).await.unwrap();
    let Answer::Granted { fence, .. } = etcd.claim(&asked).await.unwrap() else { panic!() };
    let held = Held {
        name: asked.name.clone(),
        owner: asked.owner,
        mode: asked.mode,
        fence,
        ttl: TTL,
        renewed: true,
    };
    let releasing = tokio::spawn({
        let etcd = etcd.clone();
        async move { etcd.release(&held, None).await }
    });
    while places(&cluster.client).await > 0 {
        tokio::task::yield_now().await;
    }
    cluster.go.add_permits(100);
    assert!(releasing.await.unwrap().unwrap().held);
    drop(first.await);
    assert_eq!(places(&cluster.client).await, 0, "nobody would give it back");
}

#[tokio::test]
async fn a_lock_that_was_passed_on_is_not_said_to_be_as_it_was() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let cluster = Gated::before(&memory);
    let etcd = Etcd::over(cluster.clone(), "", ThreadRuntime::start().unwrap()).await.unwrap();
    let (first, next) = (claim(1), claim(2));
    cluster.next(Fate::Unheard);
    etcd.claim(&first).await.unwrap_err();
    let Answer::Granted { fence, .. } = etcd.claim(&first).await.unwrap() else { panic!() };
    let (name, owner) = (first.name.clone(), first.owner);
    let held = Held { name, owner, mode: Mode::Exclusive, fence, ttl: TTL, renewed: true };
    // It is passed on, and then the first claim, which may come late, is to be kept out.
    cluster.next(Fate::Next(Box::new(Fate::NotSent)));
    let error = etcd.release(&held, Some(&next)).await.unwrap_err();
    // Else nobody gives back what the next one has.
    assert_eq!((places(&cluster.client).await, error.outcome()), (1, Outcome::Unknown));
}

#[tokio::test]
async fn a_holder_that_leaves_before_it_is_watched_is_not_missed() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let cluster = Gated::before(&memory);
    cluster.go.add_permits(100);
    let runtime = ThreadRuntime::start().unwrap();
    let etcd = Etcd::over(cluster.clone(), "", runtime.clone()).await.unwrap();
    let rival = "x/#0".to_owned();
    let put = Step::Put { key: rival.clone(), value: "rival".to_owned(), session: None };
    memory.client().txn(&Txn { then: vec![put], ..Txn::default() }).await.unwrap();
    let waits = claim(1);
    // The lock is looked at, and then it stands in line.
    cluster.next(Fate::Next(Box::new(Fate::Deletes(rival))));
    assert!(matches!(etcd.claim(&waits).await.unwrap(), Answer::Busy { .. }), "as it was then");
    // Not told, it would ask again in its own time.
    tokio::select! {
        wake = etcd.wake() => assert_eq!(wake, Wake::Name(waits.name)),
        () = runtime.sleep(Duration::from_secs(20)) => panic!("nobody hears of it"),
    }
}

#[tokio::test]
async fn who_is_not_renewed_is_woken_when_its_key_is_deleted() {
    let runtime = ThreadRuntime::start().unwrap();
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let etcd = Etcd::over(Arc::new(memory.client()), "", runtime).await.unwrap();
    let once = Claim { renewed: false, ..claim(1) };
    let Answer::Granted { fence, term, .. } = etcd.claim(&once).await.unwrap() else { panic!() };
    assert!(term.is_some_and(|term| term.lasts == TTL), "{term:?}");
    let (name, owner) = (once.name.clone(), once.owner);
    let held = Held { name, owner, mode: Mode::Exclusive, fence, ttl: TTL, renewed: false };
    let then = vec![Step::Delete(etcd.key(&held).unwrap())];
    memory.client().txn(&Txn { then, ..Txn::default() }).await.unwrap();
    assert_eq!(etcd.wake().await, Wake::Name(once.name));
    assert_eq!(etcd.renew(&[held]).await.unwrap(), [Renewal::Gone]);
}

#[tokio::test]
async fn a_session_that_cannot_be_kept_alive_keeps_no_other_from_it() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let cluster = Gated::before(&memory);
    let etcd = Etcd::over(cluster.clone(), "", ThreadRuntime::start().unwrap()).await.unwrap();
    let mut leases = Vec::new();
    for (owner, name, ttl) in [(1, "x", TTL), (2, "y", TTL * 2)] {
        let asked = Claim { name: LockName::new(name).unwrap(), ttl, ..claim(owner) };
        let Answer::Granted { fence, .. } = etcd.claim(&asked).await.unwrap() else { panic!() };
        let Claim { name, owner, mode, .. } = asked;
        leases.push(Held { name, owner, mode, fence, ttl, renewed: true });
    }
    cluster.go.add_permits(100);
    let keys = Keys::Under("x/#".to_owned());
    let read = Read { keys, before: None, order: Order::OldestFirst, limit: 0 };
    let txn = Txn { then: vec![Step::Read(read)], ..Txn::default() };
    let found = cluster.client.txn(&txn).await.unwrap();
    *cluster.broken.lock().unwrap() = found.reads[0].entries[0].session;
    assert_eq!(etcd.renew(&leases).await.unwrap(), [Renewal::Unknown, Renewal::Kept]);
    assert!(etcd.renew(&leases[..1]).await.is_err());
}
