//! Who may be in a file's world: whoever may write the file, and nobody else.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use leasehold::{Kind, connect};
use rustix::fs::{Gid, Uid, chown};

use crate::place::{Place, Process, assert_says, is_free, take, url};

const GROUP: u32 = 54_321;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("a file").mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("its mode");
}

fn give(path: &Path, user: u32, group: u32) {
    chown(path, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).expect("its owner");
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "the CI must be root to test other users");
    if !root {
        eprintln!("\n*** NOT TESTED, because it needs root: SQLite and other users ***\n");
    }
    root
}

/// A client of another user, in the test's group or not.
fn by(user: u32, groups: &str, database: &Path) -> (Process, String) {
    let (user, own) = (format!("--reuid={user}"), format!("--regid={user}"));
    let groups = match groups {
        "" => "--clear-groups".to_owned(),
        groups => format!("--groups={groups}"),
    };
    // Whatever the umask, also the strictest.
    let line = ["setpriv", &user, &own, &groups, "sh", "-c", "umask 077; exec \"$0\" \"$@\""];
    Process::start(&line, database)
}

#[tokio::test]
async fn the_sockets_are_for_those_who_may_write_the_file() {
    for (file, dir, socket) in
        [(0o600, 0o700, 0o600), (0o644, 0o700, 0o600), (0o660, 0o770, 0o660), (0o666, 0o777, 0o666)]
    {
        let place = Place::holding(b"");
        set_mode(&place.db, file);
        let _client = place.client().await;
        assert_eq!(mode(&place.bells()), dir, "for {file:o}");
        let [only] = &*place.sockets() else { panic!("one client has one socket") };
        assert_eq!(mode(&place.bells().join(only)), socket, "for {file:o}");
    }
}

#[tokio::test]
async fn a_directory_of_ours_that_is_too_open_is_closed() {
    let place = Place::new();
    std::fs::DirBuilder::new().mode(0o777).create(place.bells()).expect("a directory");
    set_mode(&place.bells(), 0o777);
    let _client = place.client().await;
    assert_eq!(mode(&place.bells()), 0o700);
}

#[tokio::test]
async fn what_is_no_directory_of_the_files_own_is_refused() {
    let place = Place::new();
    let elsewhere = Place::new();
    std::os::unix::fs::symlink(elsewhere.path(), place.bells()).expect("a link");
    assert_says(connect(&url(&place.db)).await, Kind::Refused, &["-bells", "symbolic link"]);
    std::fs::remove_file(place.bells()).expect("to remove it");
    std::fs::write(place.bells(), b"").expect("a file");
    assert_says(connect(&url(&place.db)).await, Kind::Refused, &["-bells", "no directory"]);
    for ending in ["-wal", "-shm"] {
        let place = Place::new();
        let part = format!("{}{ending}", place.db.display());
        std::os::unix::fs::symlink(elsewhere.path().join("part"), part).expect("a link");
        std::fs::write(&place.db, b"").expect("a file");
        assert_says(connect(&url(&place.db)).await, Kind::Refused, &[ending, "symbolic link"]);
        assert!(!elsewhere.path().join("part").exists(), "it was followed");
    }
}

#[tokio::test]
async fn what_another_user_has_put_there_is_refused() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    std::fs::DirBuilder::new().mode(0o777).create(place.bells()).expect("a directory");
    give(&place.bells(), 1001, 1001);
    assert_says(connect(&url(&place.db)).await, Kind::Refused, &["-bells", "user 1001"]);
    for ending in ["-wal", "-shm"] {
        let place = Place::new();
        let part = format!("{}{ending}", place.db.display());
        std::fs::write(&place.db, b"").expect("a file");
        std::fs::write(&part, b"").expect("a file");
        give(Path::new(&part), 1001, 1001);
        assert_says(connect(&url(&place.db)).await, Kind::Refused, &[ending, "user 1001"]);
    }
}

#[tokio::test]
async fn a_file_that_a_group_may_write_is_shared_by_its_members() {
    if !is_root() {
        return;
    }
    let place = Place::holding(b"");
    give(&place.db, 1001, GROUP);
    set_mode(&place.db, 0o660);
    give(place.path(), 1001, GROUP);
    set_mode(place.path(), 0o770);
    let group = GROUP.to_string();
    // Neither is the file's owner, and each makes something that the other needs.
    let (mut first, connected) = by(1002, &group, &place.db);
    assert_eq!(connected, "connected");
    let (mut second, connected) = by(1003, &group, &place.db);
    assert_eq!(connected, "connected");
    let (mut owner, connected) = by(1001, &group, &place.db);
    assert_eq!(connected, "connected");
    assert!(first.ask("take x").starts_with("fence"));
    assert_eq!(second.ask("take x"), "busy");
    assert_eq!(owner.ask("take x"), "busy");
    // Only who can connect to its socket can know it dead.
    first.kill();
    assert!(second.ask("take x").starts_with("fence"));
    let client = place.client().await;
    assert!(!is_free(&client, "x").await);
    let lease = take(&client, "y").await;
    assert_eq!(owner.ask("take y"), "busy");
    drop((lease, client));
    assert!(owner.ask("wait y").starts_with("fence"));

    let (_stranger, connected) = by(1004, "", &place.db);
    assert!(connected.starts_with("unavailable: "), "{connected}");
}

#[tokio::test]
async fn a_file_that_root_uses_first_remains_its_owners() {
    if !is_root() {
        return;
    }
    let place = Place::holding(b"");
    give(&place.db, 1001, 1001);
    give(place.path(), 1001, 1001);
    let client = place.client().await;
    let lease = take(&client, "x").await;
    let (mut owner, connected) = by(1001, "", &place.db);
    assert_eq!(connected, "connected");
    assert_eq!(owner.ask("take x"), "busy");
    lease.release().await.expect("held to the end");
    assert!(owner.ask("take x").starts_with("fence"));
}
