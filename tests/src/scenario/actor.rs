//! A program of a scenario, and the lines between it and the runner.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde::Deserialize;
use serde_json::Value;

use super::answer::Said;
use crate::patience::{LIMIT, now, until};

/// A line that came, and when.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) said: Said,
    pub(super) at: Instant,
}

/// A process, killed when the value is dropped.
pub(super) struct Actor {
    child: Option<Child>,
    pid: u32,
    input: Option<Box<dyn Write + Send>>,
    inbox: Arc<Inbox>,
    asked: u64,
    pub(super) is_stopped: bool,
}

impl Actor {
    pub(super) fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = (input.expect("a pipe"), output.expect("a pipe"));
        let pid = child.id();
        Ok(Self::new(Some(child), pid, Box::new(input), Box::new(output)))
    }

    /// The child of a fork, which calls at this socket.
    pub(super) fn forked(pid: u32, listener: &UnixListener) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("the forked child: {e}");
        listener.set_nonblocking(true).map_err(failed)?;
        let called = until(LIMIT, || listener.accept().ok());
        let (socket, _) = called.ok_or("the forked child does not call")?;
        socket.set_nonblocking(false).map_err(failed)?;
        let input = socket.try_clone().map_err(failed)?;
        Ok(Self::new(None, pid, Box::new(input), Box::new(socket)))
    }

    fn new(
        child: Option<Child>,
        pid: u32,
        input: Box<dyn Write + Send>,
        output: Box<dyn Read + Send>,
    ) -> Self {
        let inbox = Arc::<Inbox>::default();
        std::thread::spawn({
            let inbox = inbox.clone();
            move || inbox.fill(output)
        });
        Self { child, pid, input: Some(input), inbox, asked: 0, is_stopped: false }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it can be asked anything.
    pub(super) fn is_there(&self) -> bool {
        self.input.is_some() && !self.is_stopped
    }

    /// Ask for something; answers the number that the answer will have.
    pub(super) fn ask(&mut self, mut request: Value) -> Result<u64, String> {
        self.asked += 1;
        request["id"] = self.asked.into();
        let input = self.input.as_mut().ok_or("its process is gone")?;
        writeln!(input, "{request}").map_err(|e| format!("it does not listen: {e}"))?;
        Ok(self.asked)
    }

    /// What was answered to a question, if it comes before `end`.
    pub(super) fn answer(&self, number: u64, end: Instant) -> Result<Line, String> {
        self.inbox.take(number, end)
    }

    pub(super) fn has_answered(&self, number: u64) -> bool {
        self.inbox.state().lines.iter().any(|(asked, _)| *asked == number)
    }

    pub(super) fn kill(&mut self) {
        drop(self.input.take());
        match &mut self.child {
            Some(child) => {
                drop(child.kill());
                drop(child.wait());
            }
            None => self.signal(Signal::KILL),
        }
    }

    /// When this returns it does nothing more.
    pub(super) fn stop(&mut self) {
        self.signal(Signal::STOP);
        // Seen, not collected: that is done in the end.
        let seen = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let child = self.child.as_ref().expect("only our own child can be waited for");
        waitid(WaitId::Pid(Pid::from_child(child)), seen).expect("our own child");
        self.is_stopped = true;
    }

    pub(super) fn cont(&mut self) {
        self.is_stopped = false;
        self.signal(Signal::CONT);
    }

    /// Have it end by itself, as a program does that has nothing more to do.
    pub(super) fn end(&mut self) -> Result<(), String> {
        drop(self.input.take());
        let child = self.child.as_mut().ok_or("only our own child can be waited for")?;
        let ended = until(LIMIT, || child.try_wait().ok().flatten());
        match ended {
            Some(status) if status.success() => Ok(()),
            other => Err(format!("it ended with {other:?}")),
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // The child of a fork may be gone already.
        let _ = kill_process(pid.expect("a process id"), signal);
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Once it has ended its number may be another's.
        if self.child.is_some() || self.input.is_some() {
            self.kill();
        }
    }
}

#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<(u64, Line)>,
    /// Why nothing more comes.
    ended: Option<String>,
}

#[derive(Deserialize)]
struct Numbered {
    id: u64,
    #[serde(flatten)]
    said: Said,
}

impl Inbox {
    fn fill(&self, output: impl Read) {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let at = now();
            let mut state = self.state();
            match serde_json::from_str(&line) {
                Ok(Numbered { id, said }) => state.lines.push_back((id, Line { said, at })),
                Err(e) => state.ended = Some(format!("it said {line:?}: {e}")),
            }
            self.changed.notify_all();
        }
        self.state().ended.get_or_insert_with(|| "its process has ended".to_owned());
        self.changed.notify_all();
    }

    fn take(&self, number: u64, end: Instant) -> Result<Line, String> {
        let mut state = self.state();
        loop {
            if let Some(at) = state.lines.iter().position(|(asked, _)| *asked == number) {
                return Ok(state.lines.remove(at).expect("it was found").1);
            }
            if let Some(why) = &state.ended {
                return Err(why.clone());
            }
            let left = end.saturating_duration_since(now());
            if left == Duration::ZERO {
                return Err("there is no answer in time".to_owned());
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the child of a fork can call.
pub(super) fn listen(dir: &Path) -> Result<(UnixListener, String), String> {
    let path = dir.join("child");
    let listener = UnixListener::bind(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok((listener, path.display().to_string()))
}
