//! etcd's own API: gRPC.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

mod address;
mod dial;
mod failure;
mod link;
mod messages;
mod version;
mod watches;
mod words;

pub(crate) use address::Address;
use dial::{Dial, Session};
use failure::{Is, Trouble};
use messages::{LeaseGrantRequest, LeaseGrantResponse, LeaseRequest, LeaseResponse, TxnResponse};

use super::cluster::{Change, Cluster, Done, Failure, News, SessionId, Txn};
use crate::backend::connection::Connection;
use crate::error::Error;
use crate::runtime::Runtime;

const TXN: &str = "/etcdserverpb.KV/Txn";

/// The members of a cluster, one of which is asked at a time.
pub(super) struct Members {
    shown: String,
    connection: Connection<Session>,
    news: tokio::sync::Mutex<mpsc::UnboundedReceiver<News>>,
}

impl Members {
    /// Connect to one of them.
    pub(super) async fn connect(
        address: Address,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self, Error> {
        let (tell, news) = mpsc::unbounded_channel();
        let shown = address.shown.clone();
        let dial = Dial::new(address, runtime.clone(), tell);
        let connection = Connection::start(dial, runtime);
        connection.session().await?;
        Ok(Self { shown, connection, news: tokio::sync::Mutex::new(news) })
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble.is {
            Is::NoSession => Failure::NoSession,
            _ => Failure::Error(trouble.error),
        }
    }
}

#[async_trait]
impl Cluster for Members {
    async fn txn(&self, txn: &Txn) -> Result<Done, Failure> {
        let session = self.connection.session().await?;
        let answer = session.link.call(TXN, words::request(txn)).await;
        let answer: TxnResponse = answer?;
        Ok(words::done(answer))
    }

    async fn open(&self, seconds: u64) -> Result<(SessionId, Duration), Error> {
        let session = self.connection.session().await?;
        let request = LeaseGrantRequest { ttl: seconds as i64 };
        let answer = session.link.call("/etcdserverpb.Lease/LeaseGrant", request).await;
        let LeaseGrantResponse { id, ttl } = answer?;
        Ok((SessionId(id), Duration::from_secs(ttl as u64)))
    }

    async fn keep_alive(&self, session: SessionId) -> Result<bool, Error> {
        let link = self.connection.session().await?.link;
        let request = LeaseRequest { id: session.0 };
        let answer = link.call_for_one("/etcdserverpb.Lease/LeaseKeepAlive", request).await;
        let answer: LeaseResponse = answer?;
        Ok(answer.ttl > 0)
    }

    async fn end(&self, session: SessionId) -> Result<(), Error> {
        let link = self.connection.session().await?.link;
        let request = LeaseRequest { id: session.0 };
        let ended = link.call("/etcdserverpb.Lease/LeaseRevoke", request).await;
        match ended {
            Ok(LeaseResponse { .. }) => Ok(()),
            Err(trouble) if trouble.is == Is::NoSession => Ok(()),
            Err(trouble) => Err(trouble.into()),
        }
    }

    async fn ends_in(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        let link = self.connection.session().await?.link;
        let request = LeaseRequest { id: session.0 };
        let answer = link.call("/etcdserverpb.Lease/LeaseTimeToLive", request).await;
        let LeaseResponse { ttl } = answer?;
        // -1: it is over.
        Ok(u64::try_from(ttl).ok().map(Duration::from_secs))
    }

    fn watch(&self, key: &str, change: Change, after: u64) {
        // Without a connection all is asked anew when there is one.
        if let Ok(session) = self.connection.session_now() {
            session.watches.watch(key, change, after);
        }
    }

    fn unwatch(&self, key: &str) {
        if let Ok(session) = self.connection.session_now() {
            session.watches.unwatch(key);
        }
    }

    async fn news(&self) -> News {
        match self.news.lock().await.recv().await {
            Some(news) => news,
            // The client's thread has ended.
            None => std::future::pending().await,
        }
    }

    fn caveats(&self) -> Vec<String> {
        self.connection.session_now().map_or(Vec::new(), |session| session.caveats.to_vec())
    }

    fn describe(&self) -> &str {
        &self.shown
    }
}
