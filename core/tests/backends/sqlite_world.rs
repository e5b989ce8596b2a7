//! One file is one world: what would make two of it is refused, or told at once
//! to those who hold something in it. Processes that see the machine in another
//! way are real ones, in namespaces of their own.

use std::path::Path;

use leasehold::{Kind, Loss, connect};

use crate::place::{HOUR, Place, Process, assert_says, is_free, serve, soon, take, until, url};

/// The part of the other process; see [`Process`].
#[tokio::test]
#[ignore = "run by the other tests"]
async fn process() {
    serve().await;
}

/// A namespace takes root. The CI is root; anybody else is told what was not tested.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "the CI must be root to test namespaces");
    if !root {
        eprintln!("\n*** NOT TESTED, because it needs root: SQLite across namespaces ***\n");
    }
    root
}

/// In a mount namespace of its own, after `setup` of a shell.
fn unshared(setup: &str) -> Vec<&str> {
    vec!["unshare", "--mount", "--propagation", "private", "sh", "-ec", setup]
}

fn then_run(setup: &str) -> String {
    format!("{setup}; exec \"$0\" \"$@\"")
}

fn in_mounts(setup: &str, database: &Path) -> (Process, String) {
    let script = then_run(setup);
    Process::start(&unshared(&script), database)
}

#[track_caller]
fn assert_refused(answer: &str, words: &[&str]) {
    assert!(answer.starts_with("refused: "), "{answer}");
    for word in words {
        assert!(answer.contains(word), "{word:?} is not in {answer:?}");
    }
}

#[tokio::test]
async fn a_database_that_is_mounted_without_its_directory_is_refused() {
    if !is_root() {
        return;
    }
    let (place, elsewhere) = (Place::new(), Place::holding(b""));
    let client = place.client().await;
    let lease = take(&client, "x").await;
    let mount = format!("mount --bind {:?} {:?}", place.db, elsewhere.db);
    let (_process, connected) = in_mounts(&mount, &elsewhere.db);
    assert_refused(&connected, &["mount the whole directory"]);
    lease.renew().await.expect("nothing has changed for it");

    // Nor may what lies beside it come from elsewhere.
    for ending in ["-wal", "-shm", "-bells"] {
        let part = format!("{}{ending}", place.db.display());
        let other = elsewhere.path().join("other");
        match ending {
            "-bells" => {
                std::fs::remove_file(&other).expect("to remove it");
                std::fs::create_dir(&other).expect("a directory");
            }
            _ => std::fs::write(&other, b"").expect("a file"),
        }
        let mount = format!("mount --bind {other:?} {part:?}");
        let (_process, connected) = in_mounts(&mount, &place.db);
        assert_refused(&connected, &["mount the whole directory", ending]);
    }
    lease.renew().await.expect("nothing has changed for it");
}

#[tokio::test]
async fn a_directory_that_is_mounted_elsewhere_is_the_same_world() {
    if !is_root() {
        return;
    }
    let (place, elsewhere) = (Place::new(), Place::new());
    let client = place.client().await;
    let lease = take(&client, "x").await;
    let mount = format!("mount --bind {:?} {:?}", place.path(), elsewhere.path());
    let (mut process, connected) = in_mounts(&mount, &elsewhere.db);
    assert_eq!(connected, "connected");
    assert_eq!(process.ask("take x"), "busy");
    lease.release().await.expect("held to the end");
    assert!(process.ask("take x").starts_with("fence"));
    process.kill();
    soon("the lock of the dead", take(&client, "x")).await;
}

const OTHER_BOOT: &str = "echo 11111111-2222-3333-4444-555555555555 >/tmp/boot.$$;
    mount --bind /tmp/boot.$$ /proc/sys/kernel/random/boot_id; rm /tmp/boot.$$";

#[tokio::test]
async fn whoever_sees_another_boot_id_is_refused_and_ends_no_lease_while_anybody_answers() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let client = place.client().await;
    let lease = take(&client, "x").await;
    let (_refused, connected) = in_mounts(OTHER_BOOT, &place.db);
    assert_refused(&connected, &["boot id", "a file of its own"]);
    assert!(!is_free(&place.client().await, "x").await, "its lease was wiped");
    lease.renew().await.expect("it is held still");

    // When nobody is left, it may be a restart of the machine.
    drop((lease, client));
    until("all are gone", async || place.sockets().is_empty()).await;
    let (mut process, connected) = in_mounts(OTHER_BOOT, &place.db);
    assert_eq!(connected, "connected");
    assert!(process.ask("take x").starts_with("fence"));
    // And now it is the others' turn to be refused.
    assert_says(connect(&url(&place.db)).await, Kind::Refused, &["boot id"]);
    assert_eq!(process.ask("renew x"), "renewed");
}

#[tokio::test]
async fn whoever_counts_time_otherwise_is_refused() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let client = place.client().await;
    let lease = take(&client, "x").await;
    let wrap = ["unshare", "--time", "--boottime", "100000", "--fork"];
    let (_process, connected) = Process::start(&wrap, &place.db);
    assert_refused(&connected, &["time namespace"]);
    lease.renew().await.expect("it is held still");
}

#[tokio::test]
async fn process_ids_and_roots_may_differ() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let client = place.client().await;
    let lease = take(&client, "x").await;
    let wrap = ["unshare", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork"];
    let (mut process, connected) = Process::start(&wrap, &place.db);
    assert_eq!(connected, "connected");
    assert_eq!(process.ask("take x"), "busy");
    lease.release().await.expect("held to the end");
    assert!(process.ask("take x").starts_with("fence"));
}

#[tokio::test]
async fn the_upper_directory_of_an_overlay_is_not_the_overlay() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|dir| {
        let dir = place.path().join(dir);
        std::fs::create_dir(&dir).expect("a directory");
        dir
    });
    let mount = format!(
        "mount -t overlay none -o lowerdir={},upperdir={},workdir={} {}",
        lower.display(),
        upper.display(),
        work.display(),
        merged.display()
    );
    // Copied up at the first write, which is to be noticed as no other file.
    std::fs::write(lower.join("old.db"), b"").expect("a file");
    let (mut process, connected) = in_mounts(&mount, &merged.join("old.db"));
    assert_eq!(connected, "connected");
    assert!(process.ask("take x").starts_with("fence"));
    assert_eq!(process.ask("renew x"), "renewed");
    let beneath = connect(&url(&upper.join("old.db"))).await;
    assert_says(beneath, Kind::Refused, &["overlay", "old.db-bells"]);
    assert_eq!(process.ask("renew x"), "renewed");
}

#[tokio::test]
async fn a_second_name_of_the_file_is_refused_and_a_symbolic_link_is_no_second_name() {
    let place = Place::new();
    let client = place.client().await;
    let lease = take(&client, "x").await;
    let [soft, hard] = ["soft.db", "hard.db"].map(|name| place.path().join(name));
    std::os::unix::fs::symlink("locks.db", &soft).expect("a link");
    assert!(!is_free(&connect(&url(&soft)).await.expect("a client"), "x").await);
    std::fs::hard_link(&place.db, &hard).expect("a link");
    assert_says(connect(&url(&hard)).await, Kind::Refused, &["hard.db", "2 names"]);
    lease.renew().await.expect("a backup's link takes nothing from it");
    std::fs::remove_file(&hard).expect("to remove it");
    connect(&url(&place.db)).await.expect("a client");
}

#[tokio::test]
async fn a_symbolic_link_to_a_file_that_is_yet_to_be_made_leads_to_it() {
    let place = Place::new();
    let link = place.path().join("link.db");
    std::os::unix::fs::symlink("locks.db", &link).expect("a link");
    let lease = take(&connect(&url(&link)).await.expect("a client"), "x").await;
    assert!(!is_free(&place.client().await, "x").await);
    assert!(lease.is_valid());
}

#[tokio::test]
async fn whoever_takes_away_a_part_is_let_in_after_the_holder_has_lost_its_lease() {
    for gone in [&["", "-wal", "-shm"][..], &[""], &["-wal", "-shm"], &["-wal"], &["-shm"]] {
        let place = Place::new();
        let holder = place.client().await;
        let lease = take(&holder, "x").await;
        holder.list().await.expect("a list"); // after its checkpoint
        for ending in gone {
            let part = format!("{}{ending}", place.db.display());
            std::fs::remove_file(part).expect("to remove it");
        }
        // Its next renewal is minutes away: who comes next makes it look.
        let next = soon("a client", place.client()).await;
        assert_eq!(soon("the loss", lease.lost()).await, Loss::Gone, "{gone:?}");
        // What is left of the database may have the old lease in it until its ttl is over.
        let again = soon("another lock", take(&next, "y")).await;
        assert!(again.fence() > lease.fence(), "{gone:?}");
        assert_says(holder.lock("z").try_acquire().await, Kind::Refused, &["deleted or replaced"]);
        again.renew().await.expect("what the old one does not touch");
        // When the old one ends it does not take the new one's files for its own.
        drop((lease, holder));
        again.renew().await.expect("what the old one does not touch");
    }
}

#[tokio::test]
async fn a_holder_finds_at_its_next_renewal_that_a_part_is_gone() {
    let parts = ["locks.db", "locks.db-wal", "locks.db-shm", "locks.db-bells"];
    for part in parts {
        let place = Place::new();
        let client = place.client().await;
        let (lease, other) = (take(&client, "x").await, take(&client, "y").await);
        let part = place.path().join(part);
        std::fs::rename(&part, place.path().join("moved")).expect("to move it");
        assert_says(lease.renew().await, Kind::Lost, &["x"]);
        // The others hear it too, long before their own renewals.
        assert_eq!(soon("the loss", other.lost()).await, Loss::Gone, "{part:?}");
    }
}

#[tokio::test]
async fn a_stopped_holder_keeps_others_from_a_database_that_was_deleted() {
    let place = Place::new();
    let (mut holder, connected) = Process::start(&[], &place.db);
    assert_eq!(connected, "connected");
    assert!(holder.ask("take x").starts_with("fence"));
    holder.stop().await;
    std::fs::remove_file(&place.db).expect("to remove it");
    let refused = soon("an answer", connect(&url(&place.db))).await;
    assert_says(refused, Kind::Refused, &["still run", "deleted or replaced"]);
    holder.go_on();
    let next = soon("a client", place.client()).await;
    assert!(is_free(&next, "x").await);
    assert_eq!(holder.ask("lost x"), "Gone");
}

#[tokio::test]
async fn the_log_of_another_database_is_not_taken_for_its_own() {
    let place = Place::new();
    let other = Place::new();
    let elsewhere = other.client().await;
    let kept = take(&elsewhere, "kept").await;
    let bytes = other.bytes().await;
    // A client that was killed: its log is full of what is not in the database.
    let (mut process, _) = Process::start(&[], &place.db);
    for name in 0..50 {
        assert!(process.ask(&format!("take {name}")).starts_with("fence"));
    }
    process.kill();
    std::fs::write(place.path().join("other.db"), bytes).expect("a file");
    std::fs::rename(place.path().join("other.db"), &place.db).expect("to replace it");
    let client = place.client().await;
    let listed = client.list().await.expect("a list");
    let names: Vec<_> = listed.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(listed[0].fence, kept.fence());
}

#[tokio::test]
async fn a_file_that_all_have_left_is_taken_up_as_it_was() {
    let place = Place::new();
    let fence = take(&place.client().await, "x").await.fence();
    for _ in 0..3 {
        until("all are gone", async || place.sockets().is_empty()).await;
        let client = place.client().await;
        let status = client.lock("x").ttl(HOUR).acquire().await.expect("a lease");
        assert!(status.fence() > fence);
        status.release().await.expect("held to the end");
    }
}
