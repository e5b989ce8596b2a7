//! One process of a cluster.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::settings::METRICS;
use crate::patience::{LIMIT, until};
use crate::servers::Failure;
use crate::servers::child::Child;

/// How long it may take to say how it is. One that has lost its quorum takes long,
/// and is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Killed when the value is dropped.
pub(super) struct Member {
    pub(super) port: u16,
    pub(super) peer_port: u16,
    pub(super) dir: PathBuf,
    pub(super) process: Mutex<Process>,
}

#[derive(Default)]
pub(super) struct Process {
    child: Option<Child>,
    frozen: bool,
}

impl Member {
    /// Start it and wait until it has all its ports. That needs no other member.
    pub(super) fn start(&self, mut command: Command) -> Result<(), Failure> {
        self.kill();
        let before = self.log().len();
        let other = |e: io::Error| Failure::Other(e.to_string());
        let log = File::options().create(true).append(true).open(self.log_path()).map_err(other)?;
        let errors = log.try_clone().map_err(other)?;
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = Some(Child::start(command).map_err(other)?);
        *self.process() = Process { child, frozen: false };
        let listens = until(LIMIT, || match self.has_ended() {
            true => Some(false),
            false => self.get("/metrics").is_ok().then_some(true),
        });
        if listens == Some(true) {
            return Ok(());
        }
        self.kill();
        let log = self.log();
        match log.get(before..).unwrap_or(&log).contains("address already in use") {
            true => Err(Failure::PortTaken),
            false => Err(Failure::Other(format!("{} did not start:\n{log}", self.dir.display()))),
        }
    }

    /// Wait until it agrees with a majority.
    pub(super) fn await_health(&self) -> Result<(), Failure> {
        let healthy = until(LIMIT, || match self.has_ended() {
            true => Some(false),
            false => self.is_healthy().then_some(true),
        });
        match healthy {
            Some(true) => Ok(()),
            _ => {
                let (dir, log) = (self.dir.display(), self.log());
                Err(Failure::Other(format!("{dir} finds no majority, or has ended:\n{log}")))
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process().child.as_ref().expect("a member that runs").id()
    }

    pub(super) fn kill(&self) {
        *self.process() = Process::default();
    }

    pub(super) fn freeze(&self) {
        let mut process = self.process();
        process.child.as_ref().expect("a member that runs").freeze();
        process.frozen = true;
    }

    pub(super) fn thaw(&self) {
        let mut process = self.process();
        process.child.as_ref().expect("a member that runs").thaw();
        process.frozen = false;
    }

    /// Whether it is the leader, and has been after it was asked.
    pub(super) fn leads(&self) -> bool {
        // One that has been frozen believes itself to be what it was, until it hears
        // from the others, without which it is not healthy.
        self.is_healthy() && self.metric("etcd_server_is_leader") == Some(1)
    }

    /// Everything that it counts, as Prometheus has it, while it can be asked.
    pub(super) fn metrics(&self) -> Option<String> {
        let asleep = {
            let process = self.process();
            process.child.is_none() || process.frozen
        };
        if asleep { None } else { self.get("/metrics").ok() }
    }

    pub(super) fn log(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn is_healthy(&self) -> bool {
        let asleep = self.process().frozen;
        !asleep && self.get("/health").is_ok_and(|said| said.contains(r#""health":"true""#))
    }

    fn metric(&self, name: &str) -> Option<u64> {
        let metrics = self.metrics()?;
        let mut lines = metrics.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    fn has_ended(&self) -> bool {
        // Somebody else may have killed it.
        self.process().child.as_mut().is_none_or(Child::has_ended)
    }

    /// Ask it by HTTP how it is.
    fn get(&self, path: &str) -> io::Result<String> {
        let mut socket = UnixStream::connect(self.dir.join(METRICS))?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(socket, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut said = String::new();
        socket.read_to_string(&mut said)?;
        Ok(said)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A test that fails while it holds this is to see its own failure.
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }
}
