//! A Swift to build with: the machine's own, or one that is set up below `target` from the
//! packages of the machine's distribution. That needs a newer C library than the machine's,
//! so its compiler runs in a root of its own, and what it builds through its loader.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::servers::{ensure_tool, mirror, on_path};
use crate::{Failure, root, run};

const CURE: &str = "install Swift 6 (https://swift.org/install)";
const SUITE: &str = "trixie";
/// Parts of the package that nothing here needs, a third of it.
const LEFT_OUT: [&str; 8] = [
    "lib/liblldb*",
    "lib/libLTO*",
    "lib/libsourcekitd*",
    "bin/lldb*",
    "bin/clangd",
    "bin/sourcekit-lsp",
    "bin/docc",
    "bin/repl_swift",
];

/// Mounted for one command alone; they are gone when that has ended, however it ends.
const ENTER: &str = r#"
mount -t proc proc "$ROOT/proc" && mount --rbind /dev "$ROOT/dev" &&
mount --bind "$PROJECT" "$ROOT$PROJECT" &&
exec chroot "$ROOT" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/libexec/swift/bin:/usr/bin:/bin "$@"
"#;

pub(crate) enum Toolchain {
    OnPath,
    /// Its root.
    Own(PathBuf),
}

impl Toolchain {
    /// The machine's, or our own, which is set up where it is missing.
    pub(crate) fn find() -> Result<Self, Failure> {
        if on_path("swift") {
            let said = Command::new("swift").arg("--version").output();
            let said = said.map_err(|e| format!("`swift` could not be started ({e}); {CURE}"))?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            let version =
                said.split("Swift version ").nth(1).and_then(|rest| rest.split('.').next());
            return match version.and_then(|major| major.parse::<u32>().ok()) {
                Some(6..) => Ok(Self::OnPath),
                _ => Err(format!("the `swift` on PATH is {:?}; {CURE}", said.trim())),
            };
        }
        let place = root().join("target/swift/toolchain");
        if !place.is_dir() {
            set_up(&place)?;
        }
        Ok(Self::Own(place))
    }

    /// `swift build` of a package, into a place of its own.
    pub(crate) fn build(&self, package: &Path, place: &Path, options: &[&str]) -> Command {
        let mut command = match self {
            Self::OnPath => Command::new("swift"),
            Self::Own(place) => {
                let mut enter = Command::new("unshare");
                enter.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]);
                enter.arg("swift").env("ROOT", place).env("PROJECT", root());
                enter
            }
        };
        command.args(["build", "--package-path"]).arg(package);
        command.arg("--scratch-path").arg(place).args(options);
        // Ours is for what a command answers.
        command.stdout(std::io::stderr());
        command
    }

    /// The tests of a package that were built there.
    pub(crate) fn test(&self, package: &Path, built: &Path) -> Result<Command, Failure> {
        if let Self::OnPath = self {
            let mut test = Command::new("swift");
            test.args(["test", "--skip-build", "--package-path"]).arg(package);
            let place = built.ancestors().nth(2).unwrap_or(built);
            test.arg("--scratch-path").arg(place);
            return Ok(test);
        }
        let mut test = Command::new(self.program(built)?);
        test.args(["--testing-library", "swift-testing"]);
        Ok(test)
    }

    /// What runs a program that was built: the program, or a script that becomes it.
    pub(crate) fn program(&self, built: &Path) -> Result<PathBuf, Failure> {
        let Self::Own(place) = self else { return Ok(built.to_owned()) };
        let arch = std::env::consts::ARCH;
        let loader = match arch {
            "x86_64" => "lib64/ld-linux-x86-64.so.2",
            _ => "lib/ld-linux-aarch64.so.1",
        };
        let place = place.display();
        let libraries = format!(
            "{place}/usr/lib/{arch}-linux-gnu:{place}/usr/libexec/swift/lib/swift/linux:\
             {place}/usr/libexec/swift/lib/swift/linux/testing"
        );
        let script = format!(
            "#!/bin/sh\nexec '{place}/{loader}' --library-path '{libraries}' '{}' \"$@\"\n",
            built.display()
        );
        let path = built.with_extension("run");
        let mode = fs::Permissions::from_mode(0o755);
        let done = fs::write(&path, script).and_then(|()| fs::set_permissions(&path, mode));
        done.map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }
}

fn set_up(place: &Path) -> Result<(), Failure> {
    let whole = place.display();
    eprintln!(
        "xtask: no `swift` is on PATH: setting one up from {SUITE} in {whole}, because the Swift \
         package is built and tested with it (2 GB, a few minutes, once)"
    );
    let mirror = mirror("Swift", CURE)?;
    ensure_tool("mmdebstrap", "mmdebstrap", "it unpacks Swift with the libraries it needs")
        .map_err(|e| format!("{e}; or {CURE}"))?;
    let unfinished = place.with_extension("new");
    let failed = |e| format!("{}: {e}", unfinished.display());
    if unfinished.is_dir() {
        fs::remove_dir_all(&unfinished).map_err(failed)?;
    }
    fs::create_dir_all(&unfinished).map_err(failed)?;
    let mut make = Command::new("mmdebstrap");
    make.args(["--mode=root", "--variant=minbase", "--quiet"]);
    // A mirror may be a snapshot of some date.
    make.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    make.arg("--dpkgopt=path-exclude=/usr/share/doc/*");
    for part in LEFT_OUT {
        make.arg(format!("--dpkgopt=path-exclude=/usr/libexec/swift/{part}"));
    }
    make.args(["--include=swiftlang,libc6-dev,ca-certificates", SUITE]);
    run(make.arg(&unfinished).arg(mirror))?;
    // Where the workspace is seen from inside.
    let inside = unfinished.join(root().strip_prefix("/").unwrap_or(root()));
    fs::create_dir_all(inside)
        .and_then(|()| fs::rename(&unfinished, place))
        .map_err(|e| format!("{whole}: {e}"))
}
