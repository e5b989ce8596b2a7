//! Developer commands: `cargo xtask test`, `cargo xtask bench local`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

mod bench_node;
mod node;
mod planted;
mod programs;
mod python;
mod servers;
mod swift;
mod test;

const USAGE: &str = "\
usage: cargo xtask COMMAND
  test             everything that CI runs
  wheel            build the Python package's wheel into target/wheels
  python           install it in an environment for tests, and tell which interpreter that has
  node             build and pack the Node package, and tell where it is installed for tests
  node release     pack it for all platforms, from what they built: target/node/built/*.node
  swift            build the Swift package, with its native part and generated code, and tell where
                   its program for tests is; sets up a Swift where there is none
  servers          install and unpack the servers that tests start, where they are missing
  planted [WORD...]
                   plant bugs (whose name has one of the words) into a copy of the core;
                   each must be caught
  model            larger worlds of the protocol's model than the tests have
  soak redis       ten minutes of bad luck on a real server
  soak redlock     ten minutes of bad luck on quorums of 3 and 5 real servers
  soak etcd        ten minutes of bad luck on a cluster of 3 real members
  soak postgres    ten minutes of bad luck on a real server, half of them with a pooler
  soak mysql       ten minutes of bad luck on a real server
  soak zookeeper   ten minutes of bad luck on an ensemble of 3 real members
  bench local      the backends that need no server, beside bare SQLite
  bench redis [N]  one Redis, beside other clients of it; all eight workloads, or some
  bench redlock [N | peers]
                   a quorum of Redis servers, the same; all three workloads, some, or
                   beside clients of other languages, which are installed
  bench etcd [N]   one etcd cluster, beside another client of it; all five workloads, or some
  bench postgres [N | peers]
                   one PostgreSQL, beside its driver and what others do with it; all six
                   workloads, some, or beside a package for Python, which is installed
  bench mysql [N | peers]
                   one MariaDB, the same
  bench python     the Python package, beside other packages
  bench node [N]   the Node package, the same; all eight measures, or some
  bench swift      the Swift package, beside the crate in Rust";

/// What a command failed with, for people to read.
type Failure = String;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["test"] => {
            FOR_TESTS.store(true, Ordering::Relaxed);
            test::all()
        }
        ["servers"] => servers::ensure(),
        ["wheel"] => python::wheel().map(|wheel| println!("{}", wheel.display())),
        ["python"] => python::interpreter()
            .map(|interpreter| println!("LEASEHOLD_PYTHON={}", interpreter.display())),
        ["node"] => {
            node::package().map(|package| println!("LEASEHOLD_NODE_PACKAGE={}", package.display()))
        }
        ["node", "release"] => node::release()
            .map(|tarballs| tarballs.iter().for_each(|tarball| println!("{}", tarball.display()))),
        ["swift"] => swift::shim().map(|shim| println!("LEASEHOLD_SWIFT_SHIM={}", shim.display())),
        ["planted", ref words @ ..] => planted::are_caught(root(), words),
        ["model"] => cargo("run --release -p leasehold-model -- 1"),
        ["soak", kind @ ("redis" | "redlock" | "etcd" | "postgres" | "mysql" | "zookeeper")] => {
            cargo(&format!("run --release -p leasehold-tests --bin soak -- {kind} 600"))
        }
        ["bench", "local"] => cargo("run --release -p leasehold-tests --bin bench"),
        ["bench", "redis", ref workloads @ ..] => bench_redis(workloads),
        ["bench", "redlock", ..] => bench_redis(&words[1..]),
        ["bench", "etcd", ref workloads @ ..] => bench_etcd(workloads),
        ["bench", "postgres" | "mysql", ..] => bench_sql(&words[1..]),
        ["bench", "swift"] => servers::ensure().and_then(|()| swift::bench()),
        ["bench", "python"] => servers::ensure().and_then(|()| python::bench()),
        ["bench", "node", ref measures @ ..] => bench_node::bench(measures),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// It has a feature, so that nothing else has to build the crates it compares.
fn bench_redis(workloads: &[&str]) -> Result<(), Failure> {
    servers::ensure()?;
    let run = "run --release -p leasehold-tests --features bench-redis --bin bench-redis";
    cargo(&[&[run], workloads].concat().join(" "))
}

/// The same. The crate that it compares generates code when it is built.
fn bench_etcd(workloads: &[&str]) -> Result<(), Failure> {
    servers::ensure()?;
    servers::ensure_tool("protoc", "protobuf-compiler", "etcd-client is built with it")?;
    let run = "run --release -p leasehold-tests --features bench-etcd --bin bench-etcd";
    cargo(&[&[run], workloads].concat().join(" "))
}

/// The same for databases.
fn bench_sql(words: &[&str]) -> Result<(), Failure> {
    servers::ensure()?;
    let run = "run --release -p leasehold-tests --features bench-sql --bin bench-sql --";
    cargo(&[&[run], words].concat().join(" "))
}

fn root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.unwrap_or_else(|| Path::new("."))
}

fn needs(tool: &str, cure: &str) -> Result<(), Failure> {
    let found = Command::new("cargo").args([tool, "--version"]).output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(format!("`cargo {tool}` is missing; install it with `{cure}`")),
    }
}

fn cargo(arguments: &str) -> Result<(), Failure> {
    cargo_with(arguments, &[])
}

fn cargo_with(arguments: &str, variables: &[(&str, &Path)]) -> Result<(), Failure> {
    eprintln!("xtask: cargo {arguments}");
    let mut command = clean("cargo");
    command.args(arguments.split(' ')).current_dir(root()).env("RUSTDOCFLAGS", "-D warnings");
    command.envs(variables.iter().copied());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`cargo {arguments}` failed: {status}")),
        Err(e) => Err(format!("`cargo {arguments}` could not be started: {e}")),
    }
}

/// Something that builds, without what `cargo run` has told this program about itself: some
/// build scripts look at that, and what depends on them would be built again and again.
fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let ours = ["CARGO_PKG_", "CARGO_MANIFEST_"];
    for name in names.filter(|name| ours.iter().any(|start| name.starts_with(start))) {
        command.env_remove(name);
    }
    if FOR_TESTS.load(Ordering::Relaxed) {
        command.env("CARGO_PROFILE_RELEASE_LTO", "off");
    }
    command
}

/// Whether what is built is for tests alone: then it is not optimised as a whole, which takes
/// as long as all the rest, for each of the faces, and changes nothing that a test can see.
static FOR_TESTS: AtomicBool = AtomicBool::new(false);

/// The command line and the native parts of Node and Swift, as they are published: what is below
/// them is built once if they are built together. Python's has a tool of its own.
fn native_parts() -> Result<(), Failure> {
    let build = ["build", "--release", "--quiet"];
    let parts = ["leasehold-cli", "leasehold-node", "leasehold-swift"];
    let parts = parts.iter().flat_map(|part| ["-p", part]);
    run(clean("cargo").args(build).args(parts).current_dir(root()))
}

/// A file that was built for release.
fn built(file: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    target.join("release").join(file)
}

/// Every failure: one is not to hide another, so that whoever mends them sees all.
fn all_of(done: impl IntoIterator<Item = Result<(), Failure>>) -> Result<(), Failure> {
    let failures: Vec<Failure> = done.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let words = words.join(" ");
    eprintln!("xtask: {words}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{words}` failed: {status}")),
        Err(e) => Err(format!("`{words}` could not be started: {e}")),
    }
}
