//! The tarballs: the package, and its native part for each platform. They are put
//! together in a folder of their own, so that nothing that is made lies among the sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{empty, failed, files, npm, place, source};
use crate::{Failure, native_parts, root, run};

/// What the package is made of, besides `lib`.
const FILES: [&str; 7] = [
    "README.md",
    "bin/leasehold",
    "index.d.mts",
    "index.d.ts",
    "index.js",
    "index.mjs",
    "package.json",
];

/// The package as it is for this machine alone, which builds its native part.
pub(super) fn for_this_machine() -> Result<Vec<PathBuf>, Failure> {
    let folder = copied()?;
    let asked = Command::new("rustc").args(["--print", "host-tuple"]).output();
    let asked = asked.map_err(|e| format!("`rustc` could not be started: {e}"))?.stdout;
    let targets = format!("napi.targets=[\"{}\"]", String::from_utf8_lossy(&asked).trim());
    npm(&folder, &["pkg", "set", "--json", &targets], &[])?;
    run(&mut tool(&folder, &["create-npm-dirs"]))?;
    build(&files(&folder.join("npm"), "")?)?;
    pack(&folder)
}

/// With the workspace's own folder, where much of it is built already: `napi build` has
/// one of its own.
fn build(parts: &[PathBuf]) -> Result<(), Failure> {
    native_parts()?;
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = crate::built(&format!("{prefix}leasehold_node{suffix}"));
    let program = crate::built("leasehold");
    empty(built())?;
    for platform in parts.iter().filter_map(|part| part.file_name()) {
        let platform = platform.display();
        copy(&library, &built().join(format!("leasehold.{platform}.node")))?;
        copy(&program, &built().join(format!("leasehold.{platform}")))?;
    }
    Ok(())
}

/// The package for all the platforms that package.json names, which have built it.
pub(super) fn for_all() -> Result<Vec<PathBuf>, Failure> {
    let folder = copied()?;
    run(&mut tool(&folder, &["create-npm-dirs"]))?;
    pack(&folder)
}

/// Where this machine's native part is, or those that others have built are put.
pub(super) fn built() -> PathBuf {
    place().join("built")
}

fn copied() -> Result<PathBuf, Failure> {
    let folder = empty(place().join("package"))?;
    let lib = files(&source().join("lib"), ".js")?;
    for part in ["bin", "lib"] {
        fs::create_dir(folder.join(part)).map_err(|e| failed(&folder, e))?;
    }
    let sources = FILES.map(|file| source().join(file)).into_iter().chain(lib);
    for file in sources.chain([root().join("LICENSE")]) {
        let name = file.strip_prefix(source()).unwrap_or(Path::new("LICENSE"));
        copy(&file, &folder.join(name))?;
    }
    Ok(folder)
}

fn pack(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    run(tool(folder, &["artifacts", "--output-dir"]).arg(built()))?;
    // Only here do the native parts become dependencies, so that nobody asks a registry
    // for packages that are not published.
    run(&mut tool(folder, &["pre-publish", "--skip-optional-publish", "--no-gh-release"]))?;
    let packed = empty(place().join("packed"))?;
    let mut parts = files(&folder.join("npm"), "")?;
    for part in &parts {
        copy(&folder.join("LICENSE"), &part.join("LICENSE"))?;
        let platform = part.file_name().unwrap_or_default().display();
        copy(&built().join(format!("leasehold.{platform}")), &part.join("leasehold"))?;
        npm(part, &["pkg", "set", "files[]=leasehold"], &[])?;
    }
    parts.extend([folder.to_owned(), "--pack-destination".into(), packed.clone()]);
    npm(folder, &["pack"], &parts)?;
    let tarballs = files(&packed, ".tgz")?;
    for tarball in &tarballs {
        let size = tarball.metadata().map_or(0, |data| data.len());
        eprintln!("xtask: {} has {:.2} MB", tarball.display(), size as f64 / 1e6);
    }
    Ok(tarballs)
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map(drop).map_err(|e| failed(from, e))
}

/// The tool of napi-rs, in a folder with a package.json.
fn tool(folder: &Path, arguments: &[&str]) -> Command {
    let mut tool = Command::new(place().join("node_modules/.bin/napi"));
    tool.args(arguments).current_dir(folder).stdout(std::io::stderr());
    tool
}
