//! Redis servers, one or a quorum, and what goes wrong between them and the workers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Counts, Failure, Ground, WORKERS, Weather, wait};
use crate::proxy::{Fault, Gate, Proxy};
use crate::resp::Reply;
use crate::servers::{Server, Settings};

/// The servers' clocks are that much faster than ours; 2 % are allowed for.
const FAST: f64 = 0.019;
const TICK: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_millis(60);

/// What may happen in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climate {
    /// A server that dies comes back without its data.
    pub(super) loses_data: bool,
    /// How many seconds the wall clocks are before or behind the right time; a
    /// server that comes back without its data has a clock that is set anew.
    pub(super) skew: f64,
    /// Whether they are set anew while they run as well.
    pub(super) jumps: bool,
}

/// How far a clock may go back while its server is down: the quarantine is
/// longer than the leases by twice that.
const BACK: f64 = 0.5;

/// A server, as the workers reach it.
struct Node {
    server: Server,
    proxy: Proxy,
}

impl Node {
    fn start(climate: Climate) -> Self {
        let settings = Settings::default().shifted_clock();
        let settings = if climate.loses_data { settings } else { settings.appendonly() };
        let server = settings.start();
        let proxy = Proxy::before(server.port());
        Self { server, proxy }
    }

    fn one_command(&self, fault: Fault) {
        drop(self.proxy.next(|command| command[0] == b"EVALSHA", fault));
    }
}

/// The servers of a part.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    climate: Climate,
}

impl Nodes {
    pub(super) fn start(count: usize, climate: Climate) -> Self {
        Self { nodes: (0..count).map(|_| Node::start(climate)).collect(), climate }
    }
}

impl Ground for Nodes {
    fn urls(&self) -> Vec<String> {
        let places = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.proxy.port()));
        let scheme = if self.nodes.len() == 1 { "redis" } else { "redlock" };
        vec![format!("{scheme}://{}", places.collect::<Vec<_>>().join(",")); WORKERS]
    }

    fn weather<'a>(&'a self, random: &mut fastrand::Rng) -> Box<dyn Weather + 'a> {
        Box::new(NodesWeather::over(&self.nodes, self.climate, random))
    }

    /// Clocks run fast, and answers slow down and come fast again within the life of
    /// a lease: who counts from an answer is wrong by that much.
    fn pass_time(&self, ended: &AtomicBool) {
        for tick in 0.. {
            if ended.load(Ordering::SeqCst) {
                return;
            }
            for (number, node) in self.nodes.iter().enumerate() {
                let tick = tick + 12 * number;
                if tick % 35 == 0 {
                    let delay = if tick % 70 == 0 { SLOW } else { Duration::ZERO };
                    node.proxy.delay_replies(delay);
                }
            }
            wait(TICK);
            self.nodes.iter().for_each(|node| node.server.shift_clock(TICK.as_secs_f64() * FAST));
        }
    }

    fn nothing_stays(&self) -> Result<(), Failure> {
        for Node { server, .. } in &self.nodes {
            for key in server.keys() {
                if server.command(&["PTTL", &key]) == Reply::Int(-1) {
                    return Err(format!("the key {key:?} would stay for ever").into());
                }
            }
        }
        Ok(())
    }
}

/// The weather over all servers.
struct NodesWeather<'a> {
    nodes: &'a [Node],
    climate: Climate,
    /// By how many seconds each clock is before the right time.
    skews: Vec<f64>,
    counts: Counts,
}

impl<'a> NodesWeather<'a> {
    fn over(nodes: &'a [Node], climate: Climate, random: &mut fastrand::Rng) -> Self {
        let mut weather =
            Self { nodes, climate, skews: vec![0.0; nodes.len()], counts: Counts::new() };
        (0..nodes.len()).for_each(|node| weather.set_clock(node, f64::MAX, random));
        weather
    }

    /// Mostly one. Clocks are set anew on two as well, because the median of three
    /// goes with them. Data are lost mostly by a majority, though not by all at
    /// once: that cannot be told from a first start.
    fn choose(&self, kind: u32, random: &mut fastrand::Rng) -> Vec<usize> {
        let all = self.nodes.len();
        let count = match kind {
            10 if self.climate.loses_data => {
                let least = if random.bool() { all / 2 + 1 } else { 1 };
                random.usize(least..=all.max(2) - 1)
            }
            11.. => random.usize(1..=all.min(2)),
            _ if random.u32(..4) == 0 => all.min(2),
            _ => 1,
        };
        let mut numbers: Vec<usize> = (0..all).collect();
        random.shuffle(&mut numbers);
        numbers.truncate(count);
        numbers
    }

    fn kill(&mut self, numbers: &[usize], random: &mut fastrand::Rng, wait: impl Fn()) {
        let (nodes, loses_data) = (self.nodes, self.climate.loses_data);
        numbers.iter().for_each(|number| nodes[*number].server.kill());
        wait();
        for number in numbers.iter().filter(|_| loses_data) {
            if random.bool() {
                self.set_clock(*number, BACK, random);
            }
        }
        // All at once: what they have forgotten is still held then.
        std::thread::scope(|scope| {
            for server in numbers.iter().map(|number| &nodes[*number].server) {
                scope.spawn(move || match loses_data {
                    true => server.restart_empty(),
                    false => server.restart(),
                });
            }
        });
    }

    /// Some other time, that is not further back than that.
    fn set_clock(&mut self, node: usize, back: f64, random: &mut fastrand::Rng) {
        let skew = (random.f64() * 2.0 - 1.0) * self.climate.skew;
        let skew = skew.max(self.skews[node] - back);
        self.nodes[node].server.shift_clock(skew - self.skews[node]);
        self.skews[node] = skew;
    }
}

impl Weather for NodesWeather<'_> {
    /// On one server or several at once.
    fn strike(&mut self, random: &mut fastrand::Rng) {
        let kind = random.u32(..if self.climate.jumps { 16 } else { 11 });
        let kind = if self.climate.loses_data && random.u32(..3) == 0 { 10 } else { kind };
        let numbers = self.choose(kind, random);
        let hit: Vec<&Node> = numbers.iter().map(|number| &self.nodes[*number]).collect();
        let short = Duration::from_millis(random.u64(5..60));
        let long = Duration::from_millis(random.u64(50..900));
        let each = |act: &dyn Fn(&Node)| hit.iter().for_each(|node| act(node));
        let one_command = |fault: Fault| each(&|node| node.one_command(fault.clone()));
        let what = match kind {
            0 => {
                each(&|node| node.proxy.cut());
                "cut"
            }
            1 => {
                one_command(Fault::LoseReply);
                "reply lost"
            }
            2 => {
                one_command(Fault::Duplicate);
                "command doubled"
            }
            3 => {
                one_command(Fault::CutBefore);
                "command lost"
            }
            4 => {
                // It arrives when its client has long had another connection.
                let gate = Gate::new();
                one_command(Fault::Late(gate.clone()));
                wait(long);
                gate.open();
                "command late"
            }
            10 => {
                self.kill(&numbers, random, || wait(short));
                "server killed"
            }
            5..10 => {
                let (what, set) = spell(kind, short);
                each(&|node| set(node, true));
                wait(long);
                each(&|node| set(node, false));
                what
            }
            _ => {
                numbers.iter().for_each(|node| self.set_clock(*node, f64::MAX, random));
                "clock jumped"
            }
        };
        *self.counts.entry(what).or_default() += numbers.len() as u32;
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// What lasts for a while; called with whether it begins or ends.
type Spell = (&'static str, Box<dyn Fn(&Node, bool)>);

fn spell(kind: u32, delay: Duration) -> Spell {
    match kind {
        5 => (
            "refused",
            Box::new(|node, on| {
                node.proxy.refuse(on);
                if on {
                    node.proxy.cut();
                }
            }),
        ),
        6 => (
            "commands delayed",
            Box::new(move |node, on| {
                node.proxy.delay_commands(if on { delay } else { Duration::ZERO });
            }),
        ),
        7 => ("replies stalled", Box::new(|node, on| node.proxy.stall_downstream(on))),
        8 => ("pushes lost", Box::new(|node, on| node.proxy.drop_pushes(on))),
        _ => (
            "server frozen",
            Box::new(|node, on| match on {
                true => node.server.freeze(),
                false => node.server.thaw(),
            }),
        ),
    }
}
