//! Bugs that were made elsewhere or nearly here, planted one at a time into a
//! copy of the core. A simulation, or a run against real servers, that does not
//! catch each of them proves nothing when it passes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

mod bugs;

use bugs::{BUGS, SOAK_BUGS};

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

/// Plant all bugs whose name has `word` in it.
pub(crate) fn all_are_caught(root: &Path, word: &str) -> Result<(), Failure> {
    let copy = root.join("target/planted");
    let failed = |e: std::io::Error| format!("the workspace could not be copied: {e}");
    fs::create_dir_all(&copy).map_err(failed)?;
    for part in WORKSPACE {
        copy_changed(&root.join(part), &copy.join(part)).map_err(failed)?;
    }
    lend_servers(root, &copy).map_err(failed)?;
    let all = BUGS.iter().map(|bug| (bug, Check::Simulation));
    let real = BUGS[..2].iter().map(|bug| (bug, Check::Soak("redis that keeps")));
    let real = real.chain(SOAK_BUGS.iter().map(|(part, bug)| (bug, Check::Soak(part))));
    let mut caught_so_far = 0;
    for (bug, check) in all.chain(real).filter(|(bug, _)| bug.name.contains(word)) {
        let file = copy.join("core/src").join(bug.file);
        let source = fs::read_to_string(&file).map_err(failed)?;
        if source.matches(bug.healthy).count() != 1 {
            let what = "its healthy code must stand exactly once there; bring xtask up to date";
            return Err(format!("cannot plant {:?} in {}: {what}", bug.name, bug.file));
        }
        fs::write(&file, source.replace(bug.healthy, bug.broken)).map_err(failed)?;
        let caught = check.run(root, &copy);
        fs::write(&file, source).map_err(failed)?;
        match caught {
            Ok(how) => {
                caught_so_far += 1;
                println!("caught: {}: {how}", bug.name);
            }
            Err(said) => {
                return Err(format!("a planted bug was missed: {}\n{said}", bug.name));
            }
        }
    }
    println!("planted: {caught_so_far} passed, 0 failed");
    Ok(())
}

/// What is to catch a bug.
#[derive(Clone, Copy)]
enum Check {
    Simulation,
    /// The parts of it that have these words in their name.
    Soak(&'static str),
}

impl Check {
    /// Tells how the bug was caught, or what was said instead.
    fn run(self, root: &Path, copy: &Path) -> Result<String, Failure> {
        match self {
            Self::Simulation => test(root, copy, "simulation", "", "seed "),
            Self::Soak(part) => {
                let soak = || test(root, copy, "soak", part, "soak: broken");
                // Real weather is not replayed: some of it may miss what the next shows.
                soak().or_else(|_| soak()).or_else(|_| soak())
            }
        }
    }
}

/// Tells which line of the test's output has the sign.
fn test(root: &Path, copy: &Path, test: &str, part: &str, sign: &str) -> Result<String, Failure> {
    // Not where the healthy tree is built: cargo takes the copy's crates for the
    // tree's own, and would test a bug there afterwards.
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let output = Command::new("cargo")
        .args(["test", "-p", "leasehold-tests", "--test", test])
        // It is built once for each bug, and the model is not asked.
        .args(["--config", "profile.dev.package.leasehold-tests.opt-level=0"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target.join("planted-build"))
        .env("LEASEHOLD_SEEDS", "20000")
        .env("LEASEHOLD_SOAK", part)
        .output()
        .map_err(|e| format!("cargo could not be started: {e}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let caught = said.lines().find(|line| line.starts_with(sign));
    let all = || format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    caught.map(str::to_owned).ok_or_else(all)
}

/// Tests find unpacked servers in their own workspace.
fn lend_servers(root: &Path, copy: &Path) -> std::io::Result<()> {
    let (unpacked, lent) = (root.join("target/servers"), copy.join("target/servers"));
    fs::create_dir_all(copy.join("target"))?;
    match std::os::unix::fs::symlink(unpacked, lent) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// Copy what differs; what cargo has built of the rest stays fresh.
fn copy_changed(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_changed(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let content = fs::read(from)?;
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    if fs::read(to).ok().as_ref() != Some(&content) {
        fs::write(to, content)?;
    }
    Ok(())
}
