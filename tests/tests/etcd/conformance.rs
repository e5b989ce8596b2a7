//! The public conformance suite on real members.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use leasehold::backend::{Answer, Backend, Claim, Etcd as Client, Mode};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::testing::Stage;
use leasehold::{LockName, Owner};
use leasehold_tests::servers::{Etcd, EtcdSettings, EtcdVersion};

/// So often those who wait ask again.
const LOOK: Duration = Duration::from_millis(400);

/// One member for all cases, each of which has a prefix of its own.
struct OnMember {
    url: String,
    runtime: Arc<ThreadRuntime>,
    /// Those whose places are kept while time passes.
    kept: Option<Mutex<Vec<Arc<Client>>>>,
}

impl OnMember {
    fn of(member: &Etcd) -> Self {
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}?prefix=stage{number}/", member.url());
        Self { url, runtime: ThreadRuntime::start().expect("a thread"), kept: None }
    }

    /// Where those who wait ask again while time passes.
    fn keeping_places(member: &Etcd) -> Self {
        Self { kept: Some(Mutex::default()), ..Self::of(member) }
    }

    /// Ask again, as an engine does, for a place behind a lock of its own: all places of
    /// a client that are for long live together.
    async fn keep_places(&self, kept: &Mutex<Vec<Arc<Client>>>) {
        let clients = kept.lock().expect("no panic").clone();
        for (number, client) in clients.iter().enumerate() {
            let ask = |owner: usize| Claim {
                name: LockName::new("stage").expect("a name"),
                owner: Owner::from_bits(owner as u128 + 1),
                ttl: Duration::from_secs(60),
                delay: Duration::ZERO,
                mode: Mode::Exclusive,
                label: "the stage".into(),
                place: Some(Duration::from_secs(60)),
                renewed: true,
            };
            if number == 0 {
                let held = client.claim(&ask(0)).await.expect("a claim");
                assert!(matches!(held, Answer::Granted { .. }), "{held:?}");
            }
            client.claim(&ask(1 + number)).await.expect("a claim");
        }
    }
}

#[async_trait::async_trait]
impl Stage for OnMember {
    async fn client(&self) -> Arc<dyn Backend> {
        let client = Client::connect(&self.url, self.runtime.clone()).await;
        let client = Arc::new(client.expect("a connection"));
        if let Some(kept) = &self.kept {
            kept.lock().expect("no panic").push(client.clone());
        }
        client
    }

    async fn pass(&self, span: Duration) {
        // Its shortest ttl is a second here, and it looks twice in a second
        // for what is over.
        let mut left = span + Duration::from_secs(2);
        while let Some(kept) = self.kept.as_ref().filter(|_| left > LOOK) {
            self.keep_places(kept).await;
            self.runtime.sleep(LOOK).await;
            left -= LOOK;
        }
        self.runtime.sleep(left).await;
    }
}

fn member(version: EtcdVersion) -> Etcd {
    EtcdSettings::default().version(version).fast_elections().start()
}

mod etcd_3_5 {
    use super::*;

    static MEMBER: OnceLock<Etcd> = OnceLock::new();

    leasehold::conformance_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::New))));
    leasehold::sharing_tests!(OnMember::keeping_places(
        MEMBER.get_or_init(|| member(EtcdVersion::New))
    ));
    leasehold::counting_tests!(OnMember::keeping_places(
        MEMBER.get_or_init(|| member(EtcdVersion::New))
    ));
    leasehold::handing_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::New))));
    leasehold::resting_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::New))));
}

mod etcd_3_4 {
    use super::*;

    static MEMBER: OnceLock<Etcd> = OnceLock::new();

    leasehold::conformance_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::Old))));
    leasehold::sharing_tests!(OnMember::keeping_places(
        MEMBER.get_or_init(|| member(EtcdVersion::Old))
    ));
    leasehold::counting_tests!(OnMember::keeping_places(
        MEMBER.get_or_init(|| member(EtcdVersion::Old))
    ));
    leasehold::handing_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::Old))));
    leasehold::resting_tests!(OnMember::of(MEMBER.get_or_init(|| member(EtcdVersion::Old))));
}
