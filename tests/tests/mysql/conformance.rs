//! The public conformance suite on a real server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use leasehold::backend::{Backend, Mysql as Client};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::testing::Stage;
use leasehold_tests::servers::{Mysql, MysqlSettings};

/// One server for all cases, each of which has a table of its own.
struct OnServer {
    url: String,
    runtime: Arc<ThreadRuntime>,
}

impl OnServer {
    fn new(options: &str) -> Self {
        static SERVER: OnceLock<Mysql> = OnceLock::new();
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let server = SERVER.get_or_init(|| MysqlSettings::default().start());
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}&table=stage{number}{options}", server.url());
        Self { url, runtime: ThreadRuntime::start().expect("a thread") }
    }
}

#[async_trait::async_trait]
impl Stage for OnServer {
    async fn client(&self) -> Arc<dyn Backend> {
        let client = Client::connect(&self.url, self.runtime.clone()).await;
        Arc::new(client.expect("a connection"))
    }

    async fn pass(&self, span: Duration) {
        self.runtime.sleep(span).await;
    }
}

leasehold::conformance_tests!(OnServer::new(""));
leasehold::sharing_tests!(OnServer::new(""));
leasehold::handing_tests!(OnServer::new(""));
leasehold::resting_tests!(OnServer::new(""));
