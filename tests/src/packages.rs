//! Other people's libraries, from the registries of their languages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::servers::root;

/// A folder in which Python has these packages: `bin/python` runs it.
pub fn python(folder: &str, packages: &[&str]) -> PathBuf {
    installed(folder, packages, |dir| {
        let cure = "apt-get install -y python3-venv";
        run(Path::new("python3"), &["-m", "venv", "."], dir, cure);
        run(&dir.join("bin/pip"), &[&["install", "--quiet"], packages].concat(), dir, cure);
    })
}

/// The copy of a Node script in a folder that has these packages: Node looks for
/// them beside the file, not where it is started.
pub fn node(folder: &str, packages: &[&str], script: &Path) -> PathBuf {
    let dir = installed(folder, packages, |dir| {
        fs::write(dir.join("package.json"), "{}").expect("our own directory");
        let install = ["install", "--no-audit", "--no-fund", "--silent"];
        let cure = "apt-get install -y nodejs npm";
        run(Path::new("npm"), &[&install, packages].concat(), dir, cure);
    });
    let copy = dir.join(script.file_name().expect("a file"));
    fs::copy(script, &copy).expect("a script, and our own directory");
    copy
}

/// A folder under `target/interop` with these packages in it.
fn installed(folder: &str, packages: &[&str], install: impl FnOnce(&Path)) -> PathBuf {
    let dir = root().join("target/interop").join(folder);
    let (label, wanted) = (dir.join("installed"), packages.join(" "));
    if fs::read_to_string(&label).ok().as_deref() != Some(&wanted) {
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("our own directory");
        }
        fs::create_dir_all(&dir).expect("our own directory");
        install(&dir);
        fs::write(label, wanted).expect("our own directory");
    }
    dir
}

fn run(program: &Path, arguments: &[&str], dir: &Path, cure: &str) {
    let output = Command::new(program).args(arguments).current_dir(dir).output();
    let output = output.unwrap_or_else(|e| panic!("{program:?}: {e}; install it with `{cure}`"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} {arguments:?}: {said}; perhaps `{cure}` helps");
}
