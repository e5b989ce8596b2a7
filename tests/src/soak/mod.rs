//! Real processes that fight over locks on real servers while everything
//! around them goes wrong; and what they held, checked afterwards.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold::time::{Clock, SystemClock};

use crate::patience::until;
use crate::register::Register;
use crate::resp::Reply;

mod crew;
mod history;
mod parts;
mod weather;
mod worker;

use crew::Crew;
use history::History;
use parts::{PARTS, Part};
use weather::{Counts, Node, Weather};
pub use worker::work;

type Failure = Box<dyn std::error::Error>;

/// The servers' clocks are that much faster than ours; 2 % are allowed for.
const FAST: f64 = 0.019;
const TICK: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_millis(60);
const WORKERS: usize = 4;
/// Nobody is so unlucky for so long, with all the short waits and long outages.
const STARVED: Duration = Duration::from_secs(60);

/// Run each part that has the word in its name for so long; the error says
/// which promise was broken.
pub fn run(worker: &Path, word: &str, each: Duration, seed: u64) -> Result<(), Failure> {
    if count(word) == 0 {
        return Err(format!("no part has {word:?} in its name").into());
    }
    println!("soak for {each:?} each, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for part in PARTS.iter().filter(|part| part.name.contains(word)) {
        part.run(worker, each, &mut random)?;
    }
    Ok(())
}

/// How many parts have the word in their name.
pub fn count(word: &str) -> usize {
    PARTS.iter().filter(|part| part.name.contains(word)).count()
}

impl Part {
    fn run(
        &self,
        worker: &Path,
        length: Duration,
        random: &mut fastrand::Rng,
    ) -> Result<(), Failure> {
        let nodes: Vec<Node> = (0..self.servers).map(|_| Node::start(self.climate)).collect();
        let (url, registers) = (self.url(&nodes), tempfile::tempdir()?);
        let mut weather = Weather::over(&nodes, self.climate, random);
        let crew = Crew::new(worker, &url, registers.path());
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| pass_time(&nodes, &ended));
            (0..WORKERS).for_each(|_| crew.add(scope));
            let end = SystemClock.now() + length;
            while SystemClock.now() < end {
                wait(Duration::from_millis(random.u64(100..700)));
                match random.u32(..6) {
                    0 => crew.pause_one(random),
                    1 if random.u32(..4) == 0 => crew.replace_one(random, scope),
                    _ => weather.strike(random, wait),
                }
            }
            crew.dismiss();
            ended.store(true, Ordering::SeqCst);
        });
        let counts = weather.counts;
        self.judge(&crew.into_history(), registers.path(), &counts)?;
        let nobody_left = SystemClock.now();
        everything_comes_free(&nodes, &url)?;
        println!("    all free after {:.1?}", SystemClock.now().since(nobody_left));
        Ok(())
    }

    fn url(&self, nodes: &[Node]) -> String {
        let places = nodes.iter().map(|node| format!("127.0.0.1:{}", node.proxy.port()));
        let scheme = if self.servers == 1 { "redis" } else { "redlock" };
        format!("{scheme}://{}{}", places.collect::<Vec<_>>().join(","), self.options)
    }

    fn judge(&self, history: &History, registers: &Path, weather: &Counts) -> Result<(), Failure> {
        let (overlaps, fences) = (history.overlaps(), history.falling_fences(self.exclusive));
        let mut used = Used::default();
        for path in registers_in(registers) {
            used.add(&Register::at(&path).look()?);
        }
        let Used { writes, refused, lost } = used;
        println!(
            "  {}: {} leases, {} overlaps, {} falling fences; {writes} writes, {refused} refused, \
             {} of them to a holder, {lost} lost; nobody held for {:.1?}, a worker for {:.1?}; {weather:?}",
            self.name,
            history.holds(),
            overlaps.len(),
            fences.len(),
            history.refused().len(),
            history.longest_free(),
            history.longest_wait(),
        );
        let promised = |broken: &'_ [String]| broken.first().filter(|_| self.exclusive).cloned();
        let broken = fences.first().cloned();
        let broken = broken.or(promised(&overlaps)).or(promised(history.refused()));
        let broken = broken.or((lost > 0).then(|| format!("{lost} updates were lost")));
        if let Some(broken) = broken {
            return Err(format!("broken: {broken}").into());
        }
        if let Some(strange) = history.strange().first() {
            return Err(strange.clone().into());
        }
        if history.longest_wait() > STARVED {
            return Err(format!("a worker got nothing for {:?}", history.longest_wait()).into());
        }
        match history.holds() {
            0..10 => Err("hardly anything was held: the run proves nothing".into()),
            _ if writes < 8 => Err("hardly anything was written".into()),
            _ => Ok(()),
        }
    }
}

/// What was done to all registers.
#[derive(Default)]
struct Used {
    writes: u64,
    refused: u64,
    /// Accepted, and undone by another write that did not know of it.
    lost: u64,
}

impl Used {
    fn add(&mut self, content: &crate::register::Content) {
        self.writes += content.writes;
        self.refused += content.refused;
        self.lost += content.writes - content.total;
    }
}

/// One for each lock.
fn registers_in(dir: &Path) -> Vec<PathBuf> {
    (0..worker::NAMES.len()).map(|number| dir.join(number.to_string())).collect()
}

/// Clocks run fast, and answers slow down and come fast again within the life of
/// a lease: who counts from an answer is wrong by that much.
fn pass_time(nodes: &[Node], ended: &AtomicBool) {
    for tick in 0.. {
        if ended.load(Ordering::SeqCst) {
            return;
        }
        for (number, node) in nodes.iter().enumerate() {
            let tick = tick + 12 * number;
            if tick % 35 == 0 {
                let delay = if tick % 70 == 0 { SLOW } else { Duration::ZERO };
                node.proxy.delay_replies(delay);
            }
        }
        wait(TICK);
        nodes.iter().for_each(|node| node.server.shift_clock(TICK.as_secs_f64() * FAST));
    }
}

/// When the weather is fair again: nothing is left behind.
fn everything_comes_free(nodes: &[Node], url: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let client = leasehold::connect(url).await?;
        for name in worker::NAMES {
            let lease = client
                .lock(name)
                .ttl(Duration::from_secs(1))
                .wait(Duration::from_secs(15))
                .acquire()
                .await?;
            lease.release().await?;
        }
        client.close().await;
        Ok::<_, leasehold::Error>(())
    })?;
    for Node { server, .. } in nodes {
        for key in server.keys() {
            if server.command(&["PTTL", &key]) == Reply::Int(-1) {
                return Err(format!("the key {key:?} would stay for ever").into());
            }
        }
    }
    Ok(())
}

fn wait(span: Duration) {
    until(span, || None::<()>);
}
