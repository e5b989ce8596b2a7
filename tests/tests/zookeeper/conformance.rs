//! The public conformance suite on real servers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use leasehold::backend::{Backend, Zookeeper as Client};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::testing::Stage;
use leasehold_tests::servers::{ZooKeeper, ZooKeeperSettings};

/// One ensemble for all cases, each of which has a node of its own.
struct OnEnsemble {
    url: String,
    runtime: Arc<ThreadRuntime>,
}

impl OnEnsemble {
    fn of(ensemble: &ZooKeeper) -> Self {
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}/stage{number}", ensemble.url());
        Self { url, runtime: ThreadRuntime::start().expect("a thread") }
    }
}

#[async_trait::async_trait]
impl Stage for OnEnsemble {
    async fn client(&self) -> Arc<dyn Backend> {
        let client = Client::connect(&self.url, self.runtime.clone()).await;
        Arc::new(client.expect("a connection"))
    }

    async fn pass(&self, span: Duration) {
        // Its client deletes what is over, on a busy machine.
        self.runtime.sleep(span + Duration::from_millis(400)).await;
    }
}

/// The suite has leases of a day.
fn start(members: usize) -> ZooKeeper {
    let settings = ZooKeeperSettings::default().members(members);
    settings.line("maxSessionTimeout=200000000").start()
}

mod one_server {
    use super::*;

    static SERVER: OnceLock<ZooKeeper> = OnceLock::new();

    leasehold::conformance_tests!(OnEnsemble::of(SERVER.get_or_init(|| start(1))));
}

mod three_servers {
    use super::*;

    static ENSEMBLE: OnceLock<ZooKeeper> = OnceLock::new();

    leasehold::conformance_tests!(OnEnsemble::of(ENSEMBLE.get_or_init(|| start(3))));
}
