//! Real processes on a database of their own, and waiting for what they do.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use leasehold::time::{Clock, Instant, SystemClock};
use rustix::process::{Pid, Signal};

/// How long anything may take on a machine with much else to do.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn now() -> Instant {
    SystemClock.now()
}

/// Wait until `look` sees something.
#[track_caller]
#[allow(clippy::disallowed_methods)] // no client, and no virtual time, is about
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(now().since(started) < LIMIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder with a database, and a place for commands to leave files.
pub(crate) struct Rig {
    dir: tempfile::TempDir,
    url: String,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("locks.db").display());
        Self { dir, url }
    }

    /// With the leases on a server instead.
    pub(crate) fn at(url: String) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), url }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A command in the folder, with its url in the environment, that others
    /// do not see the terminal of.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env("LEASEHOLD_URL", self.url()).stdin(Stdio::null());
        command
    }

    pub(crate) fn leasehold(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_leasehold"));
        command.args(args);
        command
    }

    /// `leasehold …` to its end.
    pub(crate) fn call(&self, args: &[&str]) -> Ended {
        Running::start(self.leasehold(args)).end()
    }

    /// `leasehold run OPTIONS -- sh -c SCRIPT` to its end.
    pub(crate) fn run(&self, options: &[&str], script: &str) -> Ended {
        self.start(options, script).end()
    }

    pub(crate) fn start(&self, options: &[&str], script: &str) -> Running {
        Running::start(self.leasehold(&[&["run"], options, &["--", "sh", "-c", script]].concat()))
    }

    /// The file of this name, once there is one with a whole line.
    #[track_caller]
    pub(crate) fn line(&self, name: &str) -> String {
        until(name, || {
            let text = fs::read_to_string(self.path(name)).ok()?;
            text.strip_suffix('\n').map(str::to_owned)
        })
    }

    /// The pid that a script wrote by `echo $$ > NAME`.
    #[track_caller]
    pub(crate) fn pid(&self, name: &str) -> i32 {
        self.line(name).parse().unwrap()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub(crate) fn touch(&self, name: &str) {
        fs::write(self.path(name), "").unwrap();
    }

    /// What `ls --json` says.
    pub(crate) fn locks(&self) -> serde_json::Value {
        let ended = self.call(&["ls", "--json"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// Wait until this many wait for the only lock.
    #[track_caller]
    pub(crate) fn waiters(&self, many: usize) {
        until("waiters", || {
            let locks = self.locks();
            (locks[0]["waiters"].as_array().map_or(0, Vec::len) == many).then_some(())
        });
    }
}

/// A script's line that ends when the file GO appears, or by itself some time.
pub(crate) fn wait_for(go: &str) -> String {
    format!("i=0; while [ ! -e {go} ] && [ $i -lt 3000 ]; do i=$((i+1)); sleep 0.02; done")
}

/// A process that does not outlive its test.
pub(crate) struct Running {
    child: Child,
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self { child: child.unwrap() }
    }

    /// With stdin, stdout and stderr as the command has them.
    pub(crate) fn start_as_is(mut command: Command) -> Self {
        Self { child: command.spawn().unwrap() }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Stop it, but not in the middle of a transaction: then the file's lock
    /// would keep everybody out, and no lease would end.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub(crate) fn stop_between_transactions(&self) {
        use rustix::process::{WaitOptions, waitpid};
        until("stopped between transactions", || {
            self.signal(Signal::STOP);
            waitpid(Pid::from_raw(self.pid()), WaitOptions::UNTRACED).unwrap();
            let locks = fs::read_to_string("/proc/locks").unwrap();
            let writing = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                words.contains(&"WRITE") && words.contains(&&*self.pid().to_string())
            };
            if !locks.lines().any(writing) {
                return Some(());
            }
            self.signal(Signal::CONT);
            None
        });
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Wait for the process itself; what holds its pipes may live on.
    #[track_caller]
    pub(crate) fn exit(&mut self) -> std::process::ExitStatus {
        until("exit", || self.child.try_wait().unwrap())
    }

    /// Wait for its end. Its output must not be much.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let status = self.exit();
        let mut texts = [String::new(), String::new()];
        if let Some(mut out) = self.child.stdout.take() {
            out.read_to_string(&mut texts[0]).unwrap();
        }
        if let Some(mut err) = self.child.stderr.take() {
            err.read_to_string(&mut texts[1]).unwrap();
        }
        let [stdout, stderr] = texts;
        let code = status.code().unwrap_or_else(|| panic!("{status}: {stderr}"));
        Ended { code, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether the process does nothing any more; it may not have been collected.
pub(crate) fn is_dead(pid: i32) -> bool {
    let pid = pid.to_string();
    let ps: Output = Command::new("ps").args(["-o", "stat=", "-p", &pid]).output().unwrap();
    let state = String::from_utf8(ps.stdout).unwrap();
    state.trim().is_empty() || state.trim().starts_with('Z')
}
