//! The public conformance suite on real members.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use leasehold::backend::{Backend, Etcd as Client};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::testing::Stage;
use leasehold_tests::servers::{Etcd, EtcdSettings, EtcdVersion};

/// One member for all cases, each of which has a prefix of its own.
struct OnMember {
    url: String,
    runtime: Arc<ThreadRuntime>,
}

impl OnMember {
    fn of(member: &Etcd) -> Self {
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}?prefix=stage{number}/", member.url());
        Self { url, runtime: ThreadRuntime::start().expect("a thread") }
    }
}

#[async_trait::async_trait]
impl Stage for OnMember {
    async fn client(&self) -> Arc<dyn Backend> {
        let client = Client::connect(&self.url, self.runtime.clone()).await;
        Arc::new(client.expect("a connection"))
    }

    async fn pass(&self, span: Duration) {
        // Its shortest ttl is a second here, and it looks twice in a second
        // for what is over.
        self.runtime.sleep(span + Duration::from_secs(2)).await;
    }
}

fn member(version: EtcdVersion) -> Etcd {
    EtcdSettings::default().version(version).fast_elections().start()
}

mod etcd_3_5 {
    use super::*;

    static MEMBER: OnceLock<Etcd> = OnceLock::new();

    leasehold::conformance_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::New))));
    leasehold::handing_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::New))));
    leasehold::resting_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::New))));
}

mod etcd_3_4 {
    use super::*;

    static MEMBER: OnceLock<Etcd> = OnceLock::new();

    leasehold::conformance_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::Old))));
    leasehold::handing_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::Old))));
    leasehold::resting_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::Old))));
}
