//! The Swift package: its native part and generated code, and the ways in which it is tested.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

mod toolchain;

use self::toolchain::Toolchain;
use crate::{Failure, clean, native_parts, root, run};

/// A program that is built from a package of its own.
const SHIM: (&str, &str) = ("tests/shims/swift", "shim");
const NIGHTLY: (&str, &str) = ("bindings-swift/examples/nightly", "nightly");
const BENCH: (&str, &str) = ("bindings-swift/bench", "bench");

/// What a release is made of.
const RELEASED: [&str; 5] = ["Package.swift", "README.md", "Sources", "Tests", "lib"];

/// Have a Swift on this machine.
pub(crate) fn ensure() -> Result<(), Failure> {
    Toolchain::find().map(drop)
}

/// The package made whole and packed, and the program that speaks Swift in scenarios.
pub(crate) fn shim() -> Result<PathBuf, Failure> {
    let swift = Toolchain::find()?;
    generate()?;
    pack()?;
    build(&swift, SHIM, "debug")
}

/// Everything about the package that needs no Rust test. `node` is the package for Node.
pub(crate) fn check(node: &Path) -> Result<(), Failure> {
    let swift = Toolchain::find()?;
    // Nothing that a user would see as a warning.
    let strict = ["-Xswiftc", "-warnings-as-errors"];
    run(&mut swift.build(
        &source(),
        &place("package"),
        &[&["--build-tests"][..], &strict].concat(),
    ))?;
    let tests = place("package").join("debug/LeaseholdPackageTests.xctest");
    run(swift.test(&source(), &tests)?.current_dir(source()))?;
    let mut outside = Command::new("node");
    outside.arg("--test").arg(source().join("Tests/outside.test.js"));
    outside.env("LEASEHOLD_NODE_PACKAGE", node);
    outside.env("LEASEHOLD_SWIFT_NIGHTLY", build(&swift, NIGHTLY, "debug")?);
    let fresh = fresh(&swift)?;
    outside.env("LEASEHOLD_SWIFT_APP", swift.program(&fresh.join("app"))?);
    outside.env("LEASEHOLD_SWIFT_EXAMPLES", swift.program(&fresh.join("examples"))?);
    run(outside.env("LEASEHOLD_SWIFT_HOLDER", swift.program(&fresh.join("holder"))?))
}

/// Beside Rust, in one run.
pub(crate) fn bench() -> Result<(), Failure> {
    let swift = Toolchain::find()?;
    generate()?;
    let program = build(&swift, BENCH, "release")?;
    let bench = ["run", "--release", "-p", "leasehold-tests", "--bin", "bench-swift", "--"];
    run(clean("cargo").args(bench).arg(program).current_dir(root()))
}

/// The library, and the code that calls it, into the package.
fn generate() -> Result<(), Failure> {
    if cfg!(target_os = "macos") {
        return run(&mut Command::new(source().join("xcframework.sh")));
    }
    native_parts()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let built = target.join("release/libleasehold_swift.a");
    let mut generate = generator("run");
    generate.arg("--").arg(&built).arg(source().join("Sources"));
    run(&mut generate)?;
    let library = source().join("lib/libleasehold_swift.a");
    fs::create_dir_all(source().join("lib")).map_err(|e| failed(&library, e))?;
    // Four fifths of it would be lines for debuggers; symbols are needed.
    run(Command::new("strip").args(["--strip-debug", "-o"]).arg(&library).arg(&built))?;
    let size = library.metadata().map_err(|e| failed(&library, e))?.len();
    eprintln!("xtask: {} has {:.1} MB", library.display(), size as f64 / 1e6);
    Ok(())
}

/// The program that writes it, which is built while something else is done.
pub(crate) fn build_generator() -> Result<(), Failure> {
    if cfg!(target_os = "macos") { Ok(()) } else { run(&mut generator("build")) }
}

fn generator(command: &str) -> Command {
    let mut generator = clean("cargo");
    generator.args([command, "--quiet", "-p", "leasehold-swift-generate", "--features", "bindgen"]);
    generator.current_dir(root());
    generator
}

/// For those who have no Rust.
fn pack() -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let archive = root().join(format!("target/swift/leasehold-{version}-swift.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&archive).arg("-C").arg(source());
    run(tar.arg("--transform=s,^,leasehold-swift/,").args(RELEASED))?;
    let size = archive.metadata().map_err(|e| failed(&archive, e))?.len();
    eprintln!("xtask: {} has {:.1} MB", archive.display(), size as f64 / 1e6);
    Ok(())
}

/// Build a program, and answer what runs it.
fn build(
    swift: &Toolchain,
    (folder, name): (&str, &str),
    configuration: &str,
) -> Result<PathBuf, Failure> {
    run(&mut swift.build(&root().join(folder), &place(name), &["-c", configuration]))?;
    swift.program(&place(name).join(configuration).join(name))
}

/// What a user does: an empty package, made by the words of the README.
fn fresh(swift: &Toolchain) -> Result<PathBuf, Failure> {
    let readme = source().join("README.md");
    let text = fs::read_to_string(&readme).map_err(|e| failed(&readme, e))?;
    let mut blocks = text.split("```swift\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut next = || blocks.next().ok_or("the README has no program any more");
    let (program, manifest) = (next()?, next()?);
    let folder = root().join("target/swift/fresh");
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        let folder = path.parent().unwrap_or(&path).to_owned();
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|e| failed(&path, e))
    };
    let here = source().display().to_string();
    let target = |name| {
        format!("\n        .executableTarget(name: {name:?}, dependencies: [\"Leasehold\"]),")
    };
    let both = format!("{}{}\n    ]\n)", target("holder"), target("examples"));
    let manifest = manifest.replace("../leasehold/bindings-swift", &here);
    let examples = ["Several locks", "Shared, or", "Once per", "A circle", "Elections"]
        .map(|heading| example(&text, heading));
    let examples = examples.into_iter().collect::<Result<String, Failure>>()?;
    write("Package.swift", &manifest.replace("\n    ]\n)", &both))?;
    let url = "CommandLine.arguments[1]";
    write("Sources/app/main.swift", &program.replace("\"redis://127.0.0.1\"", url))?;
    let begin = "import Leasehold\nlet client = try await Leasehold.connect(\"memory:\")\n";
    write("Sources/examples/main.swift", &format!("{begin}{examples}await client.close()\n"))?;
    let holder = source().join("Tests/holder.swift");
    let holder = fs::read_to_string(&holder).map_err(|e| failed(&holder, e))?;
    write("Sources/holder/main.swift", &holder)?;
    run(&mut swift.build(&folder, &place("fresh"), &[]))?;
    Ok(place("fresh").join("debug"))
}

/// What the README shows behind that heading.
fn example<'a>(readme: &'a str, heading: &str) -> Result<&'a str, Failure> {
    let (_, behind) = readme.split_once(&format!("**{heading}")).unwrap_or_default();
    let code = behind.split("```swift\n").nth(1).and_then(|rest| rest.split("```").next());
    code.ok_or(format!("the README has no example of {heading:?} any more"))
}

fn source() -> PathBuf {
    root().join("bindings-swift")
}

/// Where something is built: not among the sources.
fn place(name: &str) -> PathBuf {
    root().join("target/swift/build").join(name)
}

fn failed(path: &Path, error: std::io::Error) -> Failure {
    format!("{}: {error}", path.display())
}
