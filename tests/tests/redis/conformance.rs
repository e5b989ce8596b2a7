//! The public conformance suite on real servers.

use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::{Backend, Redis};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::testing::Stage;
use leasehold_tests::servers::{Flavor, Server, Settings};

/// A server for each case: it starts faster than a case takes, and dies with it.
struct OnServer {
    server: Server,
    runtime: Arc<ThreadRuntime>,
}

impl OnServer {
    fn of(settings: Settings) -> Self {
        let runtime = ThreadRuntime::start().expect("a thread");
        Self { server: settings.start(), runtime }
    }
}

#[async_trait::async_trait]
impl Stage for OnServer {
    async fn client(&self) -> Arc<dyn Backend> {
        let client = Redis::connect(&self.server.url(), self.runtime.clone()).await;
        Arc::new(client.expect("a connection"))
    }

    async fn pass(&self, span: Duration) {
        self.runtime.sleep(span).await;
    }
}

mod redis_7 {
    use super::*;

    leasehold::conformance_tests!(OnServer::of(Settings::default()));
    leasehold::sharing_tests!(OnServer::of(Settings::default()));
    leasehold::counting_tests!(OnServer::of(Settings::default()));
    leasehold::handing_tests!(OnServer::of(Settings::default()));
    leasehold::resting_tests!(OnServer::of(Settings::default()));
}

mod valkey_8 {
    use super::*;

    leasehold::conformance_tests!(OnServer::of(Settings::default().flavor(Flavor::Valkey)));
    leasehold::sharing_tests!(OnServer::of(Settings::default().flavor(Flavor::Valkey)));
    leasehold::counting_tests!(OnServer::of(Settings::default().flavor(Flavor::Valkey)));
    leasehold::handing_tests!(OnServer::of(Settings::default().flavor(Flavor::Valkey)));
    leasehold::resting_tests!(OnServer::of(Settings::default().flavor(Flavor::Valkey)));
}

mod without_resp3 {
    use super::*;

    leasehold::conformance_tests!(OnServer::of(
        Settings::default().config("rename-command", "HELLO \"\"")
    ));
}
