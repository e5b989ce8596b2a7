//! etcd's own API: gRPC.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};

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
use link::Link;
use messages::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseRequest, LeaseResponse, LeaseRevokeResponse,
    TxnResponse,
};

use super::cluster::{Change, Cluster, Done, Failure, News, SessionId, Txn};
use crate::backend::connection::Connection;
use crate::error::Error;
use crate::runtime::Runtime;

const TXN: &str = "/etcdserverpb.KV/Txn";

/// So many changes are kept for who listens; then the member has to wait.
const MOST_NEWS: usize = 1024;

/// The members of a cluster, one of which is asked at a time.
pub(super) struct Members {
    shown: String,
    response_timeout: Duration,
    runtime: Arc<dyn Runtime>,
    connection: Connection<Session>,
    changes: tokio::sync::Mutex<mpsc::Receiver<News>>,
    reconnected: Arc<Notify>,
}

impl Members {
    /// Connect to one of them.
    pub(super) async fn connect(
        address: Address,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self, Error> {
        let (tell, changes) = mpsc::channel(MOST_NEWS);
        let (shown, reconnected) = (address.cluster.shown.clone(), Arc::new(Notify::new()));
        let response_timeout = address.cluster.timeouts.longer_response();
        let dial = Dial::new(address, runtime.clone(), tell, reconnected.clone());
        let connection = Connection::start(dial, runtime.clone());
        connection.session().await?;
        let changes = tokio::sync::Mutex::new(changes);
        Ok(Self { shown, response_timeout, runtime, connection, changes, reconnected })
    }

    /// The answer, unless it says what cannot be.
    fn proven<T>(&self, link: &Link, answer: Option<T>, what: &str) -> Result<T, Error> {
        answer.ok_or_else(|| {
            let trouble = Trouble::strange(what);
            link.shut(&trouble.error.to_string());
            trouble.error
        })
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
        let link = self.connection.session().await?.link;
        let answer: TxnResponse = link.call(TXN, words::request(txn)).await?;
        Ok(self.proven(&link, words::done(txn, answer), "the answer to another transaction")?)
    }

    async fn open(&self, seconds: u64) -> Result<(SessionId, Duration), Error> {
        let link = self.connection.session().await?.link;
        let id = (self.runtime.random() as i64 & i64::MAX).max(1);
        let ttl = i64::try_from(seconds).unwrap_or(i64::MAX);
        let request = LeaseGrantRequest { ttl, id };
        let answer: LeaseGrantResponse =
            link.call("/etcdserverpb.Lease/LeaseGrant", request).await?;
        let ttl = u64::try_from(answer.ttl).ok().filter(|_| answer.id == id);
        let ttl = self.proven(&link, ttl, "it has granted another lease")?;
        Ok((SessionId(id), Duration::from_secs(ttl)))
    }

    async fn keep_alive(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        let link = self.connection.session().await?.link;
        let request = LeaseRequest { id: session.0 };
        let answer = link.call_for_one("/etcdserverpb.Lease/LeaseKeepAlive", request).await;
        let answer: LeaseResponse = answer?;
        let is_ours = (answer.id == session.0).then_some(());
        self.proven(&link, is_ours, "it has kept another lease alive")?;
        let ttl = u64::try_from(answer.ttl).ok().filter(|ttl| *ttl > 0);
        Ok(ttl.map(Duration::from_secs))
    }

    async fn end(&self, session: SessionId) -> Result<(), Error> {
        let link = self.connection.session().await?.link;
        let request = LeaseRequest { id: session.0 };
        let ended = link.call("/etcdserverpb.Lease/LeaseRevoke", request).await;
        match ended {
            Ok(LeaseRevokeResponse { .. }) => Ok(()),
            Err(trouble) if trouble.is == Is::NoSession => Ok(()),
            Err(trouble) => Err(trouble.into()),
        }
    }

    async fn ends_in(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        let link = self.connection.session().await?.link;
        let request = LeaseRequest { id: session.0 };
        let answer: LeaseResponse =
            link.call("/etcdserverpb.Lease/LeaseTimeToLive", request).await?;
        let is_ours = (answer.id == session.0).then_some(());
        self.proven(&link, is_ours, "it tells of another lease")?;
        // -1: it is over.
        Ok(u64::try_from(answer.ttl).ok().map(Duration::from_secs))
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
        let mut changes = self.changes.lock().await;
        tokio::select! {
            biased;
            Some(change) = changes.recv() => change,
            () = self.reconnected.notified() => News::Reconnected,
        }
    }

    fn distrust(&self, why: &str) {
        if let Ok(session) = self.connection.session_now() {
            session.link.shut(why);
        }
    }

    fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    fn caveats(&self) -> Vec<String> {
        self.connection.session_now().map_or(Vec::new(), |session| session.caveats.to_vec())
    }

    fn describe(&self) -> &str {
        &self.shown
    }
}
