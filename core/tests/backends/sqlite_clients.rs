//! What clients of one SQLite file do to each other.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use leasehold::runtime::Runtime;
use leasehold::{Kind, Loss, connect};

use crate::place::{
    HOUR, Place, RUNTIME, assert_says, in_line, is_free, soon, status, take, until, url,
};

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
    assert!(x.holder().is_some_and(|holder| holder.label.ends_with(" first")), "{x:?}");
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
    // One that was killed in the middle of its connect may have left half a name.
    for name in ["0123456789abcdef", "0123456789abcdef.new"] {
        let dead = place.bells().join(name);
        drop(std::os::unix::net::UnixListener::bind(&dead).expect("a socket"));
        let next = place.client().await;
        until("the dead one's is swept", async || !dead.exists()).await;
        next.close().await;
    }
    let _next = place.client().await;
    until("the closed ones' are gone", async || place.sockets().len() == 2).await;
    left.retain(|socket| place.sockets().contains(socket));
    assert_eq!(left.len(), 1, "a living one's was swept");
}

/// The log is moved into the database while it is written, and cut.
#[tokio::test]
async fn the_log_of_a_busy_client_stays_short_and_is_cut_when_it_was_long() {
    const SHORT: u64 = 4 << 20;
    let place = Place::new();
    let client = place.client().await;
    let log = place.path().join("locks.db-wal");
    let size = || std::fs::metadata(&log).expect("a log").len();
    let mut longest = 0;
    for number in 0..6000 {
        let lock = client.lock(format!("job {}", number % 50));
        lock.acquire().await.expect("a lease").release().await.expect("held to the end");
        longest = longest.max(size());
    }
    until("the log is short", async || {
        take(&client, "x").await.release().await.expect("held to the end");
        size() <= SHORT
    })
    .await;
    assert!(longest < 8 * SHORT, "it grew to {longest} bytes");
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

/// Whoever is quick takes the database's lock thousands of times a second; the
/// others still come through with their renewals.
#[test]
fn long_leases_are_kept_beside_many_short_locks() {
    const LEASES: usize = 40;
    let (place, stop) = (Place::new(), AtomicBool::new(false));
    let pairs = AtomicU64::new(0);
    let in_runtime = |work: &dyn Fn(&tokio::runtime::Runtime)| {
        let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
        work(&built.expect("a Tokio runtime can be built"));
    };
    let short = |number: u64| {
        in_runtime(&|runtime| {
            runtime.block_on(async {
                let client = place.client().await;
                let lock = client.lock(format!("short {number}"));
                while !stop.load(Ordering::Relaxed) {
                    let lease = lock.acquire().await.expect("a lease");
                    lease.release().await.expect("held to the end");
                    pairs.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
    };
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let short = &short;
            scope.spawn(move || short(number));
        }
        in_runtime(&|runtime| {
            runtime.block_on(async {
                let client = place.client().await;
                let mut leases = Vec::new();
                for number in 0..LEASES {
                    let lock = client.lock(format!("long {number}")).ttl(Duration::from_secs(2));
                    leases.push(lock.acquire().await.expect("a lease"));
                }
                RUNTIME.sleep(Duration::from_secs(6)).await;
                stop.store(true, Ordering::Relaxed);
                let kept = leases.iter().filter(|lease| lease.is_valid()).count();
                eprintln!("{} pairs/s", pairs.load(Ordering::Relaxed) / 6);
                assert_eq!(kept, LEASES);
            });
        });
    });
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

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[allow(clippy::disallowed_methods)] // tasks of this runtime
async fn clients_that_look_around_together_are_not_in_each_others_way() {
    let place = Place::new();
    let mut looking = Vec::new();
    for _ in 0..8 {
        let client = place.client().await;
        looking.push(tokio::spawn(async move {
            for _ in 0..50 {
                client.list().await.expect("nobody keeps the database locked");
            }
        }));
    }
    for look in looking {
        look.await.expect("no panic");
    }
}
