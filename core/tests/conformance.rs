//! The public conformance suite on the backends that need no server.

use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::quorum::{MemoryNode, Node};
use leasehold::backend::{Backend, Memory, Quorum, Sqlite};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::testing::{ManualClock, Stage};

struct InMemory {
    server: Memory,
    clock: ManualClock,
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

    leasehold::conformance_tests!({
        let clock = ManualClock::new();
        InMemory { server: Memory::new(Arc::new(clock.clone())), clock }
    });
}

mod memory_that_grants {
    use super::*;

    leasehold::conformance_tests!({
        let clock = ManualClock::new();
        let server = Memory::granting(Arc::new(clock.clone()), Duration::from_secs(1));
        InMemory { server, clock }
    });
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
}

mod five_nodes {
    use super::*;

    leasehold::conformance_tests!(OnNodes::of(5));
}

struct InFile {
    dir: tempfile::TempDir,
    runtime: Arc<ThreadRuntime>,
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

    leasehold::conformance_tests!(InFile {
        dir: tempfile::tempdir().expect("a directory"),
        runtime: ThreadRuntime::start().expect("a thread"),
    });
}
