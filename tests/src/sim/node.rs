//! What lies between a client and one node of a quorum.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use leasehold::backend::quorum::{
    Ask, CLAMP, Ends, Evicted, Kept, MemoryNodeClient, News, Node, Renewed, Return, Returned, Said,
    Seen, Signed, Vote, Vow,
};
use leasehold::time::{Clock, Instant};
use leasehold::{Error, LockName};
use tokio::sync::mpsc;

use super::ledger::Ledger;
use super::link::{Link, LinkState};
use super::weather::Fault;
use crate::world::ServerClock;

/// A connection to a node through bad weather.
pub(super) struct DistantNode {
    link: Link<MemoryNodeClient>,
    /// The ledger's number for the node.
    number: usize,
    ledger: Arc<Ledger>,
    /// The node's own.
    clock: Arc<ServerClock>,
    clock_at_connect: Option<(u64, Instant)>,
    news: tokio::sync::Mutex<mpsc::UnboundedReceiver<News>>,
    /// Where its name leads instead until the weather is calm.
    instead: OnceLock<Arc<DistantNode>>,
}

impl DistantNode {
    pub(super) fn new(
        link: Link<MemoryNodeClient>,
        number: usize,
        clock: Arc<ServerClock>,
        clock_at_connect: Option<(u64, Instant)>,
    ) -> Arc<Self> {
        let (bell, news) = mpsc::unbounded_channel();
        let ledger = link.state().weather.ledger.clone();
        carry_news(link.inner().clone(), link.state().clone(), bell);
        let news = tokio::sync::Mutex::new(news);
        let instead = OnceLock::new();
        Arc::new(Self { link, number, ledger, clock, clock_at_connect, news, instead })
    }

    /// Its name leads to another node from now on, until the weather is calm.
    pub(super) fn mislead(&self, to: &Arc<DistantNode>) {
        self.link.state().weather.faults.count(Fault::Misled);
        drop(self.instead.set(to.clone()));
    }

    /// Where its name leads.
    fn there(&self) -> &Self {
        let calm = self.link.state().weather.is_calm();
        self.instead.get().filter(|_| !calm).map_or(self, |there| there)
    }

    pub(super) fn link(&self) -> &Arc<LinkState> {
        self.link.state()
    }
}

/// News are packets too; they may overtake each other.
#[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
fn carry_news(
    node: Arc<MemoryNodeClient>,
    link: Arc<LinkState>,
    bell: mpsc::UnboundedSender<News>,
) {
    tokio::spawn(async move {
        loop {
            let news = node.news().await;
            let way = match news {
                // Nothing is lost with a new connection.
                News::Reconnected => link.weather.way(),
                _ => match link.wake_way() {
                    Some(way) => way,
                    None => continue,
                },
            };
            let (truth, bell) = (link.weather.truth, bell.clone());
            tokio::spawn(async move {
                truth.sleep(way).await;
                drop(bell.send(news));
            });
        }
    });
}

#[async_trait]
impl Node for DistantNode {
    async fn vote(&self, ask: &Ask) -> Result<Signed<Said>, Error> {
        let this = self.there();
        let (ask, ledger, number) = (ask.clone(), this.ledger.clone(), this.number);
        this.link
            .send(Arc::new(move |inner| {
                let (ask, ledger) = (ask.clone(), ledger.clone());
                Box::pin(async move {
                    let said = inner.vote(&ask).await?;
                    if matches!(said.said.vote, Vote::Granted { .. }) {
                        ledger.made_holder(number, ask.claim.owner, ask.ballot);
                    }
                    Ok(said)
                })
            }))
            .await
    }

    async fn give_back(&self, back: &Return) -> Result<Signed<Returned>, Error> {
        let this = self.there();
        let (back, ledger, number) = (back.clone(), this.ledger.clone(), this.number);
        let clock = this.clock.clone();
        this.link
            .send(Arc::new(move |inner| {
                let (back, ledger, clock) = (back.clone(), ledger.clone(), clock.clone());
                Box::pin(async move {
                    let returned = inner.give_back(&back).await?;
                    // What is too far ahead a node does not remember.
                    let remembers = back.ballot <= clock.wall_micros() + CLAMP.as_micros() as u64;
                    if !matches!(back.what, Ends::Vote { .. }) && remembers {
                        ledger.ended(number, back.owner, back.ballot);
                    }
                    let said = returned.said.next.map(|said| said.vote);
                    if let (Some(Vote::Granted { .. }), Some(next)) = (said, &back.next) {
                        ledger.made_holder(number, next.claim.owner, next.ballot);
                    }
                    Ok(returned)
                })
            }))
            .await
    }

    async fn renew(&self, leases: &[Vow]) -> Result<Signed<Renewed>, Error> {
        let this = self.there();
        leases.iter().for_each(|vow| this.ledger.renewing(&vow.claim.name, vow.fence));
        let (vows, ledger, number) = (leases.to_vec(), this.ledger.clone(), this.number);
        this.link
            .send(Arc::new(move |inner| {
                let (vows, ledger) = (vows.clone(), ledger.clone());
                Box::pin(async move {
                    let kept = inner.renew(&vows).await?;
                    for (vow, _) in
                        vows.iter().zip(&kept.said.kept).filter(|(_, k)| **k == Kept::TakenIn)
                    {
                        ledger.made_holder(number, vow.claim.owner, vow.ballot);
                    }
                    Ok(kept)
                })
            }))
            .await
    }

    async fn evict(&self, name: &LockName, up_to: u64) -> Result<Signed<Evicted>, Error> {
        self.link.inner().evict(name, up_to).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Signed<Vec<Seen>>, Error> {
        let name = name.cloned();
        self.there()
            .link
            .send(Arc::new(move |inner| {
                let name = name.clone();
                Box::pin(async move { inner.inspect(name.as_ref()).await })
            }))
            .await
    }

    async fn news(&self) -> News {
        match self.news.lock().await.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    fn is_well(&self) -> bool {
        self.link.state().is_well()
    }

    fn clock_at_connect(&self) -> Option<(u64, Instant)> {
        self.clock_at_connect
    }

    fn describe(&self) -> &str {
        "memory: in bad weather"
    }
}
