//! A node inside this process, on any clock: the reference, and what
//! simulations are made of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::node::{
    Ask, Ends, Evicted, News, Node, Renewed, Return, Returned, Said, Seen, ServerId, Signed, Vote,
    Vow,
};
use super::slot::{Address, Slot};
use crate::error::Error;
use crate::name::{LockName, Owner};
use crate::time::{Clock, Instant};

/// A node of a quorum inside this process. It does everything by the wall clock
/// of its [`Clock`], as a Redis server does. Clones are the same node.
#[derive(Clone)]
pub struct MemoryNode {
    clock: Arc<dyn Clock>,
    quarantine: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    slots: BTreeMap<LockName, Slot>,
    bells: BTreeMap<Address, mpsc::UnboundedSender<News>>,
    next_address: Address,
    /// Of the process: another after each restart.
    identity: u64,
    epoch: Option<Epoch>,
}

/// Which process it was when data may have been lost last, and until when
/// nothing is granted because of that.
#[derive(Clone, Copy)]
struct Epoch {
    identity: u64,
    until: u64,
}

impl MemoryNode {
    /// An empty node that after a restart grants nothing for `quarantine`.
    /// New, it trusts itself.
    pub fn new(clock: Arc<dyn Clock>, quarantine: Duration) -> Self {
        let epoch = Some(Epoch { identity: 0, until: 0 });
        let state = State { epoch, ..State::default() };
        Self { clock, quarantine, state: Arc::new(Mutex::new(state)) }
    }

    /// A connection to it, of one client.
    pub fn client(&self) -> MemoryNodeClient {
        let (bell, news) = mpsc::unbounded_channel();
        let mut state = self.state();
        state.next_address += 1;
        let address = state.next_address;
        state.bells.insert(address, bell);
        drop(state);
        let (node, news) = (self.clone(), tokio::sync::Mutex::new(news));
        MemoryNodeClient { node, address, news }
    }

    /// What a restart does: lines and news on their way are forgotten, all else
    /// only if it `loses_data`. The clients hear [`News::Reconnected`], so call it
    /// at the moment when they are connected again.
    pub fn restart(&self, loses_data: bool) {
        let mut state = self.state();
        state.identity += 1;
        if loses_data {
            state.slots.clear();
            state.epoch = None;
        }
        state.slots.values_mut().for_each(Slot::forget_line);
        for bell in state.bells.values() {
            drop(bell.send(News::Reconnected));
        }
        let now = self.clock.wall_micros();
        state.enter(now, self.quarantine);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every transition is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A client connects, and tells the node which process it is.
    fn enter(&mut self, now: u64, quarantine: Duration) {
        let identity = self.identity;
        if self.epoch.is_none_or(|epoch| epoch.identity != identity) {
            self.epoch = Some(Epoch { identity, until: now + quarantine.as_micros() as u64 });
        }
    }

    /// The end of the last quarantine, or how long it lasts.
    fn floor(&self, now: u64) -> Result<u64, Duration> {
        let until = self.epoch.map_or(u64::MAX, |epoch| epoch.until);
        match until.checked_sub(now) {
            Some(left) if left > 0 => Err(Duration::from_micros(left)),
            _ => Ok(until),
        }
    }

    fn slot(&mut self, name: &LockName) -> &mut Slot {
        self.slots.entry(name.clone()).or_default()
    }

    /// Tell those whose turn it is and who can hear it.
    fn wake_next(&mut self, name: &LockName) {
        loop {
            let (next, all) = (self.slot(name).next(), self.slot(name).waiting());
            let is_deaf = |(owner, client): &(Owner, Address)| {
                let news = News::Turn { name: name.clone(), owner: *owner, waiting: all - 1 };
                self.bells.get(client).is_none_or(|bell| bell.send(news).is_err())
            };
            let dead: Vec<_> = next.into_iter().filter(is_deaf).collect();
            if dead.is_empty() {
                return;
            }
            dead.iter().for_each(|(owner, _)| self.slot(name).drop_dead(*owner));
        }
    }
}

/// A client's connection to a [`MemoryNode`].
pub struct MemoryNodeClient {
    node: MemoryNode,
    address: Address,
    news: tokio::sync::Mutex<mpsc::UnboundedReceiver<News>>,
}

impl MemoryNodeClient {
    fn signed<T>(&self, said: T) -> Signed<T> {
        // All clones of a node have the same state.
        Signed { by: ServerId(Arc::as_ptr(&self.node.state) as usize as u128), said }
    }
}

impl Drop for MemoryNodeClient {
    fn drop(&mut self) {
        self.node.state().bells.remove(&self.address);
    }
}

#[async_trait]
impl Node for MemoryNodeClient {
    async fn vote(&self, ask: &Ask) -> Result<Signed<Said>, Error> {
        let micros = self.node.clock.wall_micros();
        let mut state = self.node.state();
        let vote = match state.floor(micros) {
            Err(ends_in) => Vote::Quarantined { ends_in },
            Ok(floor) => state.slot(&ask.claim.name).vote(ask, self.address, floor, micros),
        };
        if ask.claim.mode.is_shared() && matches!(vote, Vote::Granted { waiting: 1.., .. }) {
            // Others may share it, too.
            state.wake_next(&ask.claim.name);
        }
        Ok(self.signed(Said { vote, micros }))
    }

    async fn give_back(&self, back: &Return) -> Result<Signed<Returned>, Error> {
        let micros = self.node.clock.wall_micros();
        let mut state = self.node.state();
        let floor = state.floor(micros);
        let (held, vote) = state.slot(&back.name).give_back(back, self.address, floor, micros);
        // Who was put back knows that it is first, and when to ask again.
        if !(held && matches!(back.what, Ends::Vote { place: Some(_) })) {
            state.wake_next(&back.name);
        }
        let waiting = state.slot(&back.name).waiting();
        let next = vote.map(|vote| Said { vote, micros });
        Ok(self.signed(Returned { held, waiting, next }))
    }

    async fn renew(&self, leases: &[Vow]) -> Result<Signed<Renewed>, Error> {
        let micros = self.node.clock.wall_micros();
        let mut state = self.node.state();
        let open = state.floor(micros).is_ok();
        let renew = |vow: &Vow| state.slot(&vow.claim.name).renew(vow, self.address, open, micros);
        let kept = leases.iter().map(renew).collect();
        Ok(self.signed(Renewed { kept, micros: Some(micros) }))
    }

    async fn evict(&self, name: &LockName, up_to: u64) -> Result<Signed<Evicted>, Error> {
        let micros = self.node.clock.wall_micros();
        let mut state = self.node.state();
        let clients = state.slot(name).evict(up_to, micros);
        for bell in clients.iter().filter_map(|client| state.bells.get(client)) {
            drop(bell.send(News::Gone(name.clone())));
        }
        if !clients.is_empty() {
            state.wake_next(name);
        }
        let (held, slot) = (!clients.is_empty(), state.slot(name));
        Ok(self.signed(Evicted { held, over: slot.freed, holder: slot.holder() }))
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Signed<Vec<Seen>>, Error> {
        let micros = self.node.clock.wall_micros();
        let mut state = self.node.state();
        let asked = state.slots.iter_mut().filter(|(n, _)| name.is_none_or(|name| *n == name));
        let seen = asked.map(|(name, slot)| slot.look(name.clone(), micros));
        let seen = seen.filter(|seen| {
            seen.holder.is_some() || !seen.sharers.is_empty() || !seen.waiters.is_empty()
        });
        Ok(self.signed(seen.collect()))
    }

    async fn news(&self) -> News {
        match self.news.lock().await.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    fn is_well(&self) -> bool {
        true
    }

    fn clock_at_connect(&self) -> Option<(u64, Instant)> {
        None
    }

    fn describe(&self) -> &str {
        "memory:"
    }
}
