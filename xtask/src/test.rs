//! Everything that CI runs, cheap checks first, with the time that each step takes.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::programs::{self, Program};
use crate::{
    Failure, cargo, clean, native_parts, needs, node, planted, python, root, run as execute,
    servers, swift,
};

/// One package selection in each profile, so that nothing is built twice. Two lanes where
/// one waits for the network, or for a single processor; cargo lets only one build at a
/// time into a profile's folder, so each lane keeps to one.
pub(crate) fn all() -> Result<(), Failure> {
    let steps = Steps::default();
    let done = run(&steps);
    steps.print();
    done
}

fn run(steps: &Steps) -> Result<(), Failure> {
    needs("fmt", "rustup component add rustfmt")?;
    needs("clippy", "rustup component add clippy")?;
    steps.take("format", || cargo("fmt --all --check"))?;
    let (tests, (interpreter, package)) = both(
        || {
            steps.take("clippy", || cargo("clippy --workspace --all-targets -- -D warnings"))?;
            steps.take("generator for Swift, built", swift::build_generator)?;
            steps.take("tests, built", || {
                programs::build(clean("cargo").args(["test", "--workspace"]).current_dir(root()))
            })
        },
        || {
            steps.take("servers", servers::ensure)?;
            steps.take("Swift, set up", swift::ensure)?;
            steps.take("native parts, built", native_parts)?;
            let interpreter = steps.take("Python package", python::interpreter)?;
            Ok((interpreter, steps.take("Node package", node::package)?))
        },
    )?;
    let shim = steps.take("Swift package", swift::shim)?;
    let faces: [(&str, &Path); 3] = [
        ("LEASEHOLD_PYTHON", &interpreter),
        ("LEASEHOLD_NODE_PACKAGE", &package),
        ("LEASEHOLD_SWIFT_SHIM", &shim),
    ];
    crate::all_of([
        steps.take("tests", || all_pass(&tests, &faces)),
        steps.take("tests in the documentation", || cargo("test --workspace --doc")),
        steps.take("Python", || python::check(&interpreter)),
        steps.take("Node", || node::check(&package)),
        steps.take("Swift", || swift::check(&package)),
        steps.take("documentation", || cargo("doc --workspace --no-deps")),
        steps.take("planted bugs", || planted::a_third_is_caught(root())),
    ])
}

fn all_pass(tests: &[Program], variables: &[(&str, &Path)]) -> Result<(), Failure> {
    let run = |test: &Program| execute(test.command().envs(variables.iter().copied()));
    crate::all_of(tests.iter().map(run))
}

/// Do both at once; the first failure is told when both have ended.
fn both<A: Send, B: Send>(
    one: impl FnOnce() -> Result<A, Failure> + Send,
    other: impl FnOnce() -> Result<B, Failure> + Send,
) -> Result<(A, B), Failure> {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        let one = one.join().unwrap_or_else(|_| Err("a lane panicked".to_owned()));
        Ok((one?, other?))
    })
}

/// What was done, and how long each step took.
#[derive(Default)]
struct Steps(Mutex<Vec<(&'static str, Duration)>>);

impl Steps {
    #[allow(clippy::disallowed_methods)] // for people who wait
    fn take<T>(
        &self,
        name: &'static str,
        step: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        let done = step().map_err(|failure| format!("{name}: {failure}"));
        if let Ok(mut all) = self.0.lock() {
            all.push((name, start.elapsed()));
        }
        done
    }

    fn print(&self) {
        let Ok(all) = self.0.lock() else { return };
        eprintln!("xtask: seconds of each step, some beside each other:");
        for (name, time) in all.iter() {
            eprintln!("{:8} {name}", time.as_secs());
        }
    }
}
