//! The Node package: built, packed, and tested as it is when it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, root, run};

/// What a package is made of, besides the native part.
const FILES: [&str; 7] =
    ["README.md", "cli.js", "index.d.mts", "index.d.ts", "index.js", "index.mjs", "package.json"];

/// The folder of the package, packed as it is published and installed in a folder that
/// has nothing else.
pub(crate) fn package() -> Result<PathBuf, Failure> {
    needs_node()?;
    let tarball = pack()?;
    let place = empty(place().join("installed"))?;
    fs::write(place.join("package.json"), "{}\n").map_err(|e| failed(&place, e))?;
    npm(&place, &["install", "--offline"], &[&tarball])?;
    Ok(place.join("node_modules/leasehold"))
}

/// Everything about the package that needs no Rust test.
pub(crate) fn check(package: &Path) -> Result<(), Failure> {
    let place = place().join("installed");
    let tests = source().join("tests");
    let mut test = Command::new("node");
    test.args(["--expose-gc", "--test"]).args(files(&tests, ".test.js")?);
    run(test.env("LEASEHOLD_NODE_PACKAGE", package).current_dir(source()))?;
    run(Command::new(place.join("node_modules/.bin/leasehold")).arg("--version"))?;
    let tools = ["typescript@5", "@types/node@20"].map(Path::new);
    npm(&place, &["install", "--no-save"], &tools)?;
    // Where it is, it finds the package as a user's file does.
    for name in ["typing.mts", "typing.cts"] {
        let file = place.join(name);
        fs::copy(tests.join("typing.ts"), &file).map_err(|e| failed(&file, e))?;
    }
    let mut compiler = Command::new(place.join("node_modules/.bin/tsc"));
    compiler.args(["--noEmit", "--strict", "--exactOptionalPropertyTypes"]);
    compiler.args(["--target", "es2022", "--lib", "es2022,esnext.disposable"]);
    compiler.args(["--module", "nodenext", "--types", "node", "typing.mts", "typing.cts"]);
    run(compiler.current_dir(&place))
}

/// The tarball of a package that is put together in a folder of its own, so that
/// nothing that is made lies among the sources.
fn pack() -> Result<PathBuf, Failure> {
    let build = ["build", "--release", "--quiet", "-p", "leasehold-node"];
    run(Command::new("cargo").args(build).current_dir(root()))?;
    let folder = empty(place().join("package"))?;
    let copy = |from: PathBuf, to: PathBuf| {
        fs::copy(&from, &to).map(drop).map_err(|e| format!("{}: {e}", from.display()))
    };
    copy(library(), folder.join("leasehold.node"))?;
    for file in FILES {
        copy(source().join(file), folder.join(file))?;
    }
    fs::create_dir(folder.join("lib")).map_err(|e| failed(&folder, e))?;
    for file in files(&source().join("lib"), ".js")? {
        let name = file.file_name().unwrap_or_default();
        copy(file.clone(), folder.join("lib").join(name))?;
    }
    npm(&folder, &["pack", "--pack-destination"], &[&place()])?;
    let tarball = place().join(format!("leasehold-{}.tgz", env!("CARGO_PKG_VERSION")));
    let size = tarball.metadata().map_err(|e| failed(&tarball, e))?.len();
    eprintln!("xtask: {} has {:.1} MB", tarball.display(), size as f64 / 1e6);
    Ok(tarball)
}

/// What cargo calls the native part.
fn library() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    target.join("release").join(format!("{prefix}leasehold_node{suffix}"))
}

fn needs_node() -> Result<(), Failure> {
    let cure = "the Node package needs Node 20 or later, with npm: https://nodejs.org";
    let said = Command::new("node").arg("--version").output();
    let said = said.map_err(|e| format!("`node` could not be started ({e}); {cure}"))?.stdout;
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

fn npm(folder: &Path, arguments: &[&str], paths: &[&Path]) -> Result<(), Failure> {
    let mut command = Command::new("npm");
    command.args(arguments).args(paths).args(["--silent", "--no-audit", "--no-fund"]);
    run(command.current_dir(folder))
}
