//! Servers that the tests start, from the packages of the machine's distribution.
//! Nothing here names a host: packages come from where apt is told to take them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{Failure, root};

/// The suite that the machine's mirror is known by, and the one of newer packages beside it.
const SUITE: &str = "bookworm";
const NEWER: &str = "bookworm-backports";

/// Have everything on this machine that the tests of the servers need.
pub(crate) fn ensure() -> Result<(), Failure> {
    for (tool, package) in [("cc", "gcc libc6-dev"), ("openssl", "openssl")] {
        if !on_path(tool) {
            return Err(missing(tool, package));
        }
    }
    // First, because its package brings libraries that Valkey needs as well.
    if !on_path("redis-server") {
        install("redis-server")?;
    }
    // Under the workspace whatever CARGO_TARGET_DIR says: tests look for it there.
    let servers = root().join("target/servers");
    if !on_path("valkey-server") && !servers.join("valkey").is_dir() {
        let failed = |e: std::io::Error| format!("{} is not writable: {e}", servers.display());
        fs::create_dir_all(&servers).map_err(failed)?;
        let unpacked = unpack_valkey(&servers)?;
        fs::rename(unpacked, servers.join("valkey")).map_err(failed)?;
    }
    Ok(())
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn missing(program: &str, package: &str) -> Failure {
    let cure = format!("apt-get install -y --no-install-recommends {package}");
    format!("`{program}` is missing; install it with `{cure}`, as root")
}

fn install(package: &str) -> Result<(), Failure> {
    let id = run(Command::new("id").arg("-u"))?;
    if id.stdout.trim_ascii() != b"0" {
        return Err(missing(package, package));
    }
    eprintln!("xtask: installing {package} by apt-get, because tests start it");
    let install = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        run(apt.args(["install", "-y", "--no-install-recommends", package]))
    };
    // On a new machine apt knows no packages yet, or only old ones.
    if install().is_err() {
        run(Command::new("apt-get").arg("update"))?;
        install()?;
    }
    Ok(())
}

/// Valkey from the newer packages, into a directory of ours that is not yet its
/// last, so that a failure in the middle leaves nothing that looks whole.
fn unpack_valkey(servers: &Path) -> Result<PathBuf, Failure> {
    eprintln!("xtask: unpacking valkey-server into target/servers, because tests start it");
    let (apt, unpacked) = (servers.join("apt"), servers.join("valkey.new"));
    let failed = |e: std::io::Error| format!("{} is not writable: {e}", apt.display());
    for old in [&apt, &unpacked] {
        if old.is_dir() {
            fs::remove_dir_all(old).map_err(failed)?;
        }
    }
    for dir in ["lists/partial", "cache/archives/partial", "packages"] {
        fs::create_dir_all(apt.join(dir)).map_err(failed)?;
    }
    let source = format!("deb {} {NEWER} main\n", mirror()?);
    fs::write(apt.join("sources.list"), source).map_err(failed)?;
    run(apt_get(&apt).arg("update"))?;
    run(apt_get(&apt).args(["download", "valkey-server", "valkey-tools"]))?;
    for package in fs::read_dir(apt.join("packages")).map_err(failed)? {
        let package = package.map_err(failed)?.path();
        run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked))?;
    }
    // Shows a library that is missing while it can still be understood.
    run(Command::new(unpacked.join("usr/bin/valkey-server")).arg("--version"))?;
    fs::remove_dir_all(&apt).map_err(failed)?;
    Ok(unpacked)
}

/// Where apt takes this machine's packages from, in its own words, which holds
/// for every way in which that can be configured.
fn mirror() -> Result<String, Failure> {
    let said = run(Command::new("apt-get").args(["update", "--print-uris"]))?.stdout;
    let said = String::from_utf8_lossy(&said);
    let index = format!("/dists/{SUITE}/InRelease'");
    let uri = said.lines().find_map(|line| line.strip_prefix('\'')?.split_once(&index));
    let none = || format!("apt has no {SUITE} to take valkey-server from; put it on PATH");
    uri.map(|(uri, _)| uri.to_owned()).ok_or_else(none)
}

/// apt with our source alone, and nothing written to the machine's own lists.
fn apt_get(dir: &Path) -> Command {
    let mut command = Command::new("apt-get");
    let at = |name: &str| dir.join(name).display().to_string();
    for option in [
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::Cache={}", at("cache")),
        "Acquire::Languages=none".to_owned(),
        // A mirror may be a snapshot of some date.
        "Acquire::Check-Valid-Until=false".to_owned(),
        // The user that apt would become cannot write here.
        "APT::Sandbox::User=root".to_owned(),
    ] {
        command.args(["-o", &option]);
    }
    command.current_dir(dir.join("packages"));
    command
}

fn run(command: &mut Command) -> Result<Output, Failure> {
    let output = command.output().map_err(|e| format!("{command:?} could not be started: {e}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    Err(format!("{command:?} failed: {}\n{}{}", output.status, said[0], said[1]))
}
