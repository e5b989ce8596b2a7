//! What lies between a client and its etcd cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use leasehold::backend::Backend;
use leasehold::backend::etcd::cluster::{Change, Done, Failure, News, SessionId, Step, Txn};
use leasehold::backend::etcd::{Cluster, Etcd, MemoryCluster, MemoryClusterClient};
use leasehold::runtime::Runtime;
use leasehold::time::{Clock, Instant};
use leasehold::{Error, Kind, Outcome};
use tokio::sync::mpsc;

use super::link::{Call, Link, LinkState};
use super::weather::{Fault, Weather};
use crate::world::{Machine, ServerClock};

/// The clock that the sessions end by: etcd's does not jump, it only drifts.
pub(super) struct LeaderClock(pub(super) Arc<ServerClock>);

impl Clock for LeaderClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.wall_micros() * 1000)
    }

    fn wall_micros(&self) -> u64 {
        self.0.wall_micros()
    }
}

/// A cluster ends sessions unasked, twice a second, while it has a leader.
#[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
pub(super) fn pass_time(cluster: MemoryCluster, weather: Arc<Weather>, down: &Arc<AtomicBool>) {
    const LOOK: Duration = Duration::from_millis(500);
    let down = down.clone();
    tokio::spawn(async move {
        loop {
            weather.truth.sleep(LOOK).await;
            if !down.load(Ordering::SeqCst) {
                cluster.expire();
            }
        }
    });
}

/// Others write to it, and what changed until then is forgotten.
pub(super) async fn forget(cluster: &MemoryCluster) {
    let (key, value) = ("others".to_owned(), String::new());
    let then = vec![Step::Put { key, value, session: None }];
    drop(cluster.client().txn(&Txn { then, ..Txn::default() }).await);
    cluster.compact();
}

/// A client that runs on this machine. It asks until it is answered, as a
/// program does that is started again when it fails.
pub(super) async fn backend(
    cluster: Arc<dyn Cluster>,
    machine: &Arc<Machine>,
) -> Result<Arc<dyn Backend>, Error> {
    const PAUSE: Duration = Duration::from_millis(10);
    loop {
        match Etcd::over(cluster.clone(), "leasehold/", machine.clone()).await {
            Err(e) if e.kind() == Kind::Unavailable => machine.sleep(PAUSE).await,
            opened => return Ok(Arc::new(opened?)),
        }
    }
}

/// A connection to a cluster through bad weather. Requests may overtake each
/// other, and be carried out long after their sender is gone, but only once.
pub(super) struct DistantCluster {
    link: Link<MemoryClusterClient>,
    stream: Arc<Stream>,
    watches: mpsc::UnboundedSender<Message>,
    news: tokio::sync::Mutex<mpsc::UnboundedReceiver<News>>,
}

/// What carries watches to the cluster and news back. Both may take long, and
/// nothing is lost unless the connection is.
pub(super) struct Stream {
    client: Arc<MemoryClusterClient>,
    link: Arc<LinkState>,
    /// Another one after each cut.
    connection: AtomicU64,
    /// How many cuts are going on.
    cuts: AtomicU64,
}

/// What a client watches, or does not any more.
struct Message {
    key: String,
    /// For what, after which revision; `None`: for nothing.
    watch: Option<(Change, u64)>,
    connection: u64,
    arrives: Duration,
}

impl DistantCluster {
    pub(super) fn new(link: Link<MemoryClusterClient>) -> Arc<Self> {
        let link = link.without_doubles();
        let stream = Arc::new(Stream {
            client: link.inner().clone(),
            link: link.state().clone(),
            connection: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
        });
        let (bell, news) = mpsc::unbounded_channel();
        let (watches, messages) = mpsc::unbounded_channel();
        carry_news(stream.clone(), bell);
        carry_watches(stream.clone(), messages);
        Arc::new(Self { link, stream, watches, news: tokio::sync::Mutex::new(news) })
    }

    pub(super) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// A client gives a silent connection up, and with it the request.
    async fn ask<T: Send + 'static>(&self, call: Call<MemoryClusterClient, T>) -> Result<T, Error> {
        const SILENCE: Duration = Duration::from_secs(1);
        let silence = self.stream.link.weather.truth.sleep(SILENCE);
        tokio::select! {
            biased;
            answer = self.link.send(call) => answer,
            () = silence => {
                let error = Error::new(Kind::Unavailable, "the connection was silent");
                Err(error.with_outcome(Outcome::Unknown))
            }
        }
    }

    fn tell(&self, key: &str, watch: Option<(Change, u64)>) {
        let weather = &self.stream.link.weather;
        let message = Message {
            key: key.to_owned(),
            watch,
            connection: self.stream.connection(),
            arrives: weather.truth.elapsed() + weather.way(),
        };
        drop(self.watches.send(message));
    }
}

impl Stream {
    /// The connection breaks, and is made anew a while later. Until then
    /// requests or replies are lost, or both; of what is on its way here nothing
    /// arrives.
    pub(super) async fn cut(&self, requests: bool, replies: bool, lasts: Duration) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        self.link.partition(requests, replies, lasts).await;
        if self.cuts.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.client.reconnect();
        }
    }

    fn connection(&self) -> u64 {
        self.connection.load(Ordering::SeqCst)
    }

    /// What was sent on this connection arrives.
    fn carries(&self, connection: u64) -> bool {
        self.cuts.load(Ordering::SeqCst) == 0 && self.connection() == connection
    }

    async fn sleep_until(&self, moment: Duration) {
        let truth = self.link.weather.truth;
        truth.sleep(moment.saturating_sub(truth.elapsed())).await;
    }
}

/// News of one key are in order; else they may overtake each other.
#[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
fn carry_news(stream: Arc<Stream>, bell: mpsc::UnboundedSender<News>) {
    const NEXT: Duration = Duration::from_millis(1);
    let mut last = BTreeMap::<String, Duration>::new();
    tokio::spawn(async move {
        loop {
            let news = stream.client.news().await;
            let News::Changed { key, .. } = &news else {
                // Its own end of the connection is the first to know.
                stream.connection.fetch_add(1, Ordering::SeqCst);
                drop(bell.send(news));
                continue;
            };
            let weather = &stream.link.weather;
            let arrives = weather.truth.elapsed() + weather.way();
            let last = last.entry(key.clone()).or_default();
            *last = arrives.max(*last + NEXT);
            let (arrives, connection) = (*last, stream.connection());
            let (stream, bell) = (stream.clone(), bell.clone());
            tokio::spawn(async move {
                stream.sleep_until(arrives).await;
                match stream.carries(connection) {
                    true => drop(bell.send(news)),
                    false => stream.link.weather.faults.count(Fault::WakeLost),
                }
            });
        }
    });
}

/// In the order in which they were sent.
#[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
fn carry_watches(stream: Arc<Stream>, mut messages: mpsc::UnboundedReceiver<Message>) {
    const RETRY: Duration = Duration::from_millis(10);
    tokio::spawn(async move {
        while let Some(Message { key, watch, connection, arrives }) = messages.recv().await {
            stream.sleep_until(arrives).await;
            while stream.link.is_down() {
                stream.link.weather.truth.sleep(RETRY).await;
            }
            match watch {
                _ if !stream.carries(connection) => {}
                Some((change, after)) => stream.client.watch(&key, change, after),
                None => stream.client.unwatch(&key),
            }
        }
    });
}

#[async_trait]
impl Cluster for DistantCluster {
    async fn txn(&self, txn: &Txn) -> Result<Done, Failure> {
        let txn = txn.clone();
        self.ask(Arc::new(move |inner| {
            let txn = txn.clone();
            Box::pin(async move {
                match inner.txn(&txn).await {
                    Err(Failure::Error(error)) => Err(error),
                    answer => Ok(answer),
                }
            })
        }))
        .await?
    }

    async fn open(&self, seconds: u64) -> Result<(SessionId, Duration), Error> {
        self.ask(Arc::new(move |inner| Box::pin(async move { inner.open(seconds).await }))).await
    }

    async fn keep_alive(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        self.ask(Arc::new(move |inner| Box::pin(async move { inner.keep_alive(session).await })))
            .await
    }

    async fn end(&self, session: SessionId) -> Result<(), Error> {
        self.ask(Arc::new(move |inner| Box::pin(async move { inner.end(session).await }))).await
    }

    async fn ends_in(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        self.ask(Arc::new(move |inner| Box::pin(async move { inner.ends_in(session).await }))).await
    }

    fn watch(&self, key: &str, change: Change, after: u64) {
        self.tell(key, Some((change, after)));
    }

    fn unwatch(&self, key: &str) {
        self.tell(key, None);
    }

    async fn news(&self) -> News {
        match self.news.lock().await.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    fn describe(&self) -> &str {
        "memory: in bad weather"
    }
}
