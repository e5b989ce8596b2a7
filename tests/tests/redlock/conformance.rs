//! The public conformance suite on a quorum of real servers.

use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::{Backend, Quorum};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::testing::Stage;
use leasehold_tests::servers::{Flavor, Server, Settings};

/// Three servers for each case: they start faster than a case takes, and die
/// with it.
struct OnServers {
    servers: [Server; 3],
    runtime: Arc<ThreadRuntime>,
}

impl OnServers {
    fn of(flavor: Flavor) -> Self {
        let servers = [(); 3].map(|()| Settings::default().flavor(flavor).start());
        Self { servers, runtime: ThreadRuntime::start().expect("a thread") }
    }
}

#[async_trait::async_trait]
impl Stage for OnServers {
    async fn client(&self) -> Arc<dyn Backend> {
        let [a, b, c] = self.servers.each_ref().map(Server::port);
        let url = format!("redlock://127.0.0.1:{a},127.0.0.1:{b},127.0.0.1:{c}?max_ttl=48h");
        let client = Quorum::connect(&url, self.runtime.clone()).await;
        Arc::new(client.expect("a quorum"))
    }

    async fn pass(&self, span: Duration) {
        self.runtime.sleep(span).await;
    }
}

mod redis_7 {
    use super::*;

    leasehold::conformance_tests!(OnServers::of(Flavor::Redis));
    leasehold::sharing_tests!(OnServers::of(Flavor::Redis));
}

mod valkey_8 {
    use super::*;

    leasehold::conformance_tests!(OnServers::of(Flavor::Valkey));
    leasehold::sharing_tests!(OnServers::of(Flavor::Valkey));
}
