//! The SQLite file: what people see when it, its directory or its URL is not as
//! it should be, and what becomes of leases when it changes under them.

use std::time::Duration;

use leasehold::time::Clock;

use leasehold::{Kind, Loss, Options, connect};

use crate::place::{HOUR, Place, RUNTIME, assert_says, is_free, soon, status, take, url};

/// Where SQLite's header keeps the two numbers that tell whose file it is.
const USER_VERSION: usize = 60;
const APPLICATION_ID: usize = 68;

async fn assert_refused_untouched(bytes: &[u8], words: &[&str]) {
    let place = Place::holding(bytes);
    let path = place.db.to_string_lossy();
    assert_says(connect(&url(&place.db)).await, Kind::Refused, &[&[&*path], words].concat());
    assert!(std::fs::read(&place.db).expect("a file") == bytes, "the file was changed");
    assert!(!place.bells().exists(), "something was put beside the file");
}

fn with_number(bytes: &[u8], at: usize, number: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    bytes
}

#[tokio::test]
async fn a_path_that_cannot_be_opened_says_what_to_check() {
    let place = Place::holding(b"a file, not a directory");
    let missing = place.path().join("missing/locks.db");
    for path in [missing, place.path().into(), place.db.join("locks.db"), "/proc/x.db".into()] {
        let words = [path.to_str().expect("text"), "does its directory exist", "may you write"];
        assert_says(connect(&url(&path)).await, Kind::Unavailable, &words);
    }
    assert_eq!(std::fs::read_dir(place.path()).expect("a directory").count(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_or_a_damaged_one_is_refused_and_left_alone() {
    let ours = Place::new().bytes().await;
    let [cut, cut_in_a_page, cut_in_the_header] = [&ours[..4096], &ours[..6000], &ours[..99]];
    let overwritten = [&ours[..4096], &vec![0xff; ours.len() - 4096]].concat();
    let text = b"to whom it may concern\n".repeat(1000);
    for bytes in [b"dear diary", &*text, cut, cut_in_a_page, cut_in_the_header, &overwritten] {
        let words = ["is not a usable SQLite database", "use another path"];
        assert_refused_untouched(bytes, &words).await;
    }
}

#[tokio::test]
async fn a_database_of_another_program_or_a_newer_version_is_refused_and_left_alone() {
    let ours = Place::new().bytes().await;
    let marked = with_number(&ours, APPLICATION_ID, 0x1234_5678);
    let unmarked = with_number(&with_number(&ours, APPLICATION_ID, 0), USER_VERSION, 0);
    for bytes in [marked, unmarked] {
        let words = ["another program's", "use a file of its own"];
        assert_refused_untouched(&bytes, &words).await;
    }
    let newer = with_number(&ours, USER_VERSION, 99);
    assert_refused_untouched(&newer, &["newer", "schema 99", "upgrade"]).await;
}

/// As if a client of another version had migrated the file, or nobody had yet.
fn rename(place: &Place, from: &str, to: &str, version: u32) {
    let db = rusqlite::Connection::open(&place.db).expect("a database");
    db.execute_batch(&format!(
        "BEGIN IMMEDIATE; ALTER TABLE {from} RENAME TO {to}; PRAGMA user_version = {version}; COMMIT"
    ))
    .expect("renamed");
}

#[tokio::test]
async fn a_client_of_an_older_version_goes_on_in_no_file_that_a_newer_one_has_migrated() {
    let place = Place::new();
    let older = place.client().await;
    let lease = take(&older, "x").await;
    rename(&place, "locks_4", "locks_5", 5);
    let words = ["taken over by a newer Leasehold", "upgrade"];
    assert_says(older.lock("y").try_acquire().await, Kind::Refused, &words);
    assert_says(lease.renew().await, Kind::Refused, &words);
    assert_says(connect(&url(&place.db)).await, Kind::Refused, &["newer", "schema 5"]);
}

#[tokio::test]
async fn what_is_held_in_a_file_is_held_when_it_was_migrated() {
    let place = Place::new();
    let holder = place.client().await;
    let lease = take(&holder, "x").await;
    rename(&place, "locks_4", "locks", 3);
    let other = place.client().await;
    assert!(!is_free(&other, "x").await);
    lease.release().await.expect("held");
    assert!(is_free(&other, "x").await);
}

#[tokio::test]
async fn every_way_to_write_a_path_leads_to_the_same_locks() {
    let place = Place::new();
    let lease = take(&place.client().await, "x").await;
    let path = place.db.to_str().expect("text");
    let here = std::env::current_dir().expect("a working directory");
    let up = "../".repeat(here.components().count() - 1);
    let relative = format!("sqlite:{up}{}", path.trim_start_matches('/'));
    for url in [format!("sqlite://{path}"), relative] {
        let client = connect(&url).await.expect("a client");
        assert!(!is_free(&client, "x").await, "{url}");
        assert!(client.backend().contains("locks.db"), "{}", client.backend());
    }
    assert!(lease.is_valid());
}

#[tokio::test]
async fn options_in_the_url_win_over_the_clients_and_lose_to_the_locks() {
    let place = Place::new();
    let options = Options::new().ttl(Duration::from_secs(60)).label("by options");
    let url = format!("{}?ttl=1h&label=by%20url", url(&place.db));
    let client = options.connect(&url).await.expect("a client");
    let lock = client.lock("x");
    for (lock, label, ttl) in
        [(lock.clone(), "by url", HOUR), (lock.label("by lock").ttl(2 * HOUR), "by lock", 2 * HOUR)]
    {
        let lease = lock.acquire().await.expect("a lease");
        let holder = status(&client, "x").await.holders.pop().expect("a holder");
        assert!(holder.label.ends_with(&format!(":{} {label}", std::process::id())), "{holder:?}");
        assert!(holder.free_in > ttl - HOUR / 2 && holder.free_in <= ttl, "{holder:?}");
        lease.release().await.expect("held to the end");
    }
}

#[tokio::test]
async fn a_bad_option_is_named_and_makes_no_file() {
    let place = Place::new();
    for (query, words) in [
        ("tll=30s", ["tll", "there are ttl, delay, wait, max_hold, label"]),
        ("ttl=soon", ["ttl=soon", "30s"]),
        ("ttl=1ms", ["ttl must be", "1ms"]),
        ("label=a%0Ab", ["label", "control characters"]),
    ] {
        let url = format!("{}?{query}", url(&place.db));
        assert_says(connect(&url).await, Kind::Invalid, &words);
    }
    assert!(!place.db.exists());
}

#[tokio::test]
async fn a_url_without_a_known_backend_is_invalid_and_says_which_there_are() {
    let all = "sqlite:PATH, sqlite: and memory:";
    for (url, named) in [
        ("locks.db", "no scheme"),
        ("/tmp/locks.db", "no scheme"),
        ("", "no scheme"),
        ("secret", "no scheme"),
        ("floppy://user:secret@a/b", r#""floppy""#),
    ] {
        assert_says(connect(url).await, Kind::Invalid, &[named, all]);
    }
    for url in ["floppy://user:secret@a/b", "secret"] {
        let said = connect(url).await.expect_err("unknown").to_string();
        assert!(!said.contains("secret"), "{said}");
    }
    assert_says(connect("memory:x").await, Kind::Invalid, &["memory:", "no name"]);
}

/// Whoever takes it for a server finds no password in a message or a file's name.
#[tokio::test]
async fn a_login_in_a_url_without_a_server_is_refused_and_not_shown() {
    for scheme in ["memory", "sqlite"] {
        for rest in
            ["//user:secret@host/db", "//user:secret@host", "//secret@host", "user:secret@h/d"]
        {
            for query in ["", "?ttl=1h", "?tll=1h"] {
                let said = connect(&format!("{scheme}:{rest}{query}")).await.expect_err(rest);
                assert_eq!(said.kind(), Kind::Invalid, "{said}");
                let said = said.to_string();
                assert!(!said.contains("secret"), "{said}");
                assert!(said.contains(&format!("{scheme}:")) || query.contains("tll"), "{said}");
            }
        }
    }
    let said = connect("memory:secret").await.expect_err("a name").to_string();
    assert!(!said.contains("secret"), "{said}");
    // These are files.
    let place = Place::new();
    for name in ["jobs@host.db", "a:b@c/jobs.db"] {
        let path = place.db.with_file_name(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("one");
        for url in [format!("sqlite:{}", path.display()), format!("sqlite://{}", path.display())] {
            let client = connect(&url).await.expect("a client");
            assert!(client.backend().ends_with(name), "{}", client.backend());
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_restart_of_the_machine_ends_every_lease() {
    let place = Place::new();
    let client = place.client().await;
    client.list().await.expect("a list"); // so that its checkpoint is not in the way of the next
    let lease = take(&client, "x").await;
    let before = place.bytes().await;
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").expect("a boot id");
    let boot = boot.trim_ascii();
    let at = before.windows(boot.len()).position(|id| id == boot).expect("it is in the file");
    let mut after = before.clone();
    after[at..at + boot.len()].copy_from_slice(b"00000000-0000-0000-0000-000000000000");

    let same_boot = Place::holding(&before);
    assert!(!is_free(&same_boot.client().await, "x").await, "the copy shows no lease");
    let new_boot = Place::holding(&after);
    let restarted = new_boot.client().await;
    assert!(restarted.list().await.expect("a list").is_empty());
    assert!(take(&restarted, "x").await.fence() > lease.fence());
}

#[tokio::test]
async fn a_deleted_or_replaced_database_is_noticed() {
    for replace in [false, true] {
        let (place, other) = (Place::new(), Place::holding(&Place::new().bytes().await));
        let client = place.client().await;
        let lease = take(&client, "x").await;
        match replace {
            true => std::fs::rename(&other.db, &place.db).expect("to replace it"),
            false => std::fs::remove_file(&place.db).expect("to remove it"),
        }
        let words = [place.db.to_str().expect("text"), "deleted or replaced", "connect again"];
        assert_says(lease.renew().await, Kind::Lost, &["not held any more"]);
        assert_says(client.lock("y").acquire().await, Kind::Refused, &words);
        assert_says(client.lock("y").try_acquire().await, Kind::Refused, &words);
        if !replace {
            // As the message says; the old client keeps its hands off the new file.
            let again = place.client().await;
            assert!(take(&again, "y").await.fence() > lease.fence());
            assert_says(client.list().await, Kind::Refused, &words);
        }
    }
}

#[tokio::test]
async fn a_release_that_finds_the_database_gone_says_that_the_lease_was_lost() {
    let place = Place::new();
    let client = place.client().await;
    let lease = client.lock("x").ttl(HOUR).acquire().await.expect("a lease");
    std::fs::remove_file(&place.db).expect("to remove it");
    assert_says(lease.release().await, Kind::Lost, &["not held any more"]);
    assert_eq!(lease.loss(), Some(Loss::Gone));
}

#[tokio::test]
async fn a_renewed_lease_is_lost_at_its_next_renewal_when_the_database_is_gone() {
    // The next renewal is within 20 s / 3, the deadline after more than 19 s.
    let ttl = Duration::from_secs(20);
    let place = Place::new();
    let client = place.client().await;
    let lease = client.lock("x").ttl(ttl).acquire().await.expect("a lease");
    std::fs::remove_file(&place.db).expect("to remove it");
    let removed = RUNTIME.now();
    assert_eq!(soon("the loss", lease.lost()).await, Loss::Gone);
    let passed = RUNTIME.now().since(removed);
    assert!(passed < ttl / 2, "lost only {passed:?} after it was removed");
    assert!(!lease.is_valid());
}
