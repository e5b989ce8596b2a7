//! The Node package beside other clients, which are installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Failure, node, root, run, servers};

/// All of the measures, or those of these numbers.
pub(crate) fn bench(wanted: &[&str]) -> Result<(), Failure> {
    servers::ensure()?;
    let package = node::package()?;
    let (source, place) = (root().join("bindings-node/bench"), root().join("target/node/bench"));
    // Where they are, they find what is installed.
    copy(&source, &place)?;
    let mut install = Command::new("npm");
    // What these packages run when they are installed builds nothing.
    install.args(["install", "--no-package-lock", "--ignore-scripts"]);
    install.args(["--silent", "--no-audit", "--no-fund"]);
    run(install.current_dir(&place))?;
    let mut compare = Command::new("node");
    compare.arg("--expose-gc").arg(place.join("compare.mjs"));
    compare.arg(root().join("target/servers/etcd/usr/bin/etcd")).args(wanted);
    run(compare.env("LEASEHOLD_NODE_PACKAGE", package))
}

/// The files of a folder, over those that are there.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let files = || {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let file = entry?;
            if file.file_type()?.is_file() {
                fs::copy(file.path(), to.join(file.file_name()))?;
            }
        }
        Ok(())
    };
    files().map_err(|e: std::io::Error| format!("{} into {}: {e}", from.display(), to.display()))
}
