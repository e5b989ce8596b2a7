//! Opening a connection to one member after the other, until one will do.

use std::sync::Arc;

use async_trait::async_trait;
use http::Uri;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::address::Address;
use super::failure::{Is, Trouble};
use super::link::{Identity, Link, Manner};
use super::messages::{
    Answer, AuthenticateRequest, StatusRequest, StatusResponse, TxnResponse, WatchResponse,
};
use super::watches::Watches;
use super::{TXN, version, words};
use crate::backend::connection::{self, Driver};
use crate::backend::etcd::cluster::{Keys, News, Order, Read, Step, Txn};
use crate::backend::net::{Patience, connect_tcp};
#[cfg(feature = "tls")]
use crate::backend::tls::Trust;
use crate::error::{Error, Kind};
use crate::runtime::Runtime;

/// A member that we are logged in to.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) link: Arc<Link>,
    pub(super) watches: Arc<Watches>,
    /// What the version of this member promises less than others.
    pub(super) caveats: Arc<[String]>,
}

/// How a session is opened.
pub(super) struct Dial {
    address: Address,
    runtime: Arc<dyn Runtime>,
    changes: mpsc::Sender<News>,
    reconnected: Arc<Notify>,
    identity: Arc<Identity>,
    /// Which member is next.
    next: usize,
}

impl Dial {
    pub(super) fn new(
        address: Address,
        runtime: Arc<dyn Runtime>,
        changes: mpsc::Sender<News>,
        reconnected: Arc<Notify>,
    ) -> Self {
        // So that not all clients are at the same.
        let next = runtime.random() as usize % address.cluster.members.len();
        Self { address, runtime, changes, reconnected, identity: Arc::default(), next }
    }
}

#[async_trait]
impl connection::Dial for Dial {
    type Session = Session;

    async fn open(&mut self, _: u64) -> Result<(Session, Driver), Error> {
        let mut failed: Vec<Error> = Vec::new();
        let limit = self.address.cluster.timeouts.connect;
        for _ in 0..self.address.cluster.members.len() {
            let (host, port) = self.address.cluster.members[self.next].clone();
            self.next = (self.next + 1) % self.address.cluster.members.len();
            let opened = tokio::select! {
                biased;
                opened = self.enter(&host, port) => opened.map_err(Error::from),
                () = Patience::of(limit).end(&*self.runtime) => {
                    let message =
                        format!("it does not answer within {limit:?} (connect_timeout in the URL)");
                    Err(Error::unavailable(message))
                }
            };
            match opened {
                Ok(opened) => return Ok(opened),
                Err(e) => {
                    let message =
                        format!("cannot use {host}:{port} of {}", self.address.cluster.shown);
                    failed.push(Error::new(e.kind(), message).because(e));
                }
            }
        }
        Err(all_of(failed))
    }

    fn reconnected(&self) {
        self.reconnected.notify_one();
    }
}

impl Dial {
    async fn enter(&self, host: &str, port: u16) -> Result<(Session, Driver), Trouble> {
        let (link, mut driver) = self.connect(host, port).await?;
        let greet = async {
            match link.log_in().await {
                Err(trouble) if trouble.is == Is::WithoutUsers => {}
                logged_in => logged_in?,
            }
            // Shows whether the user may use the prefix, and the member has a leader.
            let look = Read {
                keys: Keys::Under(self.address.prefix.clone()),
                before: None,
                order: Order::OldestFirst,
                limit: 1,
            };
            let txn = Txn { then: vec![Step::Read(look)], ..Txn::default() };
            let looked = async {
                let answer: TxnResponse = link.call(TXN, words::request(&txn)).await?;
                match words::done(&txn, answer) {
                    Some(_) => Ok(()),
                    None => Err(Trouble::strange("the answer to another transaction")),
                }
            };
            let status = link.call("/etcdserverpb.Maintenance/Status", StatusRequest {});
            let (looked, status) = tokio::join!(looked, status);
            looked?;
            match status {
                Ok(StatusResponse { version, .. }) => Ok(version),
                // Where there are users, only root may know.
                Err(trouble) if trouble.error.kind() == Kind::Refused => Ok(String::new()),
                Err(trouble) => Err(trouble),
            }
        };
        let version = tokio::select! {
            biased;
            version = greet => version,
            why = &mut driver => {
                Err(Trouble { error: Error::unavailable(why), is: Is::Broken })
            }
        };
        let version = version.map_err(|trouble| match trouble.is {
            // It says why, but seldom loud enough to be heard.
            Is::Broken if self.address.cluster.tls.is_some() => {
                let hint = "does the member want a certificate of ours? ?cert=FILE&key=FILE";
                Error::unavailable(hint).because(trouble.error).into()
            }
            _ => trouble,
        })?;
        let (watches, watching) = self.watches(&link);
        let session = Session { link, watches, caveats: version::caveats(&version).into() };
        let driver = async move {
            tokio::select! {
                why = driver => why,
                why = watching => why,
            }
        };
        Ok((session, Box::pin(driver)))
    }

    /// What watches, and what listens.
    fn watches(&self, link: &Arc<Link>) -> (Arc<Watches>, Driver) {
        let (requests, to_send) = mpsc::unbounded_channel();
        let watches = Arc::new(Watches::new(requests));
        let (heard, link, changes) = (watches.clone(), link.clone(), self.changes.clone());
        let runtime = self.runtime.clone();
        let listen = async move {
            let requests = UnboundedReceiverStream::new(to_send);
            let opened = link.stream("/etcdserverpb.Watch/Watch", requests).await;
            let mut messages = match opened {
                Ok(messages) => messages,
                Err(trouble) => return trouble.error.to_string(),
            };
            loop {
                let message: Option<WatchResponse> = match messages.message().await {
                    Ok(message) => message,
                    Err(status) => return Trouble::from(status).error.to_string(),
                };
                let Some(message) = message else { return "the watches ended".to_owned() };
                if let Err(trouble) = link.check(message.header()) {
                    return trouble.error.to_string();
                }
                let heard = match heard.understand(message) {
                    Ok(heard) => heard,
                    Err(why) => return why,
                };
                for change in heard.news {
                    drop(changes.send(change).await);
                }
                if let Some((key, after)) = heard.in_doubt {
                    let (link, changes) = (link.clone(), changes.clone());
                    runtime.spawn(Box::pin(async move {
                        if !exists_since(&link, &key, after).await {
                            let value = String::new();
                            drop(changes.send(News::Changed { key, value }).await);
                        }
                    }));
                }
            }
        };
        (watches, Box::pin(listen))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<(Arc<Link>, Driver), Error> {
        let failed = |e: std::io::Error| {
            Error::unavailable("is the server running, and the address right?").because(e)
        };
        let stream = connect_tcp(host, port).await.map_err(failed)?;
        let runtime = self.runtime.clone();
        let origin = |scheme: &str| {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            let origin = format!("{scheme}://{host}:{port}").parse::<Uri>();
            origin.map_err(|e| Error::invalid(format!("{host:?} is no name of a host")).because(e))
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.address.cluster.tls {
            let identity = tls.identity.as_ref();
            let trust = Trust {
                ca: tls.ca.as_deref(),
                identity: identity.map(|(cert, key)| (cert.as_path(), key.as_path())),
                protocol: Some("h2"),
            };
            let stream = trust.wrap(stream, host).await?;
            return Link::over(stream, self.manner(origin("https")?), runtime).await;
        }
        Link::over(stream, self.manner(origin("http")?), runtime).await
    }

    fn manner(&self, origin: Uri) -> Manner {
        Manner {
            origin,
            login: self
                .address
                .cluster
                .login
                .clone()
                .map(|(name, password)| AuthenticateRequest { name, password }),
            response_timeout: self.address.cluster.timeouts.response,
            identity: self.identity.clone(),
        }
    }
}

/// Why no member will do. One that may be there later is worth waiting for, even
/// if another will never do.
fn all_of(mut failed: Vec<Error>) -> Error {
    let is_hope = |error: &Error| error.kind() == Kind::Unavailable;
    let kind = match failed.iter().any(is_hope) {
        true => Kind::Unavailable,
        false => failed.last().map_or(Kind::Invalid, Error::kind),
    };
    if failed.len() > 1 {
        let all: Vec<String> = failed.iter().map(Error::to_string).collect();
        return Error::new(kind, all.join("; "));
    }
    failed.pop().unwrap_or_else(|| Error::invalid("the URL names no host"))
}

/// Whether a key is still the one that was there at a revision. No, too, if that
/// cannot be found out.
async fn exists_since(link: &Link, key: &str, revision: u64) -> bool {
    let keys = Keys::One(key.to_owned());
    let look = Read { keys, before: None, order: Order::OldestFirst, limit: 1 };
    let txn = Txn { then: vec![Step::Read(look)], ..Txn::default() };
    let found: Result<TxnResponse, Trouble> = link.call(TXN, words::request(&txn)).await;
    found.ok().and_then(|found| words::done(&txn, found)).is_some_and(|found| {
        let mut entries = found.reads.into_iter().flat_map(|read| read.entries);
        entries.any(|entry| entry.key == key && entry.created <= revision)
    })
}
