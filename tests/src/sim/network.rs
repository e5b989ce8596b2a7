//! What lies between a client and its one server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leasehold::backend::{
    Answer, Backend, Claim, Heir, Held, MemoryClient, Mode, Released, Renewal, Status, Transferred,
    Wake,
};
use leasehold::{Error, LockName};

use super::ledger::Ledger;
use super::link::Link;

/// The ledger's number for it.
pub(super) const THE_SERVER: usize = 0;

/// A connection to the server through bad weather.
pub(super) struct Network {
    link: Link<MemoryClient>,
    ledger: Arc<Ledger>,
}

impl Network {
    pub(super) fn new(link: Link<MemoryClient>) -> Arc<Self> {
        let ledger = link.state().weather.ledger.clone();
        Arc::new(Self { link, ledger })
    }
}

#[async_trait]
impl Backend for Network {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        let (claim, ledger) = (claim.clone(), self.ledger.clone());
        self.link
            .send(Arc::new(move |inner| {
                let (claim, ledger) = (claim.clone(), ledger.clone());
                Box::pin(async move {
                    let answer = inner.claim(&claim).await?;
                    if matches!(answer, Answer::Granted { .. }) {
                        ledger.made_holder(THE_SERVER, claim.owner, 0);
                    }
                    Ok(answer)
                })
            }))
            .await
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        leases.iter().for_each(|held| self.ledger.renewing(&held.name, held.fence));
        let leases = leases.to_vec();
        self.link
            .send(Arc::new(move |inner| {
                let leases = leases.clone();
                Box::pin(async move { inner.renew(&leases).await })
            }))
            .await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        let (held, then) = (held.clone(), then.cloned());
        self.link
            .send(Arc::new(move |inner| {
                let (held, then) = (held.clone(), then.clone());
                Box::pin(async move { inner.release(&held, then.as_ref()).await })
            }))
            .await
    }

    async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        let held = held.clone();
        self.link
            .send(Arc::new(move |inner| {
                let held = held.clone();
                Box::pin(async move { inner.rest(&held, rest).await })
            }))
            .await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        let (claim, ledger) = (claim.clone(), self.ledger.clone());
        self.link
            .send(Arc::new(move |inner| {
                let (claim, ledger) = (claim.clone(), ledger.clone());
                Box::pin(async move {
                    inner.withdraw(&claim).await?;
                    ledger.ended(THE_SERVER, claim.owner, 0);
                    Ok(())
                })
            }))
            .await
    }

    async fn transfer(&self, held: &Held, to: &Claim, heir: Heir) -> Result<Transferred, Error> {
        let (held, to, ledger) = (held.clone(), to.clone(), self.ledger.clone());
        self.link
            .send(Arc::new(move |inner| {
                let (held, to, ledger) = (held.clone(), to.clone(), ledger.clone());
                Box::pin(async move {
                    let answer = inner.transfer(&held, &to, heir).await?;
                    if matches!(answer, Transferred::Done { .. }) {
                        ledger.made_holder(THE_SERVER, to.owner, 0);
                    }
                    Ok(answer)
                })
            }))
            .await
    }

    fn tickets(&self, lasts: Duration) -> Result<&'static str, Error> {
        self.link.inner().tickets(lasts)
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        self.link.inner().evict(name).await
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        let (held, label) = (held.clone(), label.clone());
        self.link
            .send(Arc::new(move |inner| {
                let (held, label) = (held.clone(), label.clone());
                Box::pin(async move { inner.relabel(&held, &label).await })
            }))
            .await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let name = name.cloned();
        self.link
            .send(Arc::new(move |inner| {
                let name = name.clone();
                Box::pin(async move { inner.inspect(name.as_ref()).await })
            }))
            .await
    }

    async fn wake(&self) -> Wake {
        loop {
            let wake = self.link.inner().wake().await;
            if let Some(way) = self.link.state().wake_way() {
                self.link.state().weather.truth.sleep(way).await;
                return wake;
            }
        }
    }

    fn supports(&self, mode: Mode) -> Result<(), Error> {
        self.link.inner().supports(mode)
    }

    fn supports_rest(&self) -> Result<(), Error> {
        self.link.inner().supports_rest()
    }

    fn describe(&self) -> &str {
        "memory: in bad weather"
    }
}
