//! What the clients of one history lock on: one server, a quorum of nodes, or
//! an etcd cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold::Error;
use leasehold::backend::etcd::MemoryCluster;
use leasehold::backend::quorum::{CLAMP, MemoryNode, Node};
use leasehold::backend::{Backend, Memory, Quorum};
use leasehold::time::{Clock, drift};

use super::cluster::{self, DistantCluster, LeaderClock, Stream};
use super::link::{Link, LinkState};
use super::network::Network;
use super::node::DistantNode;
use super::weather::{Fault, Weather};
use super::{MAX_TTL, drifting, millis};
use crate::world::{Machine, ServerClock};

/// In microseconds, how far a node's clock may go back while the node is down
/// and loses its data: the quarantine less the clamp.
const MAX_STEP: i64 = 2_000_000;

/// In microseconds, how far off the true time a clock is that is looked after.
const USUAL_SKEW: i64 = 300_000;

/// Of which kind the servers of a history are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One that wakes the first of a line.
    Waking,
    /// One that makes the first of a line the holder.
    Granting,
    /// Nodes whose clocks are wrong, but go on.
    Quorum,
    /// Nodes whose clocks jump, which ends leases too early.
    JumpingQuorum,
    /// One cluster, which is one server to its clients.
    Etcd,
}

impl Kind {
    /// Two fifths of the histories are about quorums, and a quarter about etcd.
    pub(super) fn of(seed: u64) -> Self {
        match seed % 12 {
            0 | 6 => Kind::Waking,
            1 | 7 => Kind::Granting,
            3 | 5 | 10 => Kind::Etcd,
            11 => Kind::JumpingQuorum,
            _ => Kind::Quorum,
        }
    }

    /// The part of the core that such servers are made of.
    pub(super) fn part(self) -> &'static str {
        match self {
            Kind::Waking | Kind::Granting => "memory",
            Kind::Quorum | Kind::JumpingQuorum => "quorum",
            Kind::Etcd => "etcd",
        }
    }
}

/// The servers, and all connections to them.
pub(super) struct Servers {
    kind: Kind,
    weather: Arc<Weather>,
    all: Vec<Arc<Server>>,
    links: Mutex<Vec<Arc<LinkState>>>,
    streams: Mutex<Vec<Arc<Stream>>>,
}

struct Server {
    number: usize,
    engine: Engine,
    clock: Arc<ServerClock>,
    /// In microseconds, how far off the wall clock was at the start.
    skew: i64,
    weather: Arc<Weather>,
    down: Arc<AtomicBool>,
}

enum Engine {
    Memory(Memory),
    Node(MemoryNode),
    Cluster(MemoryCluster),
}

impl Servers {
    pub(super) fn new(kind: Kind, random: &mut fastrand::Rng, weather: &Arc<Weather>) -> Self {
        let number = match kind {
            Kind::Waking | Kind::Granting | Kind::Etcd => 1,
            Kind::Quorum | Kind::JumpingQuorum => random.choice([3, 3, 5]).unwrap_or(3),
        };
        // In some worlds the clocks are about right, in some they are not.
        let skew = random.choice([USUAL_SKEW, 5_000_000]).unwrap_or_default();
        let all =
            (0..number).map(|number| Arc::new(Server::new(kind, number, skew, random, weather)));
        let (all, weather) = (all.collect(), weather.clone());
        Self { kind, weather, all, links: Mutex::default(), streams: Mutex::default() }
    }

    /// A client that runs on this machine.
    pub(super) async fn client(
        &self,
        random: &mut fastrand::Rng,
        machine: &Arc<Machine>,
    ) -> Result<Arc<dyn Backend>, Error> {
        let mut nodes: Vec<Arc<DistantNode>> = Vec::new();
        for server in &self.all {
            let node = match &server.engine {
                Engine::Memory(memory) => {
                    let inner = memory.client();
                    let link = Link::new(inner, machine, &self.weather, &server.down, 2);
                    return Ok(Network::new(link));
                }
                Engine::Cluster(cluster) => {
                    let inner = cluster.client();
                    let link = Link::new(inner, machine, &self.weather, &server.down, 2);
                    let distant = DistantCluster::new(link);
                    lock(&self.streams).push(distant.stream().clone());
                    return cluster::backend(distant, machine).await;
                }
                Engine::Node(node) => self.distant_node(server, node, random, machine),
            };
            lock(&self.links).push(node.link().clone());
            nodes.push(node);
        }
        // Two names of some clients lead to one server.
        if random.u8(..4) == 0
            && let [wrong, .., right] = &nodes[..]
        {
            wrong.mislead(right);
        }
        let nodes = nodes.into_iter().map(|node| node as Arc<dyn Node>).collect();
        Ok(Arc::new(Quorum::new(nodes, MAX_TTL, machine.clone())?))
    }

    fn distant_node(
        &self,
        server: &Server,
        node: &MemoryNode,
        random: &mut fastrand::Rng,
        machine: &Arc<Machine>,
    ) -> Arc<DistantNode> {
        // Not all could be reached at once.
        let at_connect = random.bool().then(|| (server.clock.wall_micros(), machine.now()));
        let link = Link::new(node.client(), machine, &self.weather, &server.down, 1);
        DistantNode::new(link, server.number, server.clock.clone(), at_connect)
    }

    /// Something happens to one of them. Nodes go wrong independently: what is
    /// begun here goes on while other things happen.
    #[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
    pub(super) async fn misfortune(&self, random: &mut fastrand::Rng) {
        let server = self.all[random.usize(..self.all.len())].clone();
        let down_for = millis(random, 10..3000);
        if let Engine::Cluster(cluster) = &server.engine {
            return self.trouble(cluster, &server, down_for, random);
        }
        match (self.kind, random.u32(..3)) {
            (Kind::Waking | Kind::Granting, 0) => server.restart(false, down_for).await,
            (Kind::Waking | Kind::Granting, 1) | (Kind::JumpingQuorum, 2) => {
                self.weather.faults.count(Fault::WallJump);
                server.clock.set(random.i64(-10_000_000..10_000_000));
            }
            (Kind::JumpingQuorum, 0) => drop(tokio::spawn(server.restart(false, down_for))),
            (Kind::Quorum, 0) => server.lose(random, down_for),
            (Kind::Quorum, 2) => {
                // The power fails: they all go, and soon come back.
                for server in &self.all {
                    let down_for = millis(random, 10..400);
                    server.clone().lose(random, down_for);
                }
            }
            (Kind::Quorum | Kind::JumpingQuorum, 1) => self.cut_links(random),
            _ => {}
        }
    }

    /// Something happens to an etcd cluster, or to what leads there.
    #[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
    fn trouble(
        &self,
        cluster: &MemoryCluster,
        server: &Arc<Server>,
        lasts: Duration,
        random: &mut fastrand::Rng,
    ) {
        let (server, cluster) = (server.clone(), cluster.clone());
        let streams = lock(&self.streams);
        let (cut, lost): (Vec<&Arc<Stream>>, u32) = match random.u32(..4) {
            0 => return drop(tokio::spawn(server.restart(false, lasts))),
            1 => return drop(tokio::spawn(async move { server.compact(&cluster, lasts).await })),
            // The network fails.
            2 => (streams.iter().collect(), 3),
            _ => (random.choice(streams.iter()).into_iter().collect(), random.u32(1..4)),
        };
        for stream in cut {
            let stream = stream.clone();
            tokio::spawn(async move { stream.cut(lost & 1 > 0, lost & 2 > 0, lasts).await });
        }
    }

    #[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
    fn cut_links(&self, random: &mut fastrand::Rng) {
        let links = lock(&self.links);
        let (lost, lasts) = (random.u32(1..4), millis(random, 100..5000));
        let cut: Vec<Arc<LinkState>> = match random.u32(..3) {
            // All but one of those of one client.
            0 => {
                let all = random.choice(links.chunks(self.all.len())).unwrap_or_default();
                let spared = random.usize(..all.len());
                let others = all.iter().enumerate().filter(|(at, _)| *at != spared);
                others.map(|(_, link)| link.clone()).collect()
            }
            _ => random.choice(links.iter()).cloned().into_iter().collect(),
        };
        for link in cut {
            tokio::spawn(async move { link.partition(lost & 1 > 0, lost & 2 > 0, lasts).await });
        }
    }

    /// Who holds or waits anywhere.
    pub(super) async fn occupied(&self) -> Result<Vec<String>, String> {
        let mut occupied = Vec::new();
        for server in &self.all {
            match &server.engine {
                Engine::Memory(memory) => {
                    let statuses = memory.client().inspect(None).await;
                    let statuses = statuses.map_err(|e| e.to_string())?;
                    occupied.extend(statuses.iter().map(|status| format!("{status:?}")));
                }
                Engine::Cluster(cluster) => {
                    let machine = Machine::new(self.weather.truth, 1.0, 0);
                    let onlooker = cluster::backend(Arc::new(cluster.client()), &machine).await;
                    let onlooker = onlooker.map_err(|e| e.to_string())?;
                    let statuses = onlooker.inspect(None).await.map_err(|e| e.to_string())?;
                    occupied.extend(statuses.iter().map(|status| format!("{status:?}")));
                }
                Engine::Node(node) => {
                    let seen = node.client().inspect(None).await.map_err(|e| e.to_string())?.said;
                    let number = server.number;
                    occupied.extend(seen.iter().map(|seen| format!("node {number}: {seen:?}")));
                }
            }
        }
        Ok(occupied)
    }

    /// By which ballot each node of a quorum has the lock held; none for one server.
    pub(super) async fn ballots(&self, name: &str) -> Result<Vec<Option<u64>>, String> {
        let mut ballots = Vec::new();
        for server in &self.all {
            let Engine::Node(node) = &server.engine else { continue };
            let seen = node.client().inspect(None).await.map_err(|e| e.to_string())?.said;
            let seen = seen.iter().find(|seen| seen.name.as_str() == name);
            ballots.push(seen.and_then(|seen| Some(seen.holder.as_ref()?.0)));
        }
        Ok(ballots)
    }

    /// In calm weather, one of them is started again.
    pub(super) async fn restart_one(&self, random: &mut fastrand::Rng, loses_data: bool) {
        let server = self.all[random.usize(..self.all.len())].clone();
        server.restart(loses_data, Duration::ZERO).await;
    }

    /// The etcd cluster, if it is one, and what leads there.
    pub(super) fn cluster(&self) -> Option<(MemoryCluster, Vec<Arc<Stream>>)> {
        match &self.all.first()?.engine {
            Engine::Cluster(cluster) => Some((cluster.clone(), lock(&self.streams).clone())),
            _ => None,
        }
    }

    /// How far apart their clocks are.
    pub(super) fn spread(&self) -> Duration {
        let times = || self.all.iter().map(|server| server.clock.wall_micros());
        let (first, last) = (times().min(), times().max());
        Duration::from_micros(last.zip(first).map_or(0, |(last, first)| last - first))
    }

    pub(super) fn is_quorum(&self) -> bool {
        matches!(self.kind, Kind::Quorum | Kind::JumpingQuorum)
    }

    /// How many milliseconds pass at most between two misfortunes: many nodes
    /// have more of them.
    pub(super) fn lull(&self) -> u64 {
        if self.is_quorum() { 3000 } else { 4000 }
    }

    /// The storm is over, and the clocks that jumped are set right. Answers
    /// how long it takes until no ballot is ahead of them any more.
    pub(super) fn settle(&self, random: &mut fastrand::Rng) -> Duration {
        if self.kind != Kind::JumpingQuorum {
            return Duration::ZERO;
        }
        for server in &self.all {
            server.clock.set(random.i64(-USUAL_SKEW..USUAL_SKEW));
        }
        Duration::from_secs(15)
    }
}

impl Server {
    fn new(
        kind: Kind,
        number: usize,
        skew: i64,
        random: &mut fastrand::Rng,
        weather: &Arc<Weather>,
    ) -> Self {
        let truth = weather.truth;
        let down = Arc::default();
        let weather = weather.clone();
        if matches!(kind, Kind::Waking | Kind::Granting) {
            let clock = ServerClock::new(truth, drifting(random));
            let memory = match kind {
                Kind::Granting => Memory::granting(clock.clone(), Duration::from_secs(1)),
                _ => Memory::new(clock.clone()),
            };
            return Self { number, engine: Engine::Memory(memory), clock, skew: 0, weather, down };
        }
        let clock = ServerClock::new(truth, drifting(random));
        if kind == Kind::Etcd {
            let min_ttl = random.u64(1..=2);
            let cluster =
                MemoryCluster::with_min_ttl(Arc::new(LeaderClock(clock.clone())), min_ttl);
            cluster::pass_time(cluster.clone(), weather.clone(), &down);
            let engine = Engine::Cluster(cluster);
            return Self { number, engine, clock, skew: 0, weather, down };
        }
        let skew = random.i64(-skew..skew);
        clock.set(skew);
        let node = MemoryNode::new(clock.clone(), MAX_TTL + drift(MAX_TTL) + CLAMP);
        Self { number, engine: Engine::Node(node), clock, skew, weather, down }
    }

    /// It dies, perhaps with its data, and comes back with another time.
    #[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
    fn lose(self: Arc<Self>, random: &mut fastrand::Rng, down_for: Duration) {
        // Never further back in all, so also not across any restart.
        self.clock.set(self.skew - random.i64(0..MAX_STEP));
        self.weather.faults.count(Fault::WallStep);
        let loses_data = random.u32(..4) > 0;
        tokio::spawn(self.restart(loses_data, down_for));
    }

    /// It dies, and is started again a while later. A cluster that cannot be
    /// reached ends no session meanwhile, and has another leader then.
    async fn restart(self: Arc<Self>, loses_data: bool, down_for: Duration) {
        self.weather.faults.count(Fault::Restart);
        self.down.store(true, Ordering::SeqCst);
        self.weather.truth.sleep(down_for).await;
        self.down.store(false, Ordering::SeqCst);
        match &self.engine {
            Engine::Memory(memory) => memory.restart(),
            Engine::Node(node) => {
                if loses_data {
                    self.weather.faults.count(Fault::DataLost);
                    self.weather.ledger.forgot(self.number);
                }
                node.restart(loses_data);
            }
            Engine::Cluster(cluster) => {
                self.weather.faults.count(Fault::Election);
                cluster.change_leader();
            }
        }
    }

    /// Somebody makes it forget what changed, far more often than anybody should.
    async fn compact(&self, cluster: &MemoryCluster, lasts: Duration) {
        const OFTEN: Duration = Duration::from_millis(10);
        self.weather.faults.count(Fault::Compaction);
        let until = self.weather.truth.elapsed() + lasts;
        while self.weather.truth.elapsed() < until {
            cluster::forget(cluster).await;
            self.weather.truth.sleep(OFTEN).await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
