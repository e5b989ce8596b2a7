//! The process of a server, which never outlives the test.

use std::io;
use std::process::Command;
use std::sync::{OnceLock, mpsc};
use std::thread;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process,
    set_parent_process_death_signal, waitid,
};

use crate::patience::{LIMIT, until};

type Start = (Command, mpsc::Sender<io::Result<std::process::Child>>);

/// Killed and collected when the value is dropped.
pub(super) struct Child(std::process::Child);

impl Child {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        die_with_us(&mut command);
        let (answer, answered) = mpsc::channel();
        starter().send((command, answer)).expect("the starter never ends");
        answered.recv().expect("the starter answers").map(Self)
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("our own child").is_some()
    }

    /// Stopped when this returns, and nothing more is done by it.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
        // Seen, not collected: that is the business of whoever ends it.
        let seen = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&self.0)), seen).expect("our own child");
    }

    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// End it as an administrator would.
    pub(super) fn terminate(mut self) {
        self.signal(Signal::TERM);
        self.thaw();
        let ended = until(LIMIT, || self.has_ended().then_some(()));
        ended.expect("a server ends when it is told to");
    }

    fn signal(&self, signal: Signal) {
        // A child that ended keeps its pid until it is collected.
        kill_process(Pid::from_child(&self.0), signal).expect("our own child");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // No SIGCONT before it: a stopped server would do what waits in its
        // sockets, and SIGKILL reaches stopped processes as well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A thread that starts all servers and never ends: the kernel counts the end
/// of the thread that started a child as the death of its parent.
fn starter() -> mpsc::Sender<Start> {
    static STARTER: OnceLock<mpsc::Sender<Start>> = OnceLock::new();
    let start = || {
        let (sender, receiver) = mpsc::channel::<Start>();
        thread::spawn(move || {
            for (mut command, answer) in receiver {
                drop(answer.send(command.spawn()));
            }
        });
        sender
    };
    STARTER.get_or_init(start).clone()
}

/// Have the kernel kill it when the test run is killed.
#[allow(unsafe_code)]
fn die_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let us = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Dead before that call, we would not be missed.
        match getppid() == Some(us) {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    };
    // SAFETY: between fork and exec it only makes two system calls; it does not
    // allocate, take locks, or touch memory that another thread may be changing.
    unsafe { command.pre_exec(before_exec) };
}
