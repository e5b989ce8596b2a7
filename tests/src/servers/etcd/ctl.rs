//! What etcdctl does to a cluster.

use std::io::Write;
use std::process::{Command, Stdio};

use super::Etcd;
use super::settings::{ROOT, etcdctl};
use crate::patience::LIMIT;

impl Etcd {
    /// Have the cluster do a command of etcdctl as one that may do everything, and
    /// panic if it does not.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let done = self.try_ctl(arguments);
        done.unwrap_or_else(|why| panic!("{arguments:?}: {why}\n{}", self.logs()))
    }

    /// The same, with something on its stdin.
    pub fn ctl_with_input(&self, arguments: &[&str], input: &str) -> String {
        let mut command = self.command(None);
        let child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("etcdctl starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).expect("etcdctl reads");
        drop(stdin);
        let output = child.wait_with_output().expect("our own child");
        assert!(output.status.success(), "{arguments:?} with {input:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Have the cluster do a command of etcdctl, or know what it said instead.
    pub fn try_ctl(&self, arguments: &[&str]) -> Result<String, String> {
        match self.settings.users.is_empty() {
            true => self.run_ctl(None, arguments),
            false => self.try_ctl_as(ROOT, ROOT, arguments),
        }
    }

    /// Have the cluster do a command of etcdctl as some user.
    pub fn try_ctl_as(
        &self,
        user: &str,
        password: &str,
        arguments: &[&str],
    ) -> Result<String, String> {
        self.run_ctl(Some((user, password)), arguments)
    }

    pub(super) fn add_users(&self) {
        if self.settings.users.is_empty() {
            return;
        }
        let (role, prefix) = ("leasehold", "leasehold/");
        let ctl = |arguments: &[&str]| {
            let done = self.run_ctl(None, arguments);
            done.unwrap_or_else(|why| panic!("{arguments:?}: {why}\n{}", self.logs()))
        };
        ctl(&["role", "add", role]);
        ctl(&["role", "grant-permission", role, "readwrite", prefix, "--prefix"]);
        let root = (ROOT.to_owned(), ROOT.to_owned());
        for (name, password) in self.settings.users.iter().chain([&root]) {
            ctl(&["user", "add", name, "--new-user-password", password]);
            if name != ROOT {
                ctl(&["user", "grant-role", name, role]);
            }
        }
        // It gives root the role that may do everything.
        ctl(&["auth", "enable"]);
        // A member that is behind would say that there are no users.
        (0..self.members.0.len()).for_each(|index| self.await_ready(index));
    }

    fn run_ctl(&self, user: Option<(&str, &str)>, arguments: &[&str]) -> Result<String, String> {
        // Last, so that the test has the last word.
        let output = self.command(user).args(arguments).output().expect("etcdctl starts");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(said(&output.stdout)),
            false => Err(said(&output.stderr)),
        }
    }

    fn command(&self, user: Option<(&str, &str)>) -> Command {
        let mut command = Command::new(etcdctl());
        command.env("ETCDCTL_API", "3");
        command.arg(format!("--endpoints={}", self.endpoints()));
        command.arg(format!("--command-timeout={}s", LIMIT.as_secs()));
        if let Some((name, password)) = user {
            command.args(["--user", name, "--password", password]);
        }
        if self.settings.tls {
            let files = self.client_files();
            command.arg("--cacert").arg(files.ca).arg("--cert").arg(files.cert);
            command.arg("--key").arg(files.key);
        }
        command
    }
}
