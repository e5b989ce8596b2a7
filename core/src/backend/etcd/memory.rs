//! A cluster inside this process, on any clock: the reference, and what
//! simulations are made of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::cluster::{Change, Cluster, Done, Failure, News, SessionId, Txn};
use crate::error::Error;
use crate::time::{Clock, Instant};

mod store;
#[cfg(test)]
mod tests;

use store::{Event, Store};

/// An etcd cluster inside this process. Clones are the same cluster.
///
/// It remembers every change until it is told to [`compact`](Self::compact).
#[derive(Clone)]
pub struct MemoryCluster {
    clock: Arc<dyn Clock>,
    /// In seconds, the shortest time after which a session ends.
    min_ttl: u64,
    state: Arc<Mutex<State>>,
}

/// The address of a client on its cluster.
type Address = u64;

struct State {
    store: Store,
    sessions: BTreeMap<SessionId, Session>,
    /// Never given to another.
    last_session: i64,
    ears: BTreeMap<Address, Ear>,
    last_address: Address,
}

struct Session {
    ttl: Duration,
    ends: Instant,
}

/// What a client watches, and where it hears of it.
struct Ear {
    bell: mpsc::UnboundedSender<News>,
    watches: BTreeMap<String, Watch>,
}

struct Watch {
    change: Change,
    after: u64,
}

impl MemoryCluster {
    /// An empty cluster whose sessions last for at least a second.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_min_ttl(clock, 1)
    }

    /// An empty cluster whose sessions last for at least so many seconds. In
    /// etcd that is one and a half times what an election takes: two seconds,
    /// unless it is configured.
    pub fn with_min_ttl(clock: Arc<dyn Clock>, seconds: u64) -> Self {
        let state = State {
            store: Store::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            ears: BTreeMap::new(),
            last_address: 0,
        };
        Self { clock, min_ttl: seconds.max(1), state: Arc::new(Mutex::new(state)) }
    }

    /// A connection to it, of one client.
    pub fn client(&self) -> MemoryClusterClient {
        let (bell, news) = mpsc::unbounded_channel();
        let mut state = self.state();
        state.last_address += 1;
        let address = state.last_address;
        state.ears.insert(address, Ear { bell, watches: BTreeMap::new() });
        drop(state);
        MemoryClusterClient { cluster: self.clone(), address, news: tokio::sync::Mutex::new(news) }
    }

    /// End the sessions whose time is over, as every request does first. A real
    /// cluster needs nobody to ask, so call it now and then.
    pub fn expire(&self) {
        drop(self.current());
    }

    /// Another member leads from now on. It does not know how old the sessions
    /// are: all that have not been ended last for their whole time again.
    pub fn change_leader(&self) {
        let now = self.clock.now();
        for session in self.state().sessions.values_mut() {
            session.ends = now + session.ttl;
        }
    }

    /// Forget what changed until now. Who watches for changes after an earlier
    /// revision is told that there may have been one.
    pub fn compact(&self) {
        self.current().store.compact();
    }

    /// Cut all connections. The clients hear [`News::Reconnected`], so call it at
    /// the moment when they are connected again.
    pub fn restart(&self) {
        self.state().ears.values_mut().for_each(Ear::reconnect);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every transition is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, without the sessions that are over.
    fn current(&self) -> MutexGuard<'_, State> {
        let now = self.clock.now();
        let mut state = self.state();
        let over = |(id, session): (&SessionId, &Session)| {
            (session.ends <= now).then_some((session.ends, *id))
        };
        let mut over: Vec<(Instant, SessionId)> = state.sessions.iter().filter_map(over).collect();
        over.sort_unstable();
        over.into_iter().for_each(|(_, id)| state.end(id));
        state
    }
}

impl State {
    fn txn(&mut self, txn: &Txn) -> Result<Done, Failure> {
        let before = self.store.revision();
        let done = self.store.txn(txn, |session| self.sessions.contains_key(&session))?;
        self.tell_since(before);
        Ok(done)
    }

    fn end(&mut self, session: SessionId) {
        if self.sessions.remove(&session).is_some() {
            let before = self.store.revision();
            self.store.end(session);
            self.tell_since(before);
        }
    }

    fn tell_since(&mut self, revision: u64) {
        let events = self.store.since(revision).unwrap_or_default();
        for event in events {
            self.ears.values_mut().for_each(|ear| ear.hear(event));
        }
    }

    fn watch(&mut self, client: Address, key: &str, change: Change, after: u64) {
        let Some(ear) = self.ears.get_mut(&client) else { return };
        ear.watches.remove(key);
        let after = if after == 0 { self.store.revision() } else { after };
        let Some(events) = self.store.since(after) else {
            let news = News::Changed { key: key.to_owned(), value: String::new() };
            return drop(ear.bell.send(news));
        };
        ear.watches.insert(key.to_owned(), Watch { change, after });
        events.iter().for_each(|event| ear.hear(event));
    }
}

impl Ear {
    fn hear(&mut self, event: &Event) {
        let is_deletion = event.written.is_none();
        let hears = |(key, watch): (&String, &Watch)| {
            let concerns = match watch.change {
                Change::Written => *key == event.key && !is_deletion,
                Change::Deleted => *key == event.key && is_deletion,
                Change::Any => *key == event.key,
                Change::DeletedUnder => event.key.starts_with(key.as_str()) && is_deletion,
            };
            (concerns && event.revision > watch.after).then(|| (key.clone(), watch.change))
        };
        let heard: Vec<_> = self.watches.iter().filter_map(hears).collect();
        for (key, change) in heard {
            if change != Change::Written {
                self.watches.remove(&key);
            }
            drop(self.bell.send(event.news(key)));
        }
    }

    fn reconnect(&mut self) {
        self.watches.clear();
        drop(self.bell.send(News::Reconnected));
    }
}

/// A client's connection to a [`MemoryCluster`].
pub struct MemoryClusterClient {
    cluster: MemoryCluster,
    address: Address,
    news: tokio::sync::Mutex<mpsc::UnboundedReceiver<News>>,
}

impl MemoryClusterClient {
    /// What [`MemoryCluster::restart`] does, to this connection only.
    pub fn reconnect(&self) {
        if let Some(ear) = self.cluster.state().ears.get_mut(&self.address) {
            ear.reconnect();
        }
    }
}

impl Drop for MemoryClusterClient {
    fn drop(&mut self) {
        self.cluster.state().ears.remove(&self.address);
    }
}

#[async_trait]
impl Cluster for MemoryClusterClient {
    async fn txn(&self, txn: &Txn) -> Result<Done, Failure> {
        self.cluster.current().txn(txn)
    }

    async fn open(&self, seconds: u64) -> Result<(SessionId, Duration), Error> {
        let ttl = Duration::from_secs(seconds.max(self.cluster.min_ttl));
        let ends = self.cluster.clock.now() + ttl;
        let mut state = self.cluster.current();
        state.last_session += 1;
        let id = SessionId(state.last_session);
        state.sessions.insert(id, Session { ttl, ends });
        Ok((id, ttl))
    }

    async fn keep_alive(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        let now = self.cluster.clock.now();
        let mut state = self.cluster.current();
        Ok(state.sessions.get_mut(&session).map(|session| {
            session.ends = now + session.ttl;
            session.ttl
        }))
    }

    async fn end(&self, session: SessionId) -> Result<(), Error> {
        self.cluster.current().end(session);
        Ok(())
    }

    async fn ends_in(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        let now = self.cluster.clock.now();
        let state = self.cluster.current();
        // Etcd tells whole seconds, without what is left over.
        let left = |session: &Session| Duration::from_secs(session.ends.since(now).as_secs());
        Ok(state.sessions.get(&session).map(left))
    }

    fn watch(&self, key: &str, change: Change, after: u64) {
        self.cluster.current().watch(self.address, key, change, after);
    }

    fn unwatch(&self, key: &str) {
        if let Some(ear) = self.cluster.current().ears.get_mut(&self.address) {
            ear.watches.remove(key);
        }
    }

    async fn news(&self) -> News {
        match self.news.lock().await.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    fn describe(&self) -> &str {
        "memory:"
    }
}
