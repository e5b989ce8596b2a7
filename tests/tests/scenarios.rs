//! What a lock does, once, for every pair of languages and on every backend.
//!
//! `LEASEHOLD_SCENARIO` chooses those whose file or name has that word.

use std::path::Path;

use leasehold_tests::scenario::{Language, Pair, play, read_all};

const RUST: &str = env!("CARGO_BIN_EXE_shim");

fn meet(first: &str, second: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenarios = read_all(&dir).unwrap_or_else(|e| panic!("{e}"));
    let pair = Pair(Language::named(first), Language::named(second));
    let word = std::env::var_os("LEASEHOLD_SCENARIO").unwrap_or_default();
    let played = play(&scenarios, pair, Path::new(RUST), &word.to_string_lossy());
    let played = played.unwrap_or_else(|e| panic!("{first} and {second}:\n{e}"));
    assert!(played > 0, "no scenario has {word:?} in its name");
}

#[test]
fn rust_and_rust() {
    meet("rust", "rust");
}

#[test]
fn rust_and_python() {
    meet("rust", "python");
}

#[test]
fn python_and_rust() {
    meet("python", "rust");
}

#[test]
fn python_and_python() {
    meet("python", "python");
}

#[test]
fn python_threads_and_rust() {
    meet("python-threads", "rust");
}

#[test]
fn python_threads_and_python() {
    meet("python-threads", "python");
}

#[test]
fn python_threads_and_python_threads() {
    meet("python-threads", "python-threads");
}

#[test]
fn node_and_node() {
    meet("node", "node");
}

#[test]
fn node_and_python() {
    meet("node", "python");
}

#[test]
fn python_and_node() {
    meet("python", "node");
}

#[test]
fn rust_and_node() {
    meet("rust", "node");
}

#[test]
fn node_and_rust() {
    meet("node", "rust");
}

#[test]
fn swift_and_swift() {
    meet("swift", "swift");
}

#[test]
fn swift_and_python() {
    meet("swift", "python");
}

#[test]
fn node_and_swift() {
    meet("node", "swift");
}

#[test]
fn rust_and_swift() {
    meet("rust", "swift");
}
