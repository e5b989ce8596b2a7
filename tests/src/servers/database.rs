//! What the servers of databases have in common: as whom they run, what they begin with, and
//! how a test talks to them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::geteuid;

use super::{root, run};

/// The user of a server's package. A server refuses to be root: then it is this one.
pub(super) struct Account {
    pub(super) user: &'static str,
    /// What installs the package.
    pub(super) cure: &'static str,
}

impl Account {
    fn ids(&self) -> Option<(u32, u32)> {
        if !geteuid().is_root() {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").expect("a list of users");
        let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let Some(user) = users.find(|user| user[0] == self.user) else {
            panic!("there is no user {}; make it by `{}`", self.user, self.cure)
        };
        Some((user[2].parse().expect("a number"), user[3].parse().expect("a number")))
    }

    /// Have it run as this user.
    pub(super) fn run_as(&self, command: &mut Command) {
        if let Some((user, group)) = self.ids() {
            command.uid(user).gid(group);
        }
    }

    /// The directory and all in it is the server's.
    pub(super) fn give_away(&self, dir: &Path) {
        if let Some((user, group)) = self.ids() {
            run(Command::new("chown").args(["-R", &format!("{user}:{group}")]).arg(dir), "chown");
        }
    }

    /// What a server begins with, made once for all tests: the directory `data` that this
    /// command makes in the directory that it is given.
    pub(super) fn template(&self, name: &str, make: impl FnOnce(&Path) -> Command) -> PathBuf {
        let servers = root().join("target/servers");
        let template = servers.join(name);
        if !template.is_dir() {
            let dir = tempfile::tempdir().expect("a directory");
            self.give_away(dir.path());
            let mut command = make(dir.path());
            command.current_dir(dir.path());
            self.run_as(&mut command);
            run(&mut command, self.cure);
            fs::create_dir_all(&servers).expect("our own directory");
            let made = tempfile::tempdir_in(&servers).expect("our own directory");
            run(Command::new("cp").arg("-a").arg(dir.path().join("data")).arg(made.path()), "cp");
            // Somebody else may have been faster.
            drop(fs::rename(made.path().join("data"), &template));
        }
        template
    }

    /// What a server's own client says before it ends, or why it does not.
    pub(super) fn answer(&self, mut client: Command) -> Result<String, String> {
        let output =
            client.output().map_err(|e| format!("{e}; install it with `{}`", self.cure))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}

/// One session of the rig, for transactions.
pub struct Talk {
    child: std::process::Child,
    to: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
    /// Has the client print [`DONE`].
    echo: String,
}

/// The end of an answer.
pub(super) const DONE: &str = "-- done";

impl Talk {
    pub(super) fn with(mut client: Command, echo: String) -> Self {
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = client.spawn().expect("the server's client runs");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { to: child.stdin.take(), child, said, echo }
    }

    /// Have it do this, and answer what it says.
    pub fn say(&mut self, sql: &str) -> String {
        let to = self.to.as_mut().expect("an open pipe");
        writeln!(to, "{sql};\n{}", self.echo).expect("the client reads");
        let lines = self.said.by_ref().lines().map_while(Result::ok);
        lines.take_while(|line| line != DONE).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.to.take());
        drop(self.child.wait());
    }
}
