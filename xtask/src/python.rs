//! The Python package: its wheel, and the environments that it is tested in.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::servers::ensure_package;
use crate::{Failure, clean, root, run};

/// Build the wheel into `target/wheels`, as it is published.
pub(crate) fn wheel() -> Result<PathBuf, Failure> {
    let environment = environment()?;
    let wheels = root().join("target/wheels");
    // One that is left from another version would be taken for it.
    if wheels.is_dir() {
        fs::remove_dir_all(&wheels).map_err(|e| format!("{}: {e}", wheels.display()))?;
    }
    // By the package's own way to be built, with the tools of the environment.
    let mut build = clean(environment.join("bin/python"));
    build.args(["-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]);
    build.args(["--no-deps", "--no-build-isolation", "--wheel-dir"]).arg(&wheels).arg(package());
    let tools = environment.join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).map_err(|e| e.to_string())?;
    run(build.env("PATH", path))?;
    let built = fs::read_dir(&wheels).ok().and_then(|mut all| all.next());
    let built = built.and_then(Result::ok).ok_or("maturin built no wheel")?;
    let size = built.metadata().map_or(0, |data| data.len());
    eprintln!("xtask: {} has {:.1} MB", built.path().display(), size as f64 / 1e6);
    Ok(built.path())
}

/// The interpreter of an environment in which the wheel is installed, for tests.
pub(crate) fn interpreter() -> Result<PathBuf, Failure> {
    let (wheel, environment) = (wheel()?, environment()?);
    pip(&environment, ["--force-reinstall".as_ref(), "--no-deps".as_ref(), wheel.as_os_str()])?;
    Ok(environment.join("bin/python"))
}

/// Everything about the package that needs no Rust test.
pub(crate) fn check(interpreter: &Path) -> Result<(), Failure> {
    let python = |arguments: &[&str]| {
        run(Command::new(interpreter).args(["-m"]).args(arguments).current_dir(package()))
    };
    python(&["mypy", "python/leasehold", "tests/typing_of_the_face.py"])?;
    python(&["mypy.stubtest", "leasehold._leasehold"])?;
    python(&["pytest", "-q"])?;
    from_source()
}

/// Beside other clients, which are installed.
pub(crate) fn bench() -> Result<(), Failure> {
    let (wheel, place) = (wheel()?, root().join("target/python-bench"));
    if !place.join("bin/python").is_file() {
        new_environment(&place)?;
    }
    let needs = package().join("bench/requirements.txt");
    pip(&place, ["-r".as_ref(), needs.as_os_str()])?;
    pip(&place, ["--force-reinstall".as_ref(), "--no-deps".as_ref(), wheel.as_os_str()])?;
    let mut compare = Command::new(place.join("bin/python"));
    compare.arg(package().join("bench/compare.py"));
    run(compare.arg(root().join("target/servers/etcd/usr/bin/etcd")))
}

const FIRST_USE: &str = "
import leasehold
with leasehold.connect('memory:') as client, client.lock('first') as lease:
    print('fence', lease.fence)
";

/// What a user does who has the sources: in an environment with nothing in it.
fn from_source() -> Result<(), Failure> {
    let fresh = root().join("target/python-fresh");
    if fresh.is_dir() {
        fs::remove_dir_all(&fresh).map_err(|e| format!("{}: {e}", fresh.display()))?;
    }
    new_environment(&fresh)?;
    pip(&fresh, [package().as_os_str()])?;
    run(Command::new(fresh.join("bin/python")).args(["-c", FIRST_USE]))?;
    run(Command::new(fresh.join("bin/leasehold")).arg("--version"))
}

fn package() -> PathBuf {
    root().join("bindings-python")
}

/// Where the tools are that build and test it.
fn environment() -> Result<PathBuf, Failure> {
    let (path, needs) = (root().join("target/python"), package().join("tests/requirements.txt"));
    if !path.join("bin/python").is_file() {
        new_environment(&path)?;
    }
    pip(&path, ["-r".as_ref(), needs.as_os_str()])?;
    Ok(path)
}

fn new_environment(path: &Path) -> Result<(), Failure> {
    let make = || run(Command::new("python3").args(["-m", "venv"]).arg(path));
    make().or_else(|_| {
        ensure_package("python3-venv", "the Python package is tested in environments of its own")?;
        make()
    })
}

fn pip<'a>(
    environment: &Path,
    install: impl IntoIterator<Item = &'a OsStr>,
) -> Result<(), Failure> {
    let mut command = clean(environment.join("bin/python"));
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run(command.args(install))
}
