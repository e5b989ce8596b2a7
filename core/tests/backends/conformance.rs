//! The public conformance suite on the backends that need no server.

use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::etcd::MemoryCluster;
use leasehold::backend::quorum::{MemoryNode, Node};
use leasehold::backend::{Backend, Etcd, Memory, Quorum, Sqlite};
use leasehold::runtime::{BoxFuture, Runtime, ThreadRuntime};
use leasehold::testing::{ManualClock, Stage};
use leasehold::time::{Clock, Instant};

struct InMemory {
    server: Memory,
    clock: ManualClock,
}

impl InMemory {
    fn new() -> Self {
        let clock = ManualClock::new();
        Self { server: Memory::new(Arc::new(clock.clone())), clock }
    }

    fn granting() -> Self {
        let clock = ManualClock::new();
        let server = Memory::granting(Arc::new(clock.clone()), Duration::from_secs(1));
        Self { server, clock }
    }
}

#[async_trait::async_trait]
impl Stage for InMemory {
    async fn client(&self) -> Arc<dyn Backend> {
        Arc::new(self.server.client())
    }

    async fn pass(&self, span: Duration) {
        self.clock.advance(span);
    }
}

mod memory {
    use super::*;

    leasehold::conformance_tests!(InMemory::new());
    leasehold::sharing_tests!(InMemory::new());
    leasehold::counting_tests!(InMemory::new());
    leasehold::handing_tests!(InMemory::new());
    leasehold::resting_tests!(InMemory::new());
}

mod memory_that_grants {
    use super::*;

    leasehold::conformance_tests!(InMemory::granting());
    leasehold::sharing_tests!(InMemory::granting());
    leasehold::counting_tests!(InMemory::granting());
    leasehold::handing_tests!(InMemory::granting());
    leasehold::resting_tests!(InMemory::granting());
}

struct OnNodes {
    nodes: Vec<MemoryNode>,
    clock: ManualClock,
    runtime: Arc<ThreadRuntime>,
}

impl OnNodes {
    const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    fn of(nodes: usize) -> Self {
        let clock = ManualClock::new();
        let node = || MemoryNode::new(Arc::new(clock.clone()), 2 * Self::MAX_TTL);
        let nodes = (0..nodes).map(|_| node()).collect();
        Self { nodes, clock, runtime: ThreadRuntime::start().expect("a thread") }
    }
}

#[async_trait::async_trait]
impl Stage for OnNodes {
    async fn client(&self) -> Arc<dyn Backend> {
        let nodes = self.nodes.iter().map(|node| Arc::new(node.client()) as Arc<dyn Node>);
        let quorum = Quorum::new(nodes.collect(), Self::MAX_TTL, self.runtime.clone());
        Arc::new(quorum.expect("a quorum"))
    }

    async fn pass(&self, span: Duration) {
        self.clock.advance(span);
    }
}

mod three_nodes {
    use super::*;

    leasehold::conformance_tests!(OnNodes::of(3));
    leasehold::sharing_tests!(OnNodes::of(3));
}

mod five_nodes {
    use super::*;

    leasehold::conformance_tests!(OnNodes::of(5));
    leasehold::sharing_tests!(OnNodes::of(5));
}

struct InFile {
    dir: tempfile::TempDir,
    runtime: Arc<ThreadRuntime>,
}

impl InFile {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { dir, runtime: ThreadRuntime::start().expect("a thread") }
    }
}

#[async_trait::async_trait]
impl Stage for InFile {
    async fn client(&self) -> Arc<dyn Backend> {
        let path = self.dir.path().join("locks.db");
        Arc::new(Sqlite::open(&path, self.runtime.clone()).await.expect("a database"))
    }

    async fn pass(&self, span: Duration) {
        self.runtime.sleep(span).await;
    }
}

mod sqlite {
    use super::*;

    leasehold::conformance_tests!(InFile::new());
    leasehold::sharing_tests!(InFile::new());
    leasehold::counting_tests!(InFile::new());
    leasehold::handing_tests!(InFile::new());
    leasehold::resting_tests!(InFile::new());
}

/// Time as the manual clock has it, on a thread of its own.
struct ManualRuntime {
    clock: ManualClock,
    thread: Arc<ThreadRuntime>,
}

impl Clock for ManualRuntime {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall_micros(&self) -> u64 {
        self.clock.wall_micros()
    }
}

impl Runtime for ManualRuntime {
    fn sleep(&self, span: Duration) -> BoxFuture {
        self.thread.sleep(span)
    }

    fn spawn(&self, task: BoxFuture) {
        self.thread.spawn(task);
    }

    fn random(&self) -> u128 {
        self.thread.random()
    }
}

struct OnCluster {
    cluster: MemoryCluster,
    runtime: Arc<ManualRuntime>,
}

#[async_trait::async_trait]
impl Stage for OnCluster {
    async fn client(&self) -> Arc<dyn Backend> {
        let cluster = Arc::new(self.cluster.client());
        let client = Etcd::over(cluster, "leasehold/", self.runtime.clone()).await;
        Arc::new(client.expect("a cluster in memory"))
    }

    async fn pass(&self, span: Duration) {
        // It counts whole seconds.
        self.runtime.clock.advance(span + Duration::from_secs(1));
        self.cluster.expire();
    }
}

mod etcd_in_memory {
    use super::*;

    fn stage() -> OnCluster {
        let (clock, thread) = (ManualClock::new(), ThreadRuntime::start().expect("a thread"));
        let cluster = MemoryCluster::new(Arc::new(clock.clone()));
        OnCluster { cluster, runtime: Arc::new(ManualRuntime { clock, thread }) }
    }

    leasehold::conformance_tests!(stage());
    leasehold::sharing_tests!(stage());
    leasehold::counting_tests!(stage());
    leasehold::handing_tests!(stage());
    leasehold::resting_tests!(stage());
}
