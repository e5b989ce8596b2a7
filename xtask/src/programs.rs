//! The programs that tests are built into. Cargo would let nobody else build or test in
//! its folder while it runs them, so they are run without it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Failure, clean};

pub(crate) struct Program {
    /// Of the file or the package that it tests.
    pub(crate) name: String,
    path: PathBuf,
    /// The package's, where cargo would run it.
    folder: PathBuf,
}

impl Program {
    pub(crate) fn command(&self) -> Command {
        let mut command = clean(&self.path);
        command.current_dir(&self.folder);
        command
    }
}

/// Build what a `cargo test` would run, but for the tests in the documentation.
pub(crate) fn build(test: &mut Command) -> Result<Vec<Program>, Failure> {
    test.args(["--no-run", "--message-format=json-render-diagnostics"]);
    test.stdout(Stdio::piped()).stderr(Stdio::inherit());
    let started = test.spawn().and_then(std::process::Child::wait_with_output);
    let output = started.map_err(|e| format!("cargo could not be started: {e}"))?;
    if !output.status.success() {
        return Err(format!("the tests could not be built: {}", output.status));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let programs: Vec<Program> = messages.lines().filter_map(program).collect();
    if programs.is_empty() { Err("cargo built no tests".to_owned()) } else { Ok(programs) }
}

/// The one that a message of cargo is about.
fn program(message: &str) -> Option<Program> {
    let is_test = message.contains("\"test\":true},\"features\"");
    let text = |name: &str| {
        let (_, rest) = message.split_once(&format!("\"{name}\":\""))?;
        rest.split('"').next()
    };
    let path = text("executable").filter(|_| is_test)?;
    let folder = Path::new(text("manifest_path")?).parent()?;
    Some(Program { name: text("name")?.to_owned(), path: path.into(), folder: folder.into() })
}
