//! Other libraries that follow the published algorithm for one server exclude
//! us, and we them. The real packages, from their registries.

use std::path::{Path, PathBuf};

use crate::place::{LONG, Place, SECOND};
use leasehold::Client;
use leasehold_tests::packages;
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::processes::Process;

const PYTHON: [&str; 1] = ["redis==8.1.0"];
const NODE: [&str; 2] = ["redlock@4.2.0", "ioredis@6.0.0"];

/// Longer than it takes a waiter to look again by itself.
const RECHECK: std::time::Duration = std::time::Duration::from_millis(1500);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis/interop_clients").join(name)
}

fn redis_py(port: u16) -> Process {
    let python = packages::python("python", &PYTHON).join("bin/python");
    let locks = script("locks.py");
    Process::start(python.to_str().unwrap(), &[locks.to_str().unwrap(), &port.to_string()])
}

fn node_redlock(port: u16) -> Process {
    let file = packages::node("node", &NODE, &script("locks.js"));
    Process::start("node", &[file.to_str().unwrap(), &port.to_string()])
}

#[track_caller]
fn assert_we_exclude_each_other(start: impl FnOnce(u16) -> Process) {
    let place = Place::new();
    let client = place.client_of(&format!("{}?prefix=", place.server.url()));
    let mut theirs = start(place.server.port());
    they_exclude_us(&place, &client, &mut theirs);
    we_exclude_them(&place, &client, &mut theirs);
    those_who_share_exclude_them(&place, &client, &mut theirs);
    what_expired_is_not_touched(&place, &client, &mut theirs);
}

fn they_exclude_us(place: &Place, client: &Client, theirs: &mut Process) {
    assert_eq!(theirs.ask("try x 60000"), "granted");
    assert!(place.try_hold(client, "x").is_none());
    let status = place.wait(client.status("x")).unwrap().unwrap();
    assert_eq!(&*status.holder().unwrap().label, "a client of another library");
    let waiter = place.queue(client.lock("x").ttl(LONG));
    let waits = || place.wait(client.status("x")).unwrap().unwrap().waiters.len() == 1;
    until(LIMIT, || waits().then_some(())).unwrap();
    place.pass(SECOND / 2);
    assert!(!waiter.is_finished());
    let released = leasehold_tests::patience::now();
    assert_eq!(theirs.ask("release x"), "released");
    let (lease, at) = place.granted(waiter);
    assert!(at - released < RECHECK, "{:?}", at - released);
    place.wait(lease.release()).unwrap();
}

fn we_exclude_them(place: &Place, client: &Client, theirs: &mut Process) {
    let lease = place.hold(client, "x");
    assert_eq!(theirs.ask("try x 60000"), "busy");
    assert_eq!(theirs.ask("wait x 60000"), "waiting");
    place.pass(SECOND / 2);
    place.wait(lease.renew()).unwrap();
    place.wait(lease.release()).unwrap();
    assert_eq!(theirs.line(), "granted");
    assert!(place.try_hold(client, "x").is_none());
    assert_eq!(theirs.ask("release x"), "released");
    let next = place.try_hold(client, "x").unwrap();
    assert!(next.fence() > lease.fence());
    place.wait(next.release()).unwrap();
}

fn those_who_share_exclude_them(place: &Place, client: &Client, theirs: &mut Process) {
    let share = || place.wait(client.lock("s").ttl(LONG).shared().acquire()).unwrap();
    let leases = [share(), share()];
    assert_eq!(theirs.ask("try s 60000"), "busy");
    assert_eq!(theirs.ask("wait s 60000"), "waiting");
    for lease in leases {
        place.pass(SECOND / 5);
        place.wait(lease.renew()).unwrap();
        place.wait(lease.release()).unwrap();
    }
    assert_eq!(theirs.line(), "granted");
    assert!(place.wait(client.lock("s").shared().try_acquire()).unwrap().is_none());
    assert_eq!(theirs.ask("release s"), "released");
    place.wait(share().release()).unwrap();
}

fn what_expired_is_not_touched(place: &Place, client: &Client, theirs: &mut Process) {
    assert_eq!(theirs.ask("try y 300"), "granted");
    let (lease, _) = place.granted(place.queue(client.lock("y").ttl(LONG)));
    assert_eq!(theirs.ask("release y"), "not owned");
    place.wait(lease.renew()).unwrap();
    // And the other way round.
    let late = client.lock("z").ttl(SECOND / 5).auto_renew(false);
    let late = place.wait(late.acquire()).unwrap();
    assert_eq!(theirs.ask("wait z 60000"), "waiting");
    assert_eq!(theirs.line(), "granted");
    place.wait(late.renew()).unwrap_err();
    place.wait(late.release()).unwrap_err();
    assert_eq!(theirs.ask("release z"), "released");
}

#[test]
fn redis_py_excludes_us_and_we_it() {
    assert_we_exclude_each_other(redis_py);
}

#[test]
fn node_redlock_excludes_us_and_we_it() {
    assert_we_exclude_each_other(node_redlock);
}

#[test]
fn a_waiter_is_there_soon_after_another_library_released() {
    let place = Place::new();
    let client = place.client();
    let mut late = std::time::Duration::ZERO;
    for _ in 0..10 {
        place.server.command(&["SET", "leasehold:x", "another library's", "PX", "60000"]);
        let waiter = place.stand_in_line(&client, "x");
        place.pass(std::time::Duration::from_millis(fastrand::u64(0..600)));
        let released = leasehold_tests::patience::now();
        place.server.command(&["DEL", "leasehold:x"]);
        let (lease, at) = place.granted(waiter);
        late += at - released;
        place.wait(lease.release()).unwrap();
    }
    // Some 50 ms each, where those libraries look ten times in a second.
    assert!(late < SECOND * 3 / 2, "{late:?} for ten");
}
