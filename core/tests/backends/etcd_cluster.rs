//! The etcd backend on a cluster that answers when it is told to.

use std::sync::Arc;
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
use leasehold::{Error, LockName, Owner};
use tokio::sync::{Semaphore, watch};

const TTL: Duration = Duration::from_secs(60);

/// Lets keep-alives through one by one, and tells that one has come.
struct Gated {
    client: MemoryClusterClient,
    come: watch::Sender<usize>,
    go: Semaphore,
}

#[async_trait]
impl Cluster for Gated {
    async fn txn(&self, txn: &Txn) -> Result<Done, Failure> {
        self.client.txn(txn).await
    }

    async fn open(&self, seconds: u64) -> Result<(SessionId, Duration), Error> {
        self.client.open(seconds).await
    }

    async fn keep_alive(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        self.come.send_modify(|come| *come += 1);
        self.go.acquire().await.unwrap().forget();
        self.client.keep_alive(session).await
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
    let (client, come, go) = (memory.client(), watch::Sender::new(0), Semaphore::new(0));
    let cluster = Arc::new(Gated { client, come, go });
    let runtime = Arc::new(Slow(clock.clone(), ThreadRuntime::start().unwrap()));
    let etcd = Arc::new(Etcd::over(cluster.clone(), "", runtime).await.unwrap());
    let (first, next) = (claim(1), claim(2));
    let Answer::Granted { fence, .. } = etcd.claim(&first).await.unwrap() else { panic!() };
    let (name, owner) = (first.name.clone(), first.owner);
    let held = Held { name, owner, fence, ttl: TTL, renewed: true };
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
    let keys = Keys::Under("x/".to_owned());
    let all = Read { keys, before: None, order: Order::OldestFirst, limit: 0 };
    let txn = Txn { then: vec![Step::Read(all)], ..Txn::default() };
    let left = cluster.client.txn(&txn).await.unwrap().reads;
    assert_eq!(left[0].entries, []);
}

#[tokio::test]
async fn who_is_not_renewed_is_woken_when_its_key_is_deleted() {
    let runtime = ThreadRuntime::start().unwrap();
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let etcd = Etcd::over(Arc::new(memory.client()), "", runtime).await.unwrap();
    let once = Claim { renewed: false, ..claim(1) };
    let Answer::Granted { fence, term } = etcd.claim(&once).await.unwrap() else { panic!() };
    assert!(term.is_some_and(|term| term.lasts == TTL), "{term:?}");
    let (name, owner) = (once.name.clone(), once.owner);
    let held = Held { name, owner, fence, ttl: TTL, renewed: false };
    let then = vec![Step::Delete(etcd.key(&held).unwrap())];
    memory.client().txn(&Txn { then, ..Txn::default() }).await.unwrap();
    assert_eq!(etcd.wake().await, Wake::Name(once.name));
    assert_eq!(etcd.renew(&[held]).await.unwrap(), [Renewal::Gone]);
}
