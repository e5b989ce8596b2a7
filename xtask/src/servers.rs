//! Servers that the tests start, from the packages of the machine's distribution.
//! Nothing here names a host: packages come from where apt is told to take them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{Failure, root};

/// The suite that the machine's mirror is known by; others are looked for beside it.
const SUITE: &str = "bookworm";

/// A server that is unpacked into a directory of ours and not installed: of another
/// suite than the machine's, or one of two versions of it.
struct Unpacked {
    /// Under target/servers, where the tests look for it.
    folder: &'static str,
    suite: &'static str,
    packages: &'static [&'static str],
    /// What the tests start.
    program: &'static str,
    /// Whether they take one on PATH as well.
    from_path: bool,
}

const UNPACKED: [Unpacked; 3] = [
    Unpacked {
        folder: "valkey",
        suite: "bookworm-backports",
        packages: &["valkey-server", "valkey-tools"],
        program: "valkey-server",
        from_path: true,
    },
    Unpacked {
        folder: "etcd",
        suite: "sid",
        packages: &["etcd-server", "etcd-client"],
        program: "etcd",
        from_path: false,
    },
    Unpacked {
        folder: "etcd-3.4",
        suite: SUITE,
        packages: &["etcd-server"],
        program: "etcd",
        from_path: false,
    },
];

/// What is no program: the classes of a server, and of other people's locks in it.
const ZOOKEEPER: &str = "/usr/share/java/zookeeper.jar";
const CURATOR: &str = "/usr/share/java/curator-recipes.jar";

/// Have everything on this machine that the tests of the servers need.
pub(crate) fn ensure() -> Result<(), Failure> {
    for (tool, package) in [("cc", "gcc libc6-dev"), ("openssl", "openssl")] {
        if !on_path(tool) {
            return Err(missing(tool, package));
        }
    }
    // First, because its package brings libraries that Valkey needs as well.
    ensure_tool("redis-server", "redis-server", "tests start it")?;
    // Its package keeps the server off PATH.
    if !Path::new("/usr/lib/postgresql").is_dir() {
        ensure_tool("postgres", "postgresql", "tests start a server of its kind")?;
    }
    ensure_tool("pgbouncer", "pgbouncer", "tests have it stand before PostgreSQL")?;
    ensure_tool("mariadbd", "mariadb-server", "tests start a server of its kind")?;
    ensure_file(ZOOKEEPER, "zookeeper", "tests start a server of its kind")?;
    ensure_file(CURATOR, "libcurator-recipes-java", "its locks and ours exclude each other")?;
    ensure_tool("javac", "default-jdk-headless", "tests use Curator, which is written in Java")?;
    // Under the workspace whatever CARGO_TARGET_DIR says: tests look for it there.
    let servers = root().join("target/servers");
    let failed = |e: std::io::Error| format!("{} is not writable: {e}", servers.display());
    for server in &UNPACKED {
        let folder = servers.join(server.folder);
        let is_here = folder.is_dir() || (server.from_path && on_path(server.program));
        if !is_here {
            fs::create_dir_all(&servers).map_err(failed)?;
            let unpacked = unpack(server, &servers)?;
            fs::rename(unpacked, folder).map_err(failed)?;
        }
    }
    Ok(())
}

/// Have a program on PATH, by its package if need be.
pub(crate) fn ensure_tool(program: &str, package: &str, why: &str) -> Result<(), Failure> {
    if on_path(program) { Ok(()) } else { install(program, package, why) }
}

/// Have a file that is in a package.
fn ensure_file(file: &str, package: &str, why: &str) -> Result<(), Failure> {
    if Path::new(file).is_file() { Ok(()) } else { install(file, package, why) }
}

/// Have a package of the machine's distribution.
pub(crate) fn ensure_package(package: &str, why: &str) -> Result<(), Failure> {
    install(package, package, why)
}

pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn missing(program: &str, package: &str) -> Failure {
    let cure = format!("apt-get install -y --no-install-recommends {package}");
    format!("`{program}` is missing; install it with `{cure}`, as root")
}

fn install(program: &str, package: &str, why: &str) -> Result<(), Failure> {
    let id = run(Command::new("id").arg("-u"))?;
    if id.stdout.trim_ascii() != b"0" {
        return Err(missing(program, package));
    }
    eprintln!("xtask: installing {package} by apt-get, because {why}");
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

/// A server's packages, into a directory of ours that is not yet its last, so
/// that a failure in the middle leaves nothing that looks whole.
fn unpack(server: &Unpacked, servers: &Path) -> Result<PathBuf, Failure> {
    let Unpacked { folder, suite, packages, program, .. } = server;
    eprintln!("xtask: unpacking {program} into target/servers/{folder}, because tests start it");
    let (apt, unpacked) = (servers.join("apt"), servers.join(format!("{folder}.new")));
    let failed = |e: std::io::Error| format!("{} is not writable: {e}", apt.display());
    for old in [&apt, &unpacked] {
        if old.is_dir() {
            fs::remove_dir_all(old).map_err(failed)?;
        }
    }
    for dir in ["lists/partial", "cache/archives/partial", "packages"] {
        fs::create_dir_all(apt.join(dir)).map_err(failed)?;
    }
    let cure = format!("have {program} at target/servers/{folder}/usr/bin/{program}");
    let source = format!("deb {} {suite} main\n", mirror(program, &cure)?);
    fs::write(apt.join("sources.list"), source).map_err(failed)?;
    run(apt_get(&apt).arg("update"))?;
    run(apt_get(&apt).arg("download").args(*packages))?;
    for package in fs::read_dir(apt.join("packages")).map_err(failed)? {
        let package = package.map_err(failed)?.path();
        run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked))?;
    }
    // Shows a library that is missing while it can still be understood.
    run(Command::new(unpacked.join("usr/bin").join(program)).arg("--version"))?;
    fs::remove_dir_all(&apt).map_err(failed)?;
    Ok(unpacked)
}

/// Where apt takes this machine's packages from, in its own words, which holds
/// for every way in which that can be configured.
pub(crate) fn mirror(what: &str, cure: &str) -> Result<String, Failure> {
    let none = || format!("apt has no {SUITE} to take {what} from; {cure}");
    let said = run(Command::new("apt-get").args(["update", "--print-uris"]));
    let said = said.map_err(|e| format!("{}\n{e}", none()))?.stdout;
    let said = String::from_utf8_lossy(&said);
    let index = format!("/dists/{SUITE}/InRelease'");
    let uri = said.lines().find_map(|line| line.strip_prefix('\'')?.split_once(&index));
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
