//! The signals that are passed on to the command.

use std::io;

use rustix::process::Signal;

const FORWARDED: [Signal; 6] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2];

/// A signal that was sent to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) signal: Signal,
    /// Whether a terminal sent it to the whole foreground group: the command has it already.
    pub(crate) by_terminal: bool,
}

/// The signals this process was started to ignore, as a bit mask: `nohup` and
/// a shell's background jobs rely on these staying ignored, in the command too.
fn ignored() -> u64 {
    // Other systems do not tell without unsafe code; there, all are heeded.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn heeded(ignored: u64) -> impl Iterator<Item = Signal> {
    FORWARDED.into_iter().filter(move |s| ignored & (1 << (s.as_raw() - 1)) == 0)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use leasehold::time::{Clock, Instant, SystemClock};
    use nix::errno::Errno;
    use nix::sys::signal::{SigSet, SigmaskHow, Signal as Number};
    use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
    use rustix::process::{Pid, getpgid, getpgrp, getpid, getsid};
    use tokio::sync::mpsc;

    use super::{Heard, Signal, heeded, ignored, io};
    use crate::start;

    /// Of who sent a signal: the kernel itself, as for Ctrl-C.
    const SI_KERNEL: i32 = 0x80;
    /// A launcher such as npm passes on what the terminal has sent to all, us too.
    const ECHO: Duration = Duration::from_secs(1);

    /// From its making on, these signals do not end this process. Make it before other
    /// threads are started, which inherit what is blocked.
    pub(crate) struct Signals {
        /// What was ignored and what was blocked when this process was started.
        before: (u64, SigSet),
        queue: mpsc::UnboundedReceiver<siginfo>,
        by_terminal: Option<(Signal, Instant)>,
    }

    impl Signals {
        pub(crate) fn listen() -> io::Result<Self> {
            let mut set = SigSet::empty();
            let ignored = ignored();
            for signal in heeded(ignored) {
                set.add(Number::try_from(signal.as_raw())?);
            }
            let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
            // Our parent may have blocked it. Then the end of the command would never be
            // noticed.
            let mut deaths = SigSet::empty();
            deaths.add(Number::SIGCHLD);
            deaths.thread_unblock()?;
            let queue = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?;
            let (tell, heard) = mpsc::unbounded_channel();
            // Unlike a handler, this way tells who sent a signal. It ends with the process.
            let read = move || {
                loop {
                    match queue.read_signal() {
                        Ok(Some(info)) if tell.send(info).is_err() => break,
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(_) => break,
                    }
                }
            };
            std::thread::Builder::new().name("signals".into()).spawn(read)?;
            Ok(Self { before: (ignored, before), queue: heard, by_terminal: None })
        }

        /// Ignore and block what was so before, in a child before its exec, which inherits
        /// that: a few system calls.
        pub(crate) fn undo(&self) -> impl Fn() -> io::Result<()> + use<> {
            let (ignored, blocked) = self.before;
            move || {
                start::ignore_again(ignored)?;
                Ok(blocked.thread_set_mask()?)
            }
        }

        /// The next signal. Cancel safe.
        pub(crate) async fn next(&mut self) -> Heard {
            while let Some(info) = self.queue.recv().await {
                let Some(signal) = Signal::from_named_raw(info.ssi_signo as i32) else { continue };
                // A hang-up is told to the session's leader alone.
                let by_terminal = info.ssi_code == SI_KERNEL
                    && !(signal == Signal::HUP && getsid(None) == Ok(getpid()));
                let now = SystemClock.now();
                if by_terminal {
                    self.by_terminal = Some((signal, now));
                } else if self.by_terminal.is_some_and(|(before, at)| {
                    before == signal && now.since(at) < ECHO && was_told_too(info.ssi_pid)
                }) {
                    continue;
                }
                return Heard { signal, by_terminal };
            }
            std::future::pending().await
        }
    }

    /// Whether the terminal sends to this process what it sends to us. Others, such as `kill`
    /// in another window, mean what they send.
    fn was_told_too(sender: u32) -> bool {
        let sender = i32::try_from(sender).ok().and_then(Pid::from_raw);
        sender.is_some_and(|sender| getpgid(Some(sender)) == Ok(getpgrp()))
    }
}
#[cfg(target_os = "linux")]
pub(crate) use linux::Signals;

#[cfg(not(target_os = "linux"))]
mod other {
    use std::future::poll_fn;
    use std::io::IsTerminal;
    use std::task::Poll;

    use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

    use super::{Heard, Signal, heeded, io};

    /// From its making on, these signals do not end this process.
    pub(crate) struct Signals {
        streams: Vec<(Signal, Stream)>,
    }

    impl Signals {
        pub(crate) fn listen() -> io::Result<Self> {
            let stream = |s: Signal| Ok((s, signal(SignalKind::from_raw(s.as_raw()))?));
            Ok(Self { streams: heeded(ignored()).map(stream).collect::<io::Result<_>>()? })
        }

        /// A handler ends with the exec.
        pub(crate) fn undo(&self) -> impl Fn() -> io::Result<()> + use<> {
            || Ok(())
        }

        /// The next signal. Cancel safe.
        pub(crate) async fn next(&mut self) -> Heard {
            poll_fn(|cx| {
                for (signal, stream) in &mut self.streams {
                    if stream.poll_recv(cx).is_ready() {
                        // Nobody tells who sent it.
                        let by_terminal = matches!(*signal, Signal::INT | Signal::QUIT)
                            && io::stdin().is_terminal();
                        return Poll::Ready(Heard { signal: *signal, by_terminal });
                    }
                }
                Poll::Pending
            })
            .await
        }
    }
}
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Signals;
