//! Real processes that fight over locks on real servers while everything
//! around them goes wrong; and what they held, checked afterwards.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold::block_on;
use leasehold::time::{Clock, SystemClock};

use crate::patience::until;
use crate::register::Register;

mod crew;
mod etcd;
mod history;
mod parts;
mod redis;
mod sql;
mod ways;
mod worker;
mod zookeeper;

use crew::Crew;
use history::History;
use parts::{PARTS, Part};
pub use worker::work;

type Failure = Box<dyn std::error::Error>;

/// How often each thing happened.
type Counts = std::collections::BTreeMap<&'static str, u32>;

const WORKERS: usize = 4;
/// Nobody is so unlucky for so long, with all the short waits and long outages.
const STARVED: Duration = Duration::from_secs(60);

/// The servers of a part, and all that lies between them and the workers.
trait Ground: Sync {
    /// Where each worker finds the locks.
    fn urls(&self) -> Vec<String>;

    fn weather<'a>(&'a self, random: &mut fastrand::Rng) -> Box<dyn Weather + 'a>;

    /// What goes on beside the weather, until the run has ended.
    fn pass_time(&self, ended: &AtomicBool);

    /// When nobody works any more: nothing is left there for ever.
    fn nothing_stays(&self) -> Result<(), Failure>;
}

trait Weather {
    /// One thing goes wrong, and is mended.
    fn strike(&mut self, random: &mut fastrand::Rng);

    /// What has happened.
    fn counts(&self) -> &Counts;
}

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
        let (ground, registers) = (self.servers.start(), tempfile::tempdir()?);
        let mut urls = ground.urls();
        urls.iter_mut().for_each(|url| url.push_str(self.options));
        let mut weather = ground.weather(random);
        let crew = Crew::new(worker, &urls, registers.path());
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| ground.pass_time(&ended));
            crew.hire(scope);
            let end = SystemClock.now() + length;
            while SystemClock.now() < end {
                wait(Duration::from_millis(random.u64(100..700)));
                match random.u32(..6) {
                    0 => crew.pause_one(random),
                    1 if random.u32(..4) == 0 => crew.replace_one(random, scope),
                    _ => weather.strike(random),
                }
            }
            crew.dismiss();
            ended.store(true, Ordering::SeqCst);
        });
        self.judge(&crew.into_history(), registers.path(), weather.counts())?;
        let nobody_left = SystemClock.now();
        everything_comes_free(&urls[0])?;
        ground.nothing_stays()?;
        println!("    all free after {:.1?}", SystemClock.now().since(nobody_left));
        Ok(())
    }

    fn judge(&self, history: &History, registers: &Path, weather: &Counts) -> Result<(), Failure> {
        let (overlaps, fences) = (history.overlaps(), history.falling_fences(self.exclusive));
        let mut used = Used::default();
        for path in registers_in(registers) {
            used.add(&Register::at(&path).look()?);
        }
        let Used { writes, refused, lost } = used;
        println!(
            "  {}: {} leases {:?}, {} overlaps, {} falling fences; {writes} writes, {refused} refused, \
             {} of them to a holder, {lost} lost; nobody held for {:.1?}, a worker for {:.1?}; {weather:?}",
            self.name,
            history.holds(),
            history.kinds(),
            overlaps.len(),
            fences.len(),
            history.refused().len(),
            history.longest_free(),
            history.longest_wait(),
        );
        let promised = |broken: &'_ [String]| broken.first().filter(|_| self.exclusive).cloned();
        let broken = fences.first().cloned();
        let broken = broken.or(promised(&overlaps)).or(promised(history.refused()));
        let early = history.early();
        let broken = broken.or(early.first().filter(|_| self.servers.keep_rests()).cloned());
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
            _ if writes < 4 => Err("hardly anything was written".into()),
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

/// One for each lock, and for each permit.
fn registers_in(dir: &Path) -> Vec<PathBuf> {
    (0..worker::REGISTERS).map(|number| dir.join(number.to_string())).collect()
}

/// When the weather is fair again: nobody is left behind.
fn everything_comes_free(url: &str) -> Result<(), Failure> {
    block_on(async {
        let client = leasehold::connect(url).await?;
        for name in worker::NAMES {
            let lock = client.lock(name).ttl(Duration::from_secs(1)).wait(Duration::from_secs(15));
            let lease = match lock.clone().acquire().await {
                // It is somebody's still, by permits.
                Err(e) if e.kind() == leasehold::Kind::Refused => {
                    lock.permits(worker::PERMITS).acquire().await?
                }
                lease => lease?,
            };
            lease.release().await?;
        }
        client.close().await;
        Ok::<_, leasehold::Error>(())
    })?;
    Ok(())
}

fn wait(span: Duration) {
    until(span, || None::<()>);
}
