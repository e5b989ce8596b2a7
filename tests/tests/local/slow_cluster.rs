//! A client of a cluster that is far away, or does not answer; on virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use leasehold::backend::Etcd;
use leasehold::backend::etcd::cluster::{Change, Done, Failure, News, SessionId, Txn};
use leasehold::backend::etcd::{Cluster, MemoryCluster, MemoryClusterClient};
use leasehold::{Client, Error, Options};
use leasehold_tests::wire::{World, hold, on_virtual_time, spawn};
use leasehold_tests::world::{Machine, TrueClock};

const SECOND: Duration = Duration::from_secs(1);

/// A cluster that is so many milliseconds away.
struct Far {
    inner: MemoryClusterClient,
    truth: TrueClock,
    round_trip: AtomicU64,
    /// It does not do what it is asked, and says so when the time is over.
    fails: AtomicBool,
    opened: AtomicU64,
}

impl Far {
    async fn half(&self) {
        let half = Duration::from_millis(self.round_trip.load(Ordering::SeqCst)) / 2;
        if !half.is_zero() {
            self.truth.sleep(half).await;
        }
    }

    async fn there<T: From<Error>>(&self) -> Result<(), T> {
        self.half().await;
        if !self.fails.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.half().await;
        Err(Error::new(leasehold::Kind::Unavailable, "the member is away").into())
    }
}

#[async_trait]
impl Cluster for Far {
    async fn txn(&self, txn: &Txn) -> Result<Done, Failure> {
        self.there::<Failure>().await?;
        let done = self.inner.txn(txn).await;
        self.half().await;
        done
    }

    async fn open(&self, seconds: u64) -> Result<(SessionId, Duration), Error> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.there::<Error>().await?;
        let opened = self.inner.open(seconds).await;
        self.half().await;
        opened
    }

    async fn keep_alive(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        self.there::<Error>().await?;
        let kept = self.inner.keep_alive(session).await;
        self.half().await;
        kept
    }

    async fn end(&self, session: SessionId) -> Result<(), Error> {
        self.inner.end(session).await
    }

    async fn ends_in(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        self.inner.ends_in(session).await
    }

    fn watch(&self, key: &str, change: Change, after: u64) {
        self.inner.watch(key, change, after);
    }

    fn unwatch(&self, key: &str) {
        self.inner.unwatch(key);
    }

    async fn news(&self) -> News {
        self.inner.news().await
    }

    fn describe(&self) -> &str {
        "far away"
    }
}

async fn client(world: &World, cluster: &MemoryCluster, seed: u64) -> (Client, Arc<Far>) {
    let machine = Machine::new(world.truth, 1.0, seed);
    let far = Arc::new(Far {
        inner: cluster.client(),
        truth: world.truth,
        round_trip: AtomicU64::new(0),
        fails: AtomicBool::new(false),
        opened: AtomicU64::new(0),
    });
    let etcd = Etcd::over(far.clone(), "leasehold/", machine.clone()).await.expect("a client");
    let options = Options::new().runtime(machine).ttl(SECOND * 30);
    (options.open(Arc::new(etcd)).expect("a client"), far)
}

/// A client of a cluster of its own, so many milliseconds away.
async fn far_away(world: &World, round_trip: u64) -> (Client, Arc<Far>) {
    let cluster = MemoryCluster::with_min_ttl(Arc::new(world.truth), 2);
    let (client, far) = client(world, &cluster, 1).await;
    far.round_trip.store(round_trip, Ordering::SeqCst);
    (client, far)
}

/// A client of which many wait for two minutes at a cluster like that, and then nobody.
async fn left_by_a_crowd(world: &World, round_trip: u64, fails: bool) -> (Client, Arc<Far>) {
    let cluster = MemoryCluster::with_min_ttl(Arc::new(world.truth), 2);
    let (other, _) = client(world, &cluster, 1).await;
    let (client, far) = client(world, &cluster, 2).await;
    far.round_trip.store(round_trip, Ordering::SeqCst);
    far.fails.store(fails, Ordering::SeqCst);
    let mut crowd = Vec::new();
    for number in 0..20 {
        let name = format!("held {number}");
        std::mem::forget(hold(&other, &name).await);
        let lock = client.lock(name).wait(SECOND * 3000);
        crowd.push(spawn(async move { lock.acquire().await.map(drop) }));
    }
    world.truth.sleep(SECOND * 120).await;
    for waiter in &crowd {
        waiter.abort();
    }
    for waiter in crowd {
        drop(waiter.await);
    }
    (client, far)
}

#[test]
fn a_crowd_that_is_gone_keeps_a_free_lock_from_nobody() {
    on_virtual_time(async |world| {
        let (client, _) = left_by_a_crowd(&world, 700, false).await;
        let since = world.truth.elapsed();
        hold(&client, "free").await.release().await.expect("held");
        let took = world.truth.elapsed() - since;
        assert!(took < SECOND * 4, "{took:?}");
    });
}

#[test]
fn when_a_crowd_is_gone_its_client_asks_for_no_sessions() {
    on_virtual_time(async |world| {
        let (client, far) = left_by_a_crowd(&world, 3000, true).await;
        world.truth.sleep(SECOND * 4).await;
        let before = far.opened.load(Ordering::SeqCst);
        assert!(before > 0);
        world.truth.sleep(SECOND * 60).await;
        assert_eq!(far.opened.load(Ordering::SeqCst), before);
        drop(client);
        world.truth.sleep(SECOND * 10).await;
        assert_eq!(Arc::strong_count(&far), 1, "the client has it still");
    });
}

#[test]
fn many_who_need_a_session_open_one() {
    on_virtual_time(async |world| {
        let (client, far) = far_away(&world, 700).await;
        let take = |number: u32| {
            let lock = client.lock(format!("x{number}"));
            spawn(async move { lock.acquire().await })
        };
        let takers: Vec<_> = (0..20).map(take).collect();
        for taker in takers {
            std::mem::forget(taker.await.expect("no panic").expect("a free lock"));
        }
        // One in which to begin, and one of their ttl.
        assert_eq!(far.opened.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_client_that_is_closed_opens_no_sessions() {
    on_virtual_time(async |world| {
        let (client, far) = far_away(&world, 2000).await;
        let wait = |number: u32| {
            let lock = client.lock(format!("x{number}")).ttl(SECOND * (40 + number));
            spawn(async move { lock.acquire().await.map(drop) })
        };
        let waiters: Vec<_> = (0..20).map(wait).collect();
        world.truth.sleep(SECOND / 2).await;
        client.close().await;
        let before = far.opened.load(Ordering::SeqCst);
        world.truth.sleep(SECOND * 100).await;
        assert_eq!(far.opened.load(Ordering::SeqCst), before);
        for waiter in waiters {
            waiter.await.expect("no panic").expect_err("closed");
        }
    });
}

#[test]
fn a_release_is_confirmed_though_it_takes_long_to_hand_the_lock_on() {
    on_virtual_time(async |world| {
        let cluster = MemoryCluster::with_min_ttl(Arc::new(world.truth), 2);
        let (client, far) = client(&world, &cluster, 1).await;
        let lease = client.lock("x").ttl(SECOND * 10).auto_renew(false).acquire().await;
        let lease = lease.expect("the lock");
        let lock = client.lock("x").ttl(SECOND * 20);
        let waiter = spawn(async move { lock.acquire().await });
        // Nearly two seconds before its end.
        world.truth.sleep(SECOND * 82 / 10).await;
        far.round_trip.store(700, Ordering::SeqCst);
        assert!(lease.is_valid());
        lease.release().await.expect("it was held when it was given back");
        waiter.await.expect("no panic").expect("the lock");
    });
}
