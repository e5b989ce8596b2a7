//! The Node package: built, packed, and tested as it is when it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, root, run};

mod pack;

/// The folder of the package, packed as it is published and installed in a folder that
/// has nothing else.
pub(crate) fn package() -> Result<PathBuf, Failure> {
    needs_node()?;
    tools()?;
    let tarballs = pack::for_this_machine()?;
    let place = empty(place().join("installed"))?;
    fs::write(place.join("package.json"), "{}\n").map_err(|e| failed(&place, e))?;
    npm(&place, &["install", "--offline"], &tarballs)?;
    Ok(place.join("node_modules/leasehold"))
}

/// The tarballs of a release, of the native parts that lie in `target/node/built`.
pub(crate) fn release() -> Result<Vec<PathBuf>, Failure> {
    needs_node()?;
    tools()?;
    pack::for_all()
}

/// Everything about the package that needs no Rust test.
pub(crate) fn check(package: &Path) -> Result<(), Failure> {
    let mut test = Command::new("node");
    test.args(["--expose-gc", "--test"]).args(files(&source().join("tests"), ".test.js")?);
    run(test.env("LEASEHOLD_NODE_PACKAGE", package).current_dir(source()))
}

/// What the package is built and tested with, as its package.json pins it. Where it is
/// put, programs in the folder in which the package is installed find it, too.
fn tools() -> Result<(), Failure> {
    let (wanted, installed) = (source().join("package.json"), place().join("package.json"));
    let pins = fs::read(&wanted).map_err(|e| failed(&wanted, e))?;
    if fs::read(&installed).is_ok_and(|installed| installed == pins) {
        return Ok(());
    }
    fs::create_dir_all(place()).map_err(|e| failed(&place(), e))?;
    fs::write(&installed, pins).map_err(|e| failed(&installed, e))?;
    // What was installed by half is installed again.
    npm(&place(), &["install"], &[]).inspect_err(|_| drop(fs::remove_file(&installed)))
}

fn needs_node() -> Result<(), Failure> {
    let cure = "the Node package needs Node 20 or later, with npm: https://nodejs.org";
    let ask = |tool: &str| {
        let said = Command::new(tool).arg("--version").output();
        said.map_err(|e| format!("`{tool}` could not be started ({e}); {cure}"))
    };
    ask("npm")?;
    let said = ask("node")?.stdout;
    let version = String::from_utf8_lossy(&said);
    let major = version.trim().trim_start_matches('v').split('.').next();
    match major.and_then(|major| major.parse::<u32>().ok()) {
        Some(20..) => Ok(()),
        _ => Err(format!("this is Node {}; {cure}", version.trim())),
    }
}

fn source() -> PathBuf {
    root().join("bindings-node")
}

fn place() -> PathBuf {
    root().join("target/node")
}

/// The files of a folder whose name ends so, by name.
fn files(folder: &Path, end: &str) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(|e| failed(folder, e))?;
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    files.sort();
    Ok(files)
}

fn empty(folder: PathBuf) -> Result<PathBuf, Failure> {
    if folder.is_dir() {
        fs::remove_dir_all(&folder).map_err(|e| failed(&folder, e))?;
    }
    fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
    Ok(folder)
}

fn failed(path: &Path, error: std::io::Error) -> Failure {
    format!("{}: {error}", path.display())
}

fn npm(folder: &Path, arguments: &[&str], paths: &[PathBuf]) -> Result<(), Failure> {
    let mut command = Command::new("npm");
    command.args(arguments).args(paths).args(["--silent", "--no-audit", "--no-fund"]);
    // What the command itself answers is all that it writes to stdout.
    run(command.current_dir(folder).stdout(std::io::stderr()))
}
