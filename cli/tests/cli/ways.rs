//! The ways in which the command line is installed and started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rig::Rig;

/// A program that is `leasehold`, and the arguments before its own.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    words: Vec<OsString>,
}

/// The program itself.
pub(crate) fn plain() -> Way {
    Way { name: "cargo", words: vec![env!("CARGO_BIN_EXE_leasehold").into()] }
}

/// From cargo, from the wheel, from the npm package.
pub(crate) fn all() -> Vec<Way> {
    let python = place("LEASEHOLD_PYTHON", "python");
    let node = place("LEASEHOLD_NODE_PACKAGE", "node");
    let beside = python.with_file_name("leasehold");
    let module = vec![python.into(), "-m".into(), "leasehold".into()];
    vec![
        plain(),
        Way { name: "wheel", words: vec![beside.into()] },
        Way { name: "python -m", words: module },
        Way { name: "npm", words: vec![node.join("../.bin/leasehold").into()] },
    ]
}

/// With npm's own processes before it, which stay.
pub(crate) fn npx() -> Way {
    let node = place("LEASEHOLD_NODE_PACKAGE", "node");
    let mut words: Vec<OsString> = ["npm", "exec", "--offline", "--prefix"].map(Into::into).into();
    words.extend([node.join("../..").into(), "--".into(), "leasehold".into()]);
    Way { name: "npx", words }
}

fn place(variable: &str, kind: &str) -> PathBuf {
    let place = std::env::var_os(variable).map(PathBuf::from);
    place.unwrap_or_else(|| {
        panic!("{variable} is not set; `cargo xtask test` sets it, `cargo xtask {kind}` tells it")
    })
}

impl Way {
    /// `LAUNCHER leasehold ARGUMENTS`, in the rig's folder.
    pub(crate) fn command(&self, rig: &Rig, launcher: &[&str], arguments: &[&str]) -> Command {
        let first = launcher.first().map_or(&*self.words[0], |first| first.as_ref());
        let mut command = rig.command(first);
        command.args(launcher.iter().skip(1));
        command.args(&self.words[usize::from(launcher.is_empty())..]).args(arguments);
        command
    }

    /// Where npm and pip put it: a plain file that is there.
    pub(crate) fn exists(&self) -> bool {
        Path::new(&self.words[0]).exists()
    }
}
