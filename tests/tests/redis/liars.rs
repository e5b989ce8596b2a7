//! A server that cannot be trusted, and what comes of it: errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::place::SECOND;
use leasehold::runtime::Runtime;
use leasehold::{Error, Options};
use leasehold_tests::liar::Liar;
use leasehold_tests::patience::{LIMIT, now};
use leasehold_tests::scene::Scene;

/// So many clients at a time.
const AT_ONCE: usize = 64;
/// What an ordinary run of the tests has time for; with `LEASEHOLD_SESSIONS=20000`
/// it is as many as that.
const TIME: std::time::Duration = SECOND.saturating_mul(10);

/// What a client does before it has had enough of its server. Answers whether it
/// has ever been told that it holds something.
async fn is_fooled(url: String, runtime: Arc<dyn Runtime>) -> bool {
    let client = Options::new().runtime(runtime).client(&url).unwrap();
    let lock = || client.lock("x").ttl(SECOND / 5).wait(SECOND / 50);
    for round in 0..4 {
        let lease = match round % 2 {
            0 => without_bugs(lock().try_acquire().await).flatten(),
            _ => without_bugs(lock().acquire().await),
        };
        without_bugs(client.status("x").await);
        if lease.is_some() {
            return true;
        }
    }
    without_bugs(client.list().await);
    without_bugs(client.break_lock("x").await);
    false
}

/// A panic of ours is an error by now.
#[track_caller]
fn without_bugs<T>(result: Result<T, Error>) -> Option<T> {
    if let Err(e) = &result {
        assert!(!e.to_string().contains("bug of Leasehold"), "{e}");
    }
    result.ok()
}

#[test]
fn a_server_that_says_anything_at_any_time_makes_nobody_believe_to_hold() {
    #[allow(clippy::disallowed_methods)] // it is a test
    let whole = std::env::var("LEASEHOLD_SESSIONS").ok();
    let whole: Option<u64> = whole.map(|sessions| sessions.parse().expect("a number"));
    let (scene, liar) = (Arc::new(Scene::new()), Liar::of(14));
    let url = format!("{}?connect_timeout=200ms&response_timeout=60ms", liar.url());
    let (begun, end) = (Arc::new(AtomicU64::new(0)), now() + TIME);
    let goes_on = move |number: u64| match whole {
        Some(whole) => number < whole,
        None => now() < end,
    };
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (url, clock, begun) = (url.clone(), scene.clock(), begun.clone());
            scene.spawn(async move {
                let mut fooled = 0;
                while goes_on(begun.fetch_add(1, Ordering::SeqCst)) {
                    tokio::select! {
                        is_fooled = is_fooled(url.clone(), clock.clone()) => {
                            fooled += u64::from(is_fooled);
                        }
                        () = clock.sleep(LIMIT) => panic!("a client hangs"),
                    }
                }
                fooled
            })
        })
        .collect();
    let mut fooled = 0;
    for worker in workers {
        while !worker.is_finished() {
            scene.pass(SECOND / 20);
        }
        fooled += scene.wait(worker).expect("no panic");
    }
    let sessions = begun.load(Ordering::SeqCst) - AT_ONCE as u64;
    let [connections, claims, lies] = liar.seen();
    println!("{sessions} sessions, {connections} connections, {claims} claims, {lies} lies");
    assert_eq!(fooled, 0, "of {sessions} clients so many believed to hold what nobody gave them");
    assert!(claims > sessions && lies > sessions / 4, "{claims} claims, {lies} lies");
}
