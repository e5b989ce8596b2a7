//! The command: starting it, waiting for it and what it started, stopping both.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::{Errno, FdFlags, fcntl_setfd};
#[cfg(target_os = "linux")]
use rustix::process::getppid;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::exit;
use crate::signals::{Heard, Signals};
use crate::tree;

/// A command that was started, and its descendants.
pub(crate) struct Child {
    pid: Pid,
    /// Set when it was collected; from then on its pid may be somebody else's.
    code: Option<u8>,
    deaths: Stream,
    /// Children that this process had before, by an `exec` of whoever made them.
    others: Vec<Pid>,
}

impl Child {
    /// Start the command with our stdin, stdout and stderr, the variables `env` set or
    /// removed, and what it and its descendants are to keep open.
    pub(crate) fn spawn(
        command: &[OsString],
        env: &[(&str, Option<String>)],
        kept: Option<OwnedFd>,
        signals: &Signals,
    ) -> io::Result<Self> {
        let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        tree::adopt_orphans()?;
        let others = tree::children();
        let deaths = signal(SignalKind::child())?;
        let mut command = Command::new(program);
        command.args(args);
        for (key, value) in env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        prepare(&mut command, signals.undo(), kept);
        // It is waited for below, together with the orphans.
        let pid = command.spawn()?.id();
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        Ok(Self { pid, code: None, deaths, others })
    }

    /// The exit code of the command, once it has ended. Cancel safe.
    pub(crate) async fn ended(&mut self) -> u8 {
        loop {
            self.collect();
            if let Some(code) = self.code {
                return code;
            }
            self.deaths.recv().await;
        }
    }

    /// Wait until neither the command nor a descendant is left. Cancel safe.
    pub(crate) async fn all_ended(&mut self) {
        while self.collect() && !(self.others_exist() && self.descendants().is_empty()) {
            self.deaths.recv().await;
        }
    }

    /// Pass a signal on to the command.
    pub(crate) fn forward(&self, heard: Heard) {
        // Many programs take a second one for impatience.
        if self.code.is_none() && !heard.by_terminal {
            // It may just have ended; then there is nobody to tell.
            let _ = kill_process(self.pid, heard.signal);
        }
    }

    /// Send a signal to the command and every descendant; answers how many
    /// refused it, for example because they run as another user.
    pub(crate) fn signal_all(&self, signal: Signal) -> usize {
        // All are found before the first is told, whose end would scatter them.
        let all = self.descendants();
        let mut refused = 0;
        if self.code.is_none() && !all.iter().any(|process| process.pid == self.pid) {
            refused += usize::from(kill_process(self.pid, signal) == Err(Errno::PERM));
        }
        for process in all {
            refused += usize::from(process.signal(signal) == Err(Errno::PERM));
        }
        refused
    }

    fn descendants(&self) -> Vec<tree::Process> {
        tree::descendants(&self.others)
    }

    fn others_exist(&self) -> bool {
        !self.others.is_empty()
    }

    /// Collect the dead: the command, and orphans that came to us, which nobody
    /// else would. False when there are no children left, dead or alive; what
    /// loses its parent is our child, so then there are no descendants either.
    fn collect(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.pid && self.code.is_none() => {
                    self.code = Some(code_of(status));
                }
                Ok(Some((pid, _))) => self.others.retain(|other| *other != pid),
                Err(Errno::INTR) => {}
                Ok(None) => return true,
                Err(_) => {
                    // Somebody else collected it, and its code with it.
                    self.code.get_or_insert(exit::INTERNAL);
                    return false;
                }
            }
        }
    }
}

fn code_of(status: WaitStatus) -> u8 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => exit::by_signal(signal),
        (None, None) => exit::INTERNAL,
    }
}

/// What the command does before its exec.
#[allow(unsafe_code)]
fn prepare(
    command: &mut Command,
    undo: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    kept: Option<OwnedFd>,
) {
    let us = getpid();
    let before_exec = move || {
        die_with(us)?;
        // Any other process that this one might start closes it.
        kept.as_ref().map_or(Ok(()), |kept| fcntl_setfd(kept, FdFlags::empty()))?;
        undo()
    };
    // SAFETY: between fork and exec it only makes system calls; it does not
    // allocate, take locks, or touch memory that another thread may be changing.
    unsafe { command.pre_exec(before_exec) };
}

/// Have the kernel kill the command when this process dies by SIGKILL: nobody renews
/// the lease any more, and would stop the command at its end. Its children are out of
/// reach; they keep what proves the lease's holder alive.
#[cfg(target_os = "linux")]
fn die_with(us: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // Dead before that call, we would not be missed.
    match getppid() == Some(us) {
        true => Ok(()),
        false => Err(Errno::SRCH.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with(_: Pid) -> io::Result<()> {
    Ok(())
}
