//! One process of an ensemble.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::client::{ZkClient, ZkError};
use crate::patience::{LIMIT, until};
use crate::servers::Failure;
use crate::servers::child::Child;

/// How long it may take to say how it is. It is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Killed when the value is dropped.
pub(super) struct Member {
    pub(super) port: u16,
    pub(super) secure_port: u16,
    pub(super) quorum_port: u16,
    pub(super) election_port: u16,
    pub(super) dir: PathBuf,
    pub(super) process: Mutex<Process>,
}

#[derive(Default)]
pub(super) struct Process {
    child: Option<Child>,
    frozen: bool,
}

impl Member {
    /// Start it and wait until it answers, which needs no other member.
    pub(super) fn start(&self, mut command: Command) -> Result<(), Failure> {
        self.kill();
        let before = self.log().len();
        let other = |e: io::Error| Failure::Other(format!("java: {e}"));
        let log = File::options().create(true).append(true).open(self.log_path()).map_err(other)?;
        let errors = log.try_clone().map_err(other)?;
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = Some(Child::start(command).map_err(other)?);
        *self.process() = Process { child, frozen: false };
        let new_log = || {
            let log = self.log();
            log.get(before..).unwrap_or(&log).to_owned()
        };
        // Of its ports for the others it says so, and lives on.
        let taken = || new_log().contains("Address already in use");
        let listens = until(LIMIT, || match self.has_ended() || taken() {
            true => Some(false),
            false => (self.ask("ruok").as_deref() == Some("imok")).then_some(true),
        });
        if listens == Some(true) {
            return Ok(());
        }
        self.kill();
        match taken() {
            true => Err(Failure::PortTaken),
            false => {
                Err(Failure::Other(format!("{} did not start:\n{}", self.dir.display(), new_log())))
            }
        }
    }

    /// Wait until it leads, follows, or is alone.
    pub(super) fn await_service(&self) -> Result<(), Failure> {
        let serves = until(LIMIT, || match self.has_ended() {
            true => Some(false),
            false => self.mode().is_some().then_some(true),
        });
        match serves {
            Some(true) => Ok(()),
            _ if self.log().contains("Address already in use") => Err(Failure::PortTaken),
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

    /// Whether it is the leader or alone, and has been after it was asked.
    pub(super) fn leads(&self) -> bool {
        // One that has been frozen believes itself to be what it was, until it hears from
        // the others, without which it opens no session.
        matches!(self.mode().as_deref(), Some("leader" | "standalone"))
            && self.client().and_then(|mut client| client.close()).is_ok()
    }

    pub(super) fn client(&self) -> Result<ZkClient, ZkError> {
        if self.is_asleep() {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
        ZkClient::connect_limited(self.port, ANSWER_LIMIT)
    }

    /// As what it serves, while it does.
    fn mode(&self) -> Option<String> {
        let said = self.ask("srvr")?;
        said.lines().find_map(|line| line.strip_prefix("Mode: ").map(str::to_owned))
    }

    /// What it says to one of its words of four letters.
    pub(super) fn ask(&self, word: &str) -> Option<String> {
        if self.is_asleep() {
            return None;
        }
        let ask = || {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            let mut socket = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
            socket.set_read_timeout(Some(ANSWER_LIMIT))?;
            socket.write_all(word.as_bytes())?;
            let mut said = String::new();
            socket.read_to_string(&mut said)?;
            Ok::<_, io::Error>(said)
        };
        ask().ok()
    }

    pub(super) fn log(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn is_asleep(&self) -> bool {
        let process = self.process();
        process.child.is_none() || process.frozen
    }

    fn has_ended(&self) -> bool {
        // Somebody else may have killed it.
        self.process().child.as_mut().is_none_or(Child::has_ended)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A test that fails while it holds this is to see its own failure.
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }
}
