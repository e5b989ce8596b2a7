//! The public conformance suite on the backends that need no server.

use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::{Backend, Memory, Sqlite};
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
