//! Real processes, started and ended by the tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// A child process that is killed when the value is dropped.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Start it, with pipes for its standard input and output.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{program} could not be started: {e}"));
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { input: child.stdin.take(), child, output }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Send it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).expect("the process is there");
    }

    /// Stop it by SIGSTOP; when this returns it does nothing more.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        // Seen, not collected: that is done in the end.
        let seen = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&self.child)), seen).expect("our own child");
    }

    /// The next line that it prints; the empty string at its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Send it a line.
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("an open pipe");
        writeln!(input, "{line}").expect("the process listens");
    }

    /// Send it a line and read its answer.
    pub fn ask(&mut self, question: &str) -> String {
        self.tell(question);
        self.line()
    }

    /// Everything that it prints until its end, and whether it ended well.
    pub fn rest(mut self) -> (Vec<String>, bool) {
        drop(self.input.take());
        let lines = self.output.by_ref().lines().map_while(Result::ok).collect();
        let success = self.child.wait().expect("a child").success();
        (lines, success)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be stopped, or gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
