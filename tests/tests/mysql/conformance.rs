//! The public conformance suite on a real server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use leasehold::backend::{
    Answer, Backend, Claim, Heir, Held, Mode, Mysql as Client, Released, Renewal, Status,
    Transferred, Wake,
};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::testing::Stage;
use leasehold::{Error, LockName};
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

/// Nobody is told anything. The suite looks again after the time after which who is first in
/// line asks.
struct AskingAgain {
    client: Client,
    runtime: Arc<ThreadRuntime>,
}

#[async_trait::async_trait]
impl Backend for AskingAgain {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        self.client.claim(claim).await
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.client.renew(leases).await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        self.client.release(held, then).await
    }

    async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        self.client.rest(held, rest).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        self.client.withdraw(claim).await
    }

    async fn transfer(&self, held: &Held, to: &Claim, heir: Heir) -> Result<Transferred, Error> {
        self.client.transfer(held, to, heir).await
    }

    fn tickets(&self, lasts: Duration) -> Result<&'static str, Error> {
        self.client.tickets(lasts)
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        self.client.evict(name).await
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        self.client.relabel(held, label).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        self.client.inspect(name).await
    }

    async fn wake(&self) -> Wake {
        self.runtime.sleep(Duration::from_millis(100)).await;
        Wake::All
    }

    fn supports(&self, mode: Mode) -> Result<(), Error> {
        self.client.supports(mode)
    }

    fn supports_rest(&self) -> Result<(), Error> {
        self.client.supports_rest()
    }

    fn describe(&self) -> &str {
        self.client.describe()
    }
}

#[async_trait::async_trait]
impl Stage for OnServer {
    async fn client(&self) -> Arc<dyn Backend> {
        let client = Client::connect(&self.url, self.runtime.clone()).await;
        let (client, runtime) = (client.expect("a connection"), self.runtime.clone());
        Arc::new(AskingAgain { client, runtime })
    }

    async fn pass(&self, span: Duration) {
        self.runtime.sleep(span).await;
    }
}

leasehold::conformance_tests!(OnServer::new(""));
leasehold::sharing_tests!(OnServer::new(""));
leasehold::handing_tests!(OnServer::new(""));
leasehold::resting_tests!(OnServer::new(""));
