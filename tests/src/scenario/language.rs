//! The languages whose faces are tried, and how a program in each is started.

use std::path::Path;
use std::process::Command;

/// A language, or one of several ways in which it uses locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(usize);

/// Starts a shim; `None` when what runs it is missing.
type Start = fn(rust: &Path) -> Option<Command>;

/// The table: name, how its shim is started, and what to do when that is missing.
/// Another language is another line.
const LANGUAGES: &[(&str, Start, &str)] = &[
    ("rust", |rust| Some(Command::new(rust)), ""),
    ("python", |_| python(&[]), PYTHON),
    ("python-threads", |_| python(&["--sync"]), PYTHON),
    ("node", |_| node(), NODE),
    ("swift", |_| std::env::var_os("LEASEHOLD_SWIFT_SHIM").map(Command::new), SWIFT),
];

/// What the languages are called, in the same order.
pub(super) const NAMES: [&str; LANGUAGES.len()] = {
    let mut names = [""; LANGUAGES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = LANGUAGES[at].0;
        at += 1;
    }
    names
};

const PYTHON: &str = "LEASEHOLD_PYTHON does not name an interpreter that has leasehold; \
                      `cargo xtask python` makes one, and `cargo xtask test` sets it";

fn python(arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(std::env::var_os("LEASEHOLD_PYTHON")?);
    command.arg(shim("python.py")).args(arguments);
    Some(command)
}

const NODE: &str = "LEASEHOLD_NODE_PACKAGE does not name a folder in which leasehold for Node is \
                    installed; `cargo xtask node` makes one, and `cargo xtask test` sets it";

fn node() -> Option<Command> {
    std::env::var_os("LEASEHOLD_NODE_PACKAGE")?;
    let mut command = Command::new("node");
    // Garbage is collected when a scenario says so.
    command.arg("--expose-gc").arg(shim("node.js"));
    Some(command)
}

const SWIFT: &str = "LEASEHOLD_SWIFT_SHIM does not name the program in tests/shims/swift; \
                     `cargo xtask swift` builds it, and `cargo xtask test` sets it";

fn shim(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shims").join(file)
}

impl Language {
    /// The language of this name in the table.
    pub fn named(name: &str) -> Self {
        let at = NAMES.iter().position(|known| *known == name);
        Self(at.unwrap_or_else(|| panic!("no language is called {name:?}; there are {NAMES:?}")))
    }

    pub(super) fn name(self) -> &'static str {
        NAMES[self.0]
    }

    /// The program that speaks it; `rust` is the path of the one in Rust.
    ///
    /// # Errors
    /// What to do when it cannot be started here.
    pub(super) fn command(self, rust: &Path) -> Result<Command, String> {
        let (_, start, cure) = LANGUAGES[self.0];
        start(rust).ok_or_else(|| cure.to_owned())
    }
}

/// Two languages whose programs meet: `a` and `c` speak the first, `b` and `d` the second.
#[derive(Clone, Copy, Debug)]
pub struct Pair(pub Language, pub Language);

impl Pair {
    pub(super) fn is_mixed(self) -> bool {
        self.0.name() != self.1.name()
    }

    /// A number for it that others may share.
    pub(super) fn turn(self) -> usize {
        2 * self.0.name().len() + self.1.name().len()
    }

    pub(super) fn of(self, actor: &str) -> Language {
        if matches!(actor, "a" | "c") { self.0 } else { self.1 }
    }
}
