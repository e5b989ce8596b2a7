//! Real processes that fight over locks on a real server while everything
//! around them goes wrong; and what they held, checked afterwards.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold::time::{Clock, SystemClock};
use rustix::process::{Pid, Signal, kill_process};

use crate::patience::until;
use crate::proxy::Proxy;
use crate::resp::Reply;
use crate::servers::{Server, Settings};

mod history;
mod weather;
mod worker;

use history::History;
use weather::{Climate, Weather};
pub use worker::work;

type Failure = Box<dyn std::error::Error>;

/// The server's clock is that much faster than ours; 2 % are allowed for.
const FAST: f64 = 0.019;
const TICK: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_millis(60);
const WORKERS: usize = 4;

/// A part of the run, with a promise of its own.
struct Part {
    title: &'static str,
    options: &'static str,
    climate: Climate,
    /// Whether one holder at a time is promised.
    exclusive: bool,
}

const PARTS: [Part; 3] = [
    Part {
        title: "a server that keeps its data",
        options: "",
        climate: Climate { loses_data: false, jumps: false },
        exclusive: true,
    },
    Part {
        title: "a server that loses its data, quarantine=on",
        options: "?quarantine=on&max_ttl=1s",
        climate: Climate { loses_data: true, jumps: false },
        exclusive: true,
    },
    Part {
        title: "a wall clock that jumps",
        options: "",
        climate: Climate { loses_data: false, jumps: true },
        exclusive: false,
    },
];

/// Run for about so long; the error says which promise was broken.
pub fn run(worker: &Path, length: Duration, seed: u64) -> Result<(), Failure> {
    println!("soak: redis for {length:?}, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for part in PARTS {
        part.run(worker, length / PARTS.len() as u32, &mut random)?;
    }
    Ok(())
}

impl Part {
    fn run(
        &self,
        worker: &Path,
        length: Duration,
        random: &mut fastrand::Rng,
    ) -> Result<(), Failure> {
        let settings = Settings::default().shifted_clock();
        let settings = if self.climate.loses_data { settings } else { settings.appendonly() };
        let server = settings.start();
        let proxy = Proxy::before(server.port());
        let url = format!("{}{}", proxy.url(), self.options);
        let crew = Crew { worker, children: Mutex::default(), history: Mutex::default() };
        let ended = AtomicBool::new(false);
        let mut weather = Weather {
            server: &server,
            proxy: &proxy,
            climate: self.climate,
            counts: BTreeMap::new(),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for tick in 0.. {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    // Answers slow down and come fast again within the life of a
                    // lease: who counts from an answer is wrong by that much.
                    if tick % 35 == 0 {
                        let delay = if tick % 70 == 0 { SLOW } else { Duration::ZERO };
                        proxy.delay_replies(delay);
                    }
                    wait(TICK);
                    server.shift_clock(TICK.as_secs_f64() * FAST);
                }
            });
            for _ in 0..WORKERS {
                crew.add(scope, &url);
            }
            let end = SystemClock.now() + length;
            while SystemClock.now() < end {
                wait(Duration::from_millis(random.u64(100..700)));
                match random.u32(..6) {
                    0 => crew.pause_one(random),
                    1 if random.u32(..4) == 0 => crew.replace_one(random, scope, &url),
                    _ => weather.strike(random, wait),
                }
            }
            crew.dismiss();
            ended.store(true, Ordering::SeqCst);
        });
        let counts = weather.counts;
        let history = crew.history.into_inner()?;
        self.judge(&history, &format!("{counts:?}"))?;
        everything_comes_free(&server, &url)
    }

    fn judge(&self, history: &History, weather: &str) -> Result<(), Failure> {
        let (overlaps, fences) = (history.overlaps(), history.falling_fences());
        println!(
            "  {}: {} leases, {} overlaps, {} falling fences; {weather}",
            self.title,
            history.holds(),
            overlaps.len(),
            fences.len()
        );
        let broken = fences.first().or(overlaps.first().filter(|_| self.exclusive));
        if let Some(broken) = broken.or(history.strange().first()) {
            return Err(broken.clone().into());
        }
        match history.holds() {
            0..20 => Err("hardly anything was held: the run proves nothing".into()),
            _ => Ok(()),
        }
    }
}

/// When the weather is fair again: nothing is left behind.
fn everything_comes_free(server: &Server, url: &str) -> Result<(), Failure> {
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
    for key in server.keys() {
        if server.command(&["PTTL", &key]) == Reply::Int(-1) {
            return Err(format!("the key {key:?} would stay for ever").into());
        }
    }
    Ok(())
}

/// The processes that work, and what they say.
struct Crew<'a> {
    /// The program that calls [`work`].
    worker: &'a Path,
    children: Mutex<Vec<(usize, Child)>>,
    history: Mutex<History>,
}

impl Crew<'_> {
    fn add<'scope>(&'scope self, scope: &'scope std::thread::Scope<'scope, '_>, url: &str) {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let mut child = Command::new(self.worker)
            .args(["worker", url])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a worker");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        scope.spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                self.history.lock().expect("a history").read(number, &line);
            }
        });
        self.children.lock().expect("a crew").push((number, child));
    }

    /// For long enough that a lease may end meanwhile.
    fn pause_one(&self, random: &mut fastrand::Rng) {
        let children = self.children.lock().expect("a crew");
        let child = Pid::from_child(&children[random.usize(..children.len())].1);
        // It may have ended by an error of its own, which the history tells.
        let _ = kill_process(child, Signal::STOP);
        wait(Duration::from_millis(random.u64(10..2500)));
        let _ = kill_process(child, Signal::CONT);
    }

    fn replace_one<'scope>(
        &'scope self,
        random: &mut fastrand::Rng,
        scope: &'scope std::thread::Scope<'scope, '_>,
        url: &str,
    ) {
        let child = {
            let mut children = self.children.lock().expect("a crew");
            let at = random.usize(..children.len());
            children.swap_remove(at)
        };
        self.kill(child);
        self.add(scope, url);
    }

    fn dismiss(&self) {
        let children = std::mem::take(&mut *self.children.lock().expect("a crew"));
        children.into_iter().for_each(|child| self.kill(child));
    }

    fn kill(&self, (number, mut child): (usize, Child)) {
        let now = SystemClock.now().as_nanos();
        drop(child.kill());
        drop(child.wait());
        self.history.lock().expect("a history").killed(number, now);
    }
}

fn wait(span: Duration) {
    until(span, || None::<()>);
}
