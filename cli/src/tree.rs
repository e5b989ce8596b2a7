//! The processes that a command started, and those that these started.
//!
//! On Linux this process adopts what its descendants leave behind, so that a
//! walk from here finds them all, daemons too. Elsewhere there are no handles
//! on processes and no adoption: only the command itself is known.

use std::io;

use rustix::process::{Pid, Signal};

/// A process that a pid alone might not name any more.
pub(crate) struct Process {
    pub(crate) pid: Pid,
    #[cfg(target_os = "linux")]
    handle: Option<std::os::fd::OwnedFd>,
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::{Pid, Process, Signal, io};

    pub(crate) fn adopt_orphans() -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn is_seen() -> bool {
        true
    }

    pub(crate) fn children() -> Vec<Pid> {
        Vec::new()
    }

    pub(crate) fn descendants(_besides: &[Pid]) -> Vec<Process> {
        Vec::new()
    }

    impl Process {
        pub(crate) fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
            rustix::process::kill_process(self.pid, signal)
        }
    }
}
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{adopt_orphans, children, descendants, is_seen};

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::process::{
        PidfdFlags, getpid, kill_process, pidfd_open, pidfd_send_signal, set_child_subreaper,
    };

    use super::{Pid, Process, Signal, io};

    /// Become the parent of what descendants leave behind.
    pub(crate) fn adopt_orphans() -> io::Result<()> {
        Ok(set_child_subreaper(Some(getpid()))?)
    }

    /// Whether descendants can be found: not in a jail without a /proc of its own.
    pub(crate) fn is_seen() -> bool {
        // One of another namespace has other processes under our numbers.
        let seen = std::fs::read_link("/proc/self").ok();
        seen.and_then(|seen| parse_pid(seen.to_str()?)) == Some(getpid())
    }

    /// The pids of this process's children.
    pub(crate) fn children() -> Vec<Pid> {
        by_parent().remove(&getpid()).unwrap_or_default()
    }

    /// Every descendant of this process, parents before their children, but
    /// for the children `besides` and what is below them.
    pub(crate) fn descendants(besides: &[Pid]) -> Vec<Process> {
        let mut by_parent = by_parent();
        let mut found: Vec<Process> = Vec::new();
        let mut parent = getpid();
        for at in 0_usize.. {
            for pid in by_parent.remove(&parent).unwrap_or_default() {
                let up = at.checked_sub(1).map(|above| &found[above]);
                if !besides.contains(&pid) {
                    found.extend(Process::open(pid, up));
                }
            }
            match found.get(at) {
                Some(next) => parent = next.pid,
                None => break,
            }
        }
        found
    }

    impl Process {
        /// The process `pid`, if it is the child of `parent`, or by now ours.
        ///
        /// A pid that was read may be another process's a moment later. So the
        /// handle comes first and the look at the parent second: if the process
        /// changed in between, the handle is that of a dead one and reaches
        /// nobody. Likewise the parent's pid is its own if it lives even after.
        fn open(pid: Pid, parent: Option<&Process>) -> Option<Self> {
            let handle = match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(handle) => Some(handle),
                Err(Errno::SRCH) => return None,
                // An old kernel, a sandbox, no descriptors left: its pid will do.
                Err(_) => None,
            };
            let now = parent_of(pid)?;
            let ours = now == getpid() || parent.is_some_and(|p| now == p.pid && p.is_alive());
            ours.then_some(Self { pid, handle })
        }

        fn is_alive(&self) -> bool {
            let Some(handle) = &self.handle else { return true };
            let mut fds = [PollFd::new(handle, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::default())) != Ok(1)
        }

        pub(crate) fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
            match &self.handle {
                Some(handle) => pidfd_send_signal(handle, signal),
                None => kill_process(self.pid, signal),
            }
        }
    }

    fn by_parent() -> HashMap<Pid, Vec<Pid>> {
        let mut map: HashMap<Pid, Vec<Pid>> = HashMap::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(parse_pid);
            if let Some((pid, parent)) = pid.and_then(|pid| Some((pid, parent_of(pid)?))) {
                map.entry(parent).or_default().push(pid);
            }
        }
        map
    }

    fn parent_of(pid: Pid) -> Option<Pid> {
        let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // "pid (name) state ppid …", and a name can hold anything, ")" too.
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let rest = std::str::from_utf8(&stat[after_name..]).ok()?;
        rest.split_whitespace().nth(1).and_then(parse_pid)
    }

    fn parse_pid(text: &str) -> Option<Pid> {
        text.parse().ok().and_then(Pid::from_raw)
    }
}
#[cfg(target_os = "linux")]
pub(crate) use linux::{adopt_orphans, children, descendants, is_seen};
