//! Members of a cluster of any kind: processes that are started together, and ended or
//! stopped one by one.

use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Failure;
use super::child::Child;
use crate::patience::{LIMIT, until};

/// What is different for each kind.
pub trait Member: Deref<Target = Process> {
    /// Where clients connect.
    fn port(&self) -> u16;

    /// Whether it is the leader, and has been after it was asked.
    fn leads(&self) -> bool;

    /// Whether it agrees with a majority now, or has no need to.
    fn is_ready(&self) -> bool;
}

/// All of a cluster.
pub struct Members<M>(pub(super) Vec<M>);

impl<M: Member> Members<M> {
    /// Where clients connect, as `127.0.0.1:20000,127.0.0.1:20001`.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = (0..self.0.len()).map(|index| self.endpoint(index)).collect();
        all.join(",")
    }

    /// Where clients of one member connect.
    pub fn endpoint(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.port(index))
    }

    /// Where clients of one member connect.
    pub fn port(&self, index: usize) -> u16 {
        self.0[index].port()
    }

    /// Which member leads now. Waits until there is one, which needs a majority.
    pub fn leader(&self) -> usize {
        let leader = until(LIMIT, || self.0.iter().position(Member::leads));
        leader.unwrap_or_else(|| panic!("nobody leads:\n{}", self.logs()))
    }

    /// The process id of a member.
    pub fn pid(&self, index: usize) -> u32 {
        self.0[index].pid()
    }

    /// End a member by SIGKILL; what waits in its sockets is not done.
    pub fn kill(&self, index: usize) {
        self.0[index].kill();
    }

    /// Stop a member by SIGSTOP: connections stay open, and nothing is done.
    pub fn freeze(&self, index: usize) {
        self.0[index].freeze();
    }

    /// Let it go on with what has come meanwhile.
    pub fn thaw(&self, index: usize) {
        self.0[index].thaw();
    }

    /// Wait until a member agrees with a majority.
    pub fn await_ready(&self, index: usize) {
        if let Err(Failure::Other(why)) = self.ready(index) {
            panic!("{why}");
        }
    }

    /// Everything that the members have printed.
    pub fn logs(&self) -> String {
        self.0.iter().map(|member| member.log()).collect()
    }

    /// Start a member, which is tried again while somebody has its ports, after a restart.
    pub(super) fn revive(&self, index: usize, start: impl Fn(usize) -> Result<(), Failure>) {
        let started = until(LIMIT, || match start(index) {
            Err(Failure::PortTaken) => None,
            done => Some(done),
        });
        match started {
            Some(Ok(())) => {}
            Some(Err(Failure::Other(why))) => panic!("{why}"),
            _ => panic!("somebody else listens on a port of member {index} now"),
        }
    }

    /// Start all of them.
    pub(super) fn launch(
        &self,
        start: impl Fn(usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        (0..self.0.len()).try_for_each(start)?;
        (0..self.0.len()).try_for_each(|index| self.ready(index))
    }

    fn ready(&self, index: usize) -> Result<(), Failure> {
        let member = &self.0[index];
        let ready = until(LIMIT, || match member.has_ended() {
            true => Some(false),
            false => member.is_ready().then_some(true),
        });
        let log = member.log();
        match ready {
            Some(true) => Ok(()),
            _ if is_taken(&log) => Err(Failure::PortTaken),
            _ => Err(Failure::Other(format!(
                "{} finds no majority, or has ended:\n{log}",
                member.dir().display()
            ))),
        }
    }
}

/// Killed when the value is dropped.
pub struct Process {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    child: Option<Child>,
    frozen: bool,
}

impl Process {
    /// It works in this directory, which is its own.
    pub(super) fn of(dir: PathBuf) -> Self {
        Self { dir, state: Mutex::default() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Start it and wait until it answers, which needs no other member.
    pub(super) fn start(
        &self,
        mut command: Command,
        answers: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        self.kill();
        let before = self.log().len();
        let other = |e: io::Error| Failure::Other(format!("{:?}: {e}", command.get_program()));
        let log = File::options().create(true).append(true).open(self.log_path()).map_err(other)?;
        let errors = log.try_clone().map_err(other)?;
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = Child::start(command).map_err(|e| Failure::Other(e.to_string()))?;
        *self.state() = State { child: Some(child), frozen: false };
        let new_log = || {
            let log = self.log();
            log.get(before..).unwrap_or(&log).to_owned()
        };
        // Some say so, and live on.
        let listens = until(LIMIT, || match self.has_ended() || is_taken(&new_log()) {
            true => Some(false),
            false => answers().then_some(true),
        });
        if listens == Some(true) {
            return Ok(());
        }
        self.kill();
        let log = new_log();
        match is_taken(&log) {
            true => Err(Failure::PortTaken),
            false => Err(Failure::Other(format!("{} did not start:\n{log}", self.dir.display()))),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.state().child.as_ref().expect("a member that runs").id()
    }

    pub(super) fn kill(&self) {
        *self.state() = State::default();
    }

    pub(super) fn freeze(&self) {
        let mut state = self.state();
        state.child.as_ref().expect("a member that runs").freeze();
        state.frozen = true;
    }

    pub(super) fn thaw(&self) {
        let mut state = self.state();
        state.child.as_ref().expect("a member that runs").thaw();
        state.frozen = false;
    }

    pub(super) fn log(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Whether it cannot answer now.
    pub(super) fn is_asleep(&self) -> bool {
        let state = self.state();
        state.child.is_none() || state.frozen
    }

    fn has_ended(&self) -> bool {
        // Somebody else may have killed it.
        self.state().child.as_mut().is_none_or(Child::has_ended)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that fails while it holds this is to see its own failure.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }
}

fn is_taken(log: &str) -> bool {
    log.to_ascii_lowercase().contains("address already in use")
}
