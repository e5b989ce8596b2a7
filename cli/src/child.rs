//! The command: starting it, waiting for it and what it started, stopping both.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::exit;
use crate::signals::Heard;
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
    /// Start the command with our stdin, stdout and stderr, and the variables `env`.
    pub(crate) fn spawn(command: &[OsString], env: &[(&str, String)]) -> io::Result<Self> {
        let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        tree::adopt_orphans()?;
        let others = tree::children();
        let deaths = signal(SignalKind::child())?;
        let mut command = Command::new(program);
        command.args(args).envs(env.iter().map(|(key, value)| (key, value)));
        #[cfg(target_os = "linux")]
        die_with_us(&mut command);
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

/// Have the kernel kill the command when this process dies by SIGKILL: on the
/// embedded backend its lock is free at that moment.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn die_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    use rustix::process::{getpid, getppid, set_parent_process_death_signal};

    let us = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Dead before that call, we would not be missed.
        match getppid() == Some(us) {
            true => Ok(()),
            false => Err(Errno::SRCH.into()),
        }
    };
    // SAFETY: between fork and exec it only makes two system calls; it does not
    // allocate, take locks, or touch memory that another thread may be changing.
    unsafe { command.pre_exec(before_exec) };
}
