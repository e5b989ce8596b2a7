//! A copy of the workspace with bugs in it, and what is built of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bugs::Bug;
use super::switch;
use crate::Failure;
use crate::programs::{self, Program};

/// What cargo needs to build the tests: every member is part of the workspace.
const WORKSPACE: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "core",
    "cli",
    "bindings-python",
    "bindings-node/Cargo.toml",
    "bindings-node/src",
    "bindings-swift/Cargo.toml",
    "bindings-swift/src",
    "bindings-swift/generate",
    "tests",
    "xtask",
];

/// Cargo would take the copy's crates for the tree's own, and test a bug there
/// afterwards, if they had the same version. What is below them is built once.
const OTHER_VERSION: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "-planted\"");
const VERSION: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");

/// Longer than any of the tests that catch a bug.
const LIMIT: &str = "60";

/// What is built of the copy: all that catches a bug.
const TESTS: [&str; 10] = [
    "simulation",
    "soak",
    "backends",
    "local",
    "redis",
    "redlock",
    "etcd",
    "postgres",
    "mysql",
    "zookeeper",
];

pub(super) struct Copy {
    place: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// One that has these bugs, all asleep.
    pub(super) fn make(root: &Path, bugs: &[&Bug]) -> Result<Self, Failure> {
        let target = std::env::var_os("CARGO_TARGET_DIR");
        let target = target.map_or(root.join("target"), PathBuf::from);
        let copy = Self { place: root.join("target/planted"), target };
        let changed = Self::changed(root, bugs)?;
        let failed = |e: io::Error| format!("the workspace could not be copied: {e}");
        fs::create_dir_all(&copy.place).map_err(failed)?;
        for part in WORKSPACE {
            copy.take(root, Path::new(part), &changed).map_err(failed)?;
        }
        copy.lend_servers(root).map_err(failed)?;
        Ok(copy)
    }

    pub(super) fn build(&self) -> Result<Built, Failure> {
        let mut build = crate::clean("cargo");
        // The package selection of all that is tested, so that nothing is built twice.
        build.args(["test", "--workspace", "--offline"]);
        for test in TESTS {
            build.args(["--test", test]);
        }
        // These two are built for the copy alone, and what is simulated is done twice as soon.
        for package in ["leasehold", "leasehold-tests"] {
            build.arg(format!("--config=profile.dev.package.{package}.opt-level=1"));
        }
        build.current_dir(&self.place).env("CARGO_TARGET_DIR", &self.target);
        Ok(Built { programs: programs::build(&mut build)? })
    }

    /// The files that differ, by their path in the workspace.
    pub(super) fn changed(
        root: &Path,
        bugs: &[&Bug],
    ) -> Result<BTreeMap<PathBuf, String>, Failure> {
        let core = Path::new("core/src");
        let read = |path: &Path| {
            fs::read_to_string(root.join(path)).map_err(|e| format!("{}: {e}", path.display()))
        };
        let mut by_file: BTreeMap<PathBuf, Vec<&Bug>> = BTreeMap::new();
        let mut in_scripts = Vec::new();
        for bug in bugs {
            if [".lua", ".sql"].iter().any(|end| bug.file.ends_with(end)) {
                switch::only(&read(&core.join(bug.file))?, bug)?;
                in_scripts.push(*bug);
            } else {
                let path = bug.file.strip_prefix("../../").map(PathBuf::from);
                by_file.entry(path.unwrap_or_else(|| core.join(bug.file))).or_default().push(bug);
            }
        }
        let mut changed = BTreeMap::new();
        for (path, bugs) in by_file {
            changed.insert(path.clone(), switch::plant(&read(&path)?, &bugs)?);
        }
        for scripts in &switch::SCRIPTS {
            let path = Path::new(scripts.file);
            let source = changed.remove(path).map_or_else(|| read(path), Ok)?;
            changed.insert(path.into(), scripts.plant(&source, &in_scripts)?);
        }
        let versions = Path::new("Cargo.toml");
        changed.insert(versions.into(), read(versions)?.replace(VERSION, OTHER_VERSION));
        Ok(changed)
    }

    /// Write what differs from what is there; what cargo has built of the rest stays fresh.
    fn take(
        &self,
        root: &Path,
        part: &Path,
        changed: &BTreeMap<PathBuf, String>,
    ) -> io::Result<()> {
        let (from, to) = (root.join(part), self.place.join(part));
        if from.is_dir() {
            fs::create_dir_all(&to)?;
            for entry in fs::read_dir(from)? {
                self.take(root, &part.join(entry?.file_name()), changed)?;
            }
            return Ok(());
        }
        let content = match changed.get(part) {
            Some(text) => text.clone().into_bytes(),
            None => fs::read(from)?,
        };
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        if fs::read(&to).ok().as_ref() != Some(&content) {
            fs::write(to, content)?;
        }
        Ok(())
    }

    /// Tests find unpacked servers in their own workspace.
    fn lend_servers(&self, root: &Path) -> io::Result<()> {
        let (unpacked, lent) = (root.join("target/servers"), self.place.join("target/servers"));
        fs::create_dir_all(self.place.join("target"))?;
        match std::os::unix::fs::symlink(unpacked, lent) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }
}

/// Its tests, all bugs of which are asleep.
pub(super) struct Built {
    programs: Vec<Program>,
}

impl Built {
    /// What a test says while that bug is awake.
    pub(super) fn test(
        &self,
        test: &str,
        bug: &str,
        variables: &[(&str, &str)],
    ) -> Result<String, Failure> {
        let mut command = self.command(test, bug)?;
        said(command.envs(variables.iter().copied()))
    }

    /// What one test of a file says while that bug is awake. Some bugs make it hang.
    pub(super) fn test_by_name(
        &self,
        test: &str,
        name: &str,
        bug: &str,
    ) -> Result<String, Failure> {
        let mut command = self.command(test, bug)?;
        command.args(["--exact", name]);
        said(&mut limited(&command, LIMIT))
    }

    fn command(&self, test: &str, bug: &str) -> Result<Command, Failure> {
        let program = self.programs.iter().find(|program| program.name == test);
        let mut command = program.ok_or(format!("there is no test {test:?}"))?.command();
        command.env(switch::AWAKE, bug);
        Ok(command)
    }
}

/// The same command, ended with all that it has started after so many seconds.
fn limited(command: &Command, seconds: &str) -> Command {
    let mut limited = crate::clean("timeout");
    limited.args(["--kill-after=5", seconds]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    limited
}

fn said(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|e| format!("a test could not be started: {e}"))?;
    let said = [output.stdout, output.stderr];
    Ok(said.map(|said| String::from_utf8_lossy(&said).into_owned()).concat())
}
