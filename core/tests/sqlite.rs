//! The embedded backend on real files, through the public face: what people
//! see when the file or its directory is not as it should be, and what clients
//! do to each other. Times are real; whatever has a bound has a generous one.
#![cfg(feature = "sqlite")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::Clock;
use leasehold::{Client, Error, Kind, Lease, Loss, Options, Status, connect};

/// A bound for broken code; nothing has to be fast.
const LIMIT: Duration = Duration::from_secs(20);
/// No renewal and no expiry within a test.
const HOUR: Duration = Duration::from_secs(3600);
/// Where SQLite's header keeps the two numbers that tell whose file it is.
const USER_VERSION: usize = 60;
const APPLICATION_ID: usize = 68;

static RUNTIME: LazyLock<Arc<ThreadRuntime>> =
    LazyLock::new(|| ThreadRuntime::start().expect("a thread"));

/// A directory of a test's own, for one database.
struct Place {
    dir: tempfile::TempDir,
    db: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let db = dir.path().join("locks.db");
        Self { dir, db }
    }

    fn holding(bytes: &[u8]) -> Self {
        let place = Self::new();
        std::fs::write(&place.db, bytes).expect("a file");
        place
    }

    async fn client(&self) -> Client {
        connect(&url(&self.db)).await.expect("a client")
    }

    /// The file as it is with everything in it that was committed. Every client
    /// checkpoints in the background when it opens the file, before it answers
    /// its first `list`.
    async fn bytes(&self) -> Vec<u8> {
        self.client().await.list().await.expect("a list");
        std::fs::read(&self.db).expect("a file")
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn bells(&self) -> PathBuf {
        self.path().join("locks.db-bells")
    }

    fn sockets(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.bells()).expect("a directory").flatten();
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = event => done,
        () = RUNTIME.sleep(LIMIT) => panic!("not within {LIMIT:?}: {what}"),
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !done().await {
            RUNTIME.sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, poll).await;
}

/// Drive `waiting` until `count` wait for the lock of this name.
async fn in_line(waiting: &mut (impl Future + Unpin), observer: &Client, lock: &str, count: usize) {
    let seen = until("a place in the line", async || {
        let status = observer.status(lock).await.expect("a status");
        status.is_some_and(|status| status.waiters.len() == count)
    });
    tokio::select! {
        biased;
        _ = waiting => panic!("it was to wait"),
        () = seen => {}
    }
}

async fn take(client: &Client, lock: &str) -> Lease {
    client.lock(lock).ttl(HOUR).acquire().await.expect("a lease")
}

async fn is_free(client: &Client, lock: &str) -> bool {
    client.lock(lock).try_acquire().await.expect("an answer").is_some()
}

async fn status(client: &Client, lock: &str) -> Status {
    client.status(lock).await.expect("a status").expect("it is in use")
}

#[track_caller]
fn assert_says<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind, words: &[&str]) {
    let error = result.expect_err("an error");
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

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
        let holder = status(&client, "x").await.holder.expect("a holder");
        assert!(holder.label.ends_with(&format!(":{} {label}", std::process::id())), "{holder:?}");
        assert!(holder.free_in > ttl - HOUR / 2 && holder.free_in <= ttl, "{holder:?}");
        lease.release().await.expect("held to the end");
    }
}

#[tokio::test]
async fn a_bad_option_is_named_and_makes_no_file() {
    let place = Place::new();
    for (query, words) in [
        ("tll=30s", ["tll", "there are ttl, wait, max_hold, label"]),
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
    let all = "there are sqlite:PATH, sqlite: and memory:";
    for (url, named) in [
        ("locks.db", r#""locks.db""#),
        ("/tmp/locks.db", r#""/tmp/locks.db""#),
        ("", r#""""#),
        ("SQLITE", r#""SQLITE""#),
        ("floppy://user:secret@a/b", r#""floppy""#),
    ] {
        assert_says(connect(url).await, Kind::Invalid, &[named, all]);
    }
    let secret = connect("floppy://user:secret@a/b").await.expect_err("unknown");
    assert!(!secret.to_string().contains("secret"), "{secret}");
    assert_says(connect("memory:x").await, Kind::Invalid, &["memory:", r#""x""#]);
}

#[tokio::test]
async fn a_path_longer_than_a_socket_address_still_has_working_bells() {
    let place = Place::new();
    let dir = place.path().join("d".repeat(200));
    std::fs::create_dir(&dir).expect("a directory");
    let url = url(&dir.join("locks.db"));
    let (a, b) = (connect(&url).await.expect("a client"), connect(&url).await.expect("a client"));
    let first = take(&a, "x").await;
    let mut waiting = Box::pin(take(&b, "x"));
    in_line(&mut waiting, &a, "x", 1).await;
    first.release().await.expect("held to the end");
    let second = soon("the lock", waiting).await;
    assert!(second.fence() > first.fence());
    // Its next renewal is minutes away: only a ring tells the holder.
    assert!(a.break_lock("x").await.expect("an answer"));
    assert_eq!(soon("the loss", second.lost()).await, Loss::Gone);
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
        assert_says(lease.renew().await, Kind::Refused, &words);
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
async fn a_renewed_lease_is_lost_before_its_deadline_when_the_database_is_gone() {
    let ttl = Duration::from_secs(5);
    let place = Place::new();
    let client = place.client().await;
    let lease = client.lock("x").ttl(ttl).acquire().await.expect("a lease");
    std::fs::remove_file(&place.db).expect("to remove it");
    let last_renewal = RUNTIME.now();
    assert_eq!(soon("the loss", lease.lost()).await, Loss::Expired);
    let passed = RUNTIME.now().since(last_renewal);
    assert!(passed < ttl, "lost only {passed:?} after it can have been renewed");
    assert!(!lease.is_valid());
}

#[tokio::test]
async fn a_broken_lock_goes_to_its_waiter_and_its_holder_hears_of_it() {
    let place = Place::new();
    let (a, b) = (place.client().await, place.client().await);
    let lease = a.lock("x").ttl(HOUR).label("first").acquire().await.expect("a lease");
    assert!(!is_free(&b, "x").await);
    let second = b.lock("x").label("second");
    let mut waiting = Box::pin(second.acquire());
    in_line(&mut waiting, &a, "x", 1).await;

    let listed = b.list().await.expect("a list");
    let [x] = &*listed else { panic!("one lock is in use, not {listed:?}") };
    assert_eq!((x.name.as_str(), x.fence), ("x", lease.fence()));
    assert!(x.holder.as_ref().is_some_and(|holder| holder.label.ends_with(" first")), "{x:?}");
    assert!(x.waiters[0].ends_with(" second"), "{x:?}");

    assert!(b.break_lock("x").await.expect("an answer"));
    // Its next renewal is minutes away: only a ring tells the holder.
    assert_eq!(soon("the loss", lease.lost()).await, Loss::Gone);
    let next = soon("the lock", waiting).await.expect("a lease");
    assert!(next.fence() > lease.fence());
    assert_says(lease.release().await, Kind::Lost, &["\"x\"", "locks.db"]);
    assert!(!b.break_lock("nobody's").await.expect("an answer"));
    assert_eq!(b.status("nobody's").await.expect("a status"), None);
}

#[tokio::test]
async fn a_client_that_is_dropped_frees_its_locks_long_before_the_ttl() {
    let place = Place::new();
    let (a, b) = (place.client().await, place.client().await);
    let leases = (take(&a, "x").await, take(&a, "y").await);
    let mut waiting = Box::pin(async { (take(&b, "x").await, take(&b, "y").await) });
    in_line(&mut waiting, &b, "x", 1).await;
    drop((a, leases));
    soon("both locks", waiting).await;
}

#[tokio::test]
async fn a_waiting_client_that_is_dropped_does_not_hold_up_the_line() {
    let place = Place::new();
    let (a, b, c) = (place.client().await, place.client().await, place.client().await);
    let lease = take(&a, "x").await;
    let mut leaving = Box::pin(take(&b, "x"));
    in_line(&mut leaving, &a, "x", 1).await;
    let mut staying = Box::pin(take(&c, "x"));
    in_line(&mut staying, &a, "x", 2).await;
    drop(leaving);
    drop(b);
    lease.release().await.expect("held to the end");
    soon("the lock", staying).await;
}

#[tokio::test]
async fn sockets_go_with_their_clients_and_those_of_the_dead_at_the_next_connect() {
    let place = Place::new();
    let (closed, dropped) = (place.client().await, place.client().await);
    for client in [&closed, &dropped] {
        client.list().await.expect("a list"); // after this it sweeps no more
    }
    let lease = take(&dropped, "x").await;
    assert_eq!(place.sockets().len(), 2);
    closed.close().await;
    drop((closed, dropped, lease));
    until("no sockets are left", async || place.sockets().is_empty()).await;

    let _living = place.client().await;
    let mut left = place.sockets();
    let dead = place.bells().join("0123456789abcdef");
    drop(std::os::unix::net::UnixListener::bind(&dead).expect("a socket"));
    let _next = place.client().await;
    until("the dead one's is swept", async || !dead.exists()).await;
    left.retain(|socket| place.sockets().contains(socket));
    assert_eq!((left.len(), place.sockets().len()), (1, 2), "a living one's was swept");
}

const THREADS: u64 = 8;
const ROUNDS: u64 = 200;

/// Count up under the lock, without any other protection; note each fence.
async fn count(place: &Place, counter: &AtomicU64, seen: &Mutex<Vec<(u64, u64)>>) {
    let lock = place.client().await.lock("counter").ttl(HOUR);
    for _ in 0..ROUNDS {
        let lease = lock.acquire().await.expect("a lease");
        let count = counter.load(Ordering::Relaxed) + 1;
        std::thread::yield_now();
        counter.store(count, Ordering::Relaxed);
        seen.lock().expect("a list").push((count, lease.fence()));
        lease.release().await.expect("held to the end");
    }
}

#[test]
fn clients_that_count_together_lose_nothing_and_their_fences_rise_with_the_count() {
    let (place, counter, seen) = (Place::new(), AtomicU64::new(0), Mutex::default());
    let run = || {
        let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
        built.expect("a Tokio runtime can be built").block_on(count(&place, &counter, &seen));
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(run))));
    let mut seen = seen.into_inner().expect("a list");
    seen.sort_unstable();
    assert!(seen.iter().map(|(count, _)| *count).eq(1..=THREADS * ROUNDS), "updates were lost");
    assert!(seen.is_sorted_by(|(_, before), (_, after)| before < after), "a fence fell");
}

#[tokio::test]
async fn a_closed_client_gives_everything_back_and_ends_its_waits() {
    let place = Place::new();
    let (a, b) = (place.client().await, place.client().await);
    let (lease, elsewhere) = (take(&a, "x").await, take(&b, "y").await);
    let (own, others) = (a.lock("x"), a.lock("y"));
    let mut waits = Box::pin(async { tokio::join!(own.acquire(), others.acquire()) });
    in_line(&mut waits, &b, "y", 1).await;
    let ((own, others), ()) = soon("the close", async { tokio::join!(waits, a.close()) }).await;
    assert_says(own, Kind::Closed, &["connect again"]);
    assert_says(others, Kind::Closed, &["connect again"]);
    assert_eq!(lease.loss(), Some(Loss::Closed));
    assert!(is_free(&b, "x").await, "the close was confirmed before");
    assert!(elsewhere.is_valid());
    // Its waiting calls take themselves out of the line; they may be polled last.
    until("its place is left", async || status(&b, "y").await.waiters.is_empty()).await;
    assert_says(a.list().await, Kind::Closed, &["connect again"]);
}
