//! The locks of Curator and of kazoo exclude ours, and ours theirs. The real libraries,
//! from Debian's packages and from PyPI.

use std::path::{Path, PathBuf};

use crate::place::{PROMPT, Place};
use leasehold_tests::packages;
use leasehold_tests::patience::now;
use leasehold_tests::processes::Process;

const KAZOO: [&str; 1] = ["kazoo==2.11.0"];

/// Curator, and what it is made of.
const JARS: [&str; 6] =
    ["curator-recipes", "curator-framework", "curator-client", "zookeeper", "guava", "slf4j-nop"];

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zookeeper/interop_clients").join(name)
}

/// Its locks in a process, with sessions of so many seconds.
pub(crate) fn kazoo(endpoints: &str, timeout: &str) -> Process {
    let python = packages::python("python-kazoo", &KAZOO).join("bin/python");
    let locks = script("locks.py");
    Process::start(python.to_str().unwrap(), &[locks.to_str().unwrap(), endpoints, timeout])
}

fn curator(endpoints: &str, timeout: &str) -> Process {
    let jar = |name: &str| format!("/usr/share/java/{name}.jar");
    let missing = JARS.iter().map(|name| jar(name)).find(|jar| !Path::new(jar).is_file());
    let cure = "apt-get install -y --no-install-recommends libcurator-recipes-java zookeeper";
    assert!(missing.is_none(), "{missing:?} is not here; install it with `{cure}`");
    let classes = JARS.map(jar).join(":");
    let locks = script("Locks.java");
    let quick = "-XX:TieredStopAtLevel=1";
    Process::start("java", &[quick, "-cp", &classes, locks.to_str().unwrap(), endpoints, timeout])
}

#[track_caller]
fn assert_we_exclude_each_other(start: impl FnOnce(&str, &str) -> Process) {
    let place = Place::new();
    let mut theirs = start(&place.ensemble.endpoints(), "10");
    they_exclude_us(&place, &mut theirs);
    we_exclude_them(&place, &mut theirs);
    we_take_turns(&place, &mut theirs);
    what_ends_of_theirs_is_ours(&place, theirs);
}

fn they_exclude_us(place: &Place, theirs: &mut Process) {
    let client = place.client();
    let node = place.lock_node("x");
    assert_eq!(theirs.ask(&format!("try {node}")), "granted");
    assert!(place.try_hold(&client, "x").is_none());
    assert!(place.wait(client.status("x")).unwrap().unwrap().holder().is_some());
    let waiter = place.stand_in_line(&client, "x");
    assert!(!waiter.is_finished());
    let released = now();
    assert_eq!(theirs.ask(&format!("release {node}")), "released");
    let (lease, at) = place.granted(waiter);
    assert!(at - released < PROMPT, "{:?}", at - released);
    place.wait(lease.release()).unwrap();
}

fn we_exclude_them(place: &Place, theirs: &mut Process) {
    let client = place.client();
    let node = place.lock_node("y");
    let lease = place.hold(&client, "y");
    assert_eq!(theirs.ask(&format!("wait {node}")), "waiting");
    place.await_line("y", 2);
    place.wait(lease.renew()).unwrap();
    place.wait(lease.release()).unwrap();
    assert_eq!(theirs.line(), "granted");
    assert!(place.try_hold(&client, "y").is_none());
    assert_eq!(theirs.ask(&format!("release {node}")), "released");
    let next = place.try_hold(&client, "y").unwrap();
    assert!(next.fence() > lease.fence());
    // Who only tries and finds it held leaves nothing behind.
    assert_eq!(theirs.ask(&format!("try {node}")), "busy");
    place.wait(next.release()).unwrap();
    place.await_line("y", 0);
}

/// All of them in one line: ours, theirs, ours.
fn we_take_turns(place: &Place, theirs: &mut Process) {
    let (a, b) = (place.client(), place.client());
    let node = place.lock_node("z");
    let lease = place.hold(&a, "z");
    assert_eq!(theirs.ask(&format!("wait {node}")), "waiting");
    place.await_line("z", 2);
    let waiter = place.stand_in_line(&b, "z");
    place.wait(lease.release()).unwrap();
    assert_eq!(theirs.line(), "granted");
    assert!(!waiter.is_finished());
    assert_eq!(theirs.ask(&format!("release {node}")), "released");
    place.wait(place.granted(waiter).0.release()).unwrap();
}

/// They are killed, and their session ends by itself.
fn what_ends_of_theirs_is_ours(place: &Place, mut theirs: Process) {
    let client = place.client();
    assert_eq!(theirs.ask(&format!("try {}", place.lock_node("w"))), "granted");
    let session = place.session_of(&place.only_node("w"));
    let waiter = place.stand_in_line(&client, "w");
    drop(theirs);
    place.end_session(session);
    place.granted(waiter);
}

#[test]
fn kazoo_excludes_us_and_we_it() {
    assert_we_exclude_each_other(kazoo);
}

#[test]
fn curator_excludes_us_and_we_it() {
    assert_we_exclude_each_other(curator);
}
