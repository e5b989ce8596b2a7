//! A client that is far from the nodes of its quorum, on virtual time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leasehold::backend::Quorum;
use leasehold::backend::quorum::{
    Ask, Evicted, MemoryNode, MemoryNodeClient, News, Node, Renewed, Return, Returned, Said, Seen,
    Signed, Vow,
};
use leasehold::time::{Clock, Instant};
use leasehold::{Client, Error, LockName, Options};
use leasehold_tests::wire::{TTL, World, on_virtual_time, spawn};
use leasehold_tests::world::{Machine, TrueClock};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
const NEAR: [Duration; 3] = [Duration::ZERO; 3];

/// A connection over which everything takes so long, each way.
struct Far {
    node: MemoryNodeClient,
    truth: TrueClock,
    way: Duration,
}

impl Far {
    async fn there_and_back<T>(&self, asking: impl Future<Output = T>) -> T {
        self.truth.sleep(self.way).await;
        let answer = asking.await;
        self.truth.sleep(self.way).await;
        answer
    }
}

#[async_trait]
impl Node for Far {
    async fn vote(&self, ask: &Ask) -> Result<Signed<Said>, Error> {
        self.there_and_back(self.node.vote(ask)).await
    }

    async fn give_back(&self, back: &Return) -> Result<Signed<Returned>, Error> {
        self.there_and_back(self.node.give_back(back)).await
    }

    async fn renew(&self, leases: &[Vow]) -> Result<Signed<Renewed>, Error> {
        self.there_and_back(self.node.renew(leases)).await
    }

    async fn evict(&self, name: &LockName, up_to: u64) -> Result<Signed<Evicted>, Error> {
        self.there_and_back(self.node.evict(name, up_to)).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Signed<Vec<Seen>>, Error> {
        self.there_and_back(self.node.inspect(name)).await
    }

    async fn news(&self) -> News {
        self.node.news().await
    }

    fn is_well(&self) -> bool {
        true
    }

    fn clock_at_connect(&self) -> Option<(u64, Instant)> {
        Some((self.truth.wall_micros(), self.truth.now()))
    }

    fn describe(&self) -> &str {
        "memory: far away"
    }
}

fn nodes(world: &World) -> [MemoryNode; 3] {
    [(); 3].map(|()| MemoryNode::new(Arc::new(world.truth), SECOND * 60))
}

/// `ways`: to each of the nodes.
fn client(world: &World, nodes: &[MemoryNode; 3], ways: [Duration; 3], seed: u64) -> Client {
    let machine = Machine::new(world.truth, 1.0, seed);
    let node = |(node, way): (&MemoryNode, Duration)| {
        Arc::new(Far { node: node.client(), truth: world.truth, way }) as Arc<dyn Node>
    };
    let nodes = nodes.iter().zip(ways).map(node).collect();
    let quorum = Quorum::new(nodes, SECOND * 60, machine.clone()).expect("a quorum");
    Options::new().runtime(machine).ttl(TTL).open(Arc::new(quorum)).expect("a client")
}

#[test]
fn a_reader_far_away_shares_a_lock_beside_near_ones_that_come_and_go() {
    on_virtual_time(async |world| {
        let truth = world.truth;
        let nodes = nodes(&world);
        for number in 0..4 {
            let lock = client(&world, &nodes, NEAR, number.into()).lock("x").shared();
            spawn(async move {
                truth.sleep(17 * MILLI * number).await;
                loop {
                    let lease = lock.acquire().await.expect("a share");
                    truth.sleep(50 * MILLI).await;
                    lease.release().await.expect("held");
                    truth.sleep(10 * MILLI).await;
                }
            });
        }
        let far = client(&world, &nodes, [75 * MILLI; 3], 9).lock("x").shared().wait(5 * SECOND);
        for _ in 0..5 {
            let asked = truth.elapsed();
            let lease = far.acquire().await.expect("a share, while others come and go");
            let took = truth.elapsed() - asked;
            assert!(took < 2 * SECOND, "{took:?}");
            lease.release().await.expect("held");
        }
    });
}

#[test]
fn a_break_that_comes_late_to_some_nodes_leaves_whoever_has_the_lock_by_then() {
    for is_shared in [false, true] {
        on_virtual_time(async |world| {
            let (truth, nodes) = (world.truth, nodes(&world));
            // It has two nodes, of which the first keeps the line of this lock.
            let two = [Duration::ZERO, Duration::ZERO, SECOND * 3600];
            let broken = client(&world, &nodes, two, 1).lock("c");
            let broken = if is_shared { broken.shared() } else { broken };
            let broken = broken.acquire().await.expect("a lease");
            let next = client(&world, &nodes, NEAR, 2).lock("c");
            let next = spawn(async move { next.acquire().await.expect("a lease") });
            truth.sleep(SECOND).await;
            let far = client(&world, &nodes, [0, 150, 120].map(|way| way * MILLI), 3);
            assert!(far.break_lock("c").await.expect("a majority"), "shared: {is_shared}");
            let next = next.await.expect("no panic");
            broken.lost().await;
            truth.sleep(TTL * 2).await;
            assert!(next.is_valid(), "shared: {is_shared}, {:?}", next.loss());
            next.release().await.expect("held");
            assert!(!far.break_lock("c").await.expect("a majority"), "nobody holds it");
        });
    }
}
