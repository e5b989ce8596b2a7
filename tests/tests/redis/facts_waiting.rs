//! What other libraries get wrong about waiting for a lock, on a real server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::place::records::{Record, is_idle, records};
use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::{Kind, Lock, Outcome};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::processes::Process;
use leasehold_tests::proxy::Proxy;
use leasehold_tests::world::cut_at;
use rustix::process::Signal;
use tokio::task::JoinHandle;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

const MS: Duration = Duration::from_millis(1);
const SHORT: Duration = Duration::from_millis(500);

/// Start some time, and give up after some polls or some time, granted or not.
/// Answers how long that took.
async fn cancelled_somewhere(clock: Arc<ThreadRuntime>, lock: Lock) -> Duration {
    clock.sleep(MS * fastrand::u32(..1500)).await;
    let polls = if fastrand::bool() { fastrand::u32(..6) } else { u32::MAX };
    let started = now();
    tokio::select! {
        biased;
        _ = cut_at(polls, lock.acquire()) => {}
        () = clock.sleep(MS * fastrand::u32(..60)) => {}
    }
    started.elapsed()
}

/// For how long each grant was seen, by key and owner.
#[derive(Default)]
struct Grants(HashMap<(String, String), (Instant, Duration)>);

impl Grants {
    fn see(&mut self, record: Record) {
        assert!(record.lives >= 0, "it lives for ever: {record:?}");
        if record.kind == "string" && !record.is_fence() {
            let ttl = if record.key.contains("short") { SHORT } else { LONG };
            assert!(u128::try_from(record.lives).unwrap() <= ttl.as_millis(), "{record:?}");
            let grant = self.0.entry((record.key, record.value)).or_insert((now(), Duration::ZERO));
            grant.1 = grant.0.elapsed();
        }
    }

    /// None outlived its ttl after it was given up.
    fn check(&self, attempt: Duration) {
        let short = self.0.iter().filter(|((key, _), _)| key.contains("short"));
        let oldest = short.max_by_key(|(_, (_, seen))| *seen).unwrap();
        assert!(oldest.1.1 <= SHORT + attempt, "no attempt took over {attempt:?}, but {oldest:?}");
    }
}

/// A thousand attempts over a slow link, each cancelled somewhere.
#[track_caller]
fn assert_nothing_is_left_behind(disturb: impl Fn(&Place)) {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let clients = [(); 4].map(|()| place.client_of(&proxy.url()));
    proxy.delay_commands(MS * 5);
    proxy.delay_replies(MS * 5);
    let attempt = |number: usize| {
        let (kind, ttl) = if number.is_multiple_of(2) { ("short", SHORT) } else { ("long", LONG) };
        // Enough for each name to be waited for and handed on.
        let lock = clients[number % 4].lock(format!("{kind}/{}", fastrand::u32(..8))).ttl(ttl);
        place.spawn(cancelled_somewhere(place.clock(), lock))
    };
    let attempts: Vec<JoinHandle<Duration>> = (0..1000).map(attempt).collect();
    let mut seen = Grants::default();
    let all_cancelled = until(LIMIT, || {
        let all = attempts.iter().all(JoinHandle::is_finished);
        records(&place.server).into_iter().for_each(|record| seen.see(record));
        disturb(&place);
        all.then_some(())
    });
    all_cancelled.expect("all are cancelled");
    assert!(seen.0.len() > 50, "only {} were ever granted", seen.0.len());
    seen.check(attempts.into_iter().map(|attempt| place.wait(attempt).unwrap()).max().unwrap());
    proxy.delay_commands(Duration::ZERO);
    proxy.delay_replies(Duration::ZERO);
    let quiet = now();
    until(SECOND, || is_idle(&place.server).then_some(())).unwrap_or_else(|| {
        panic!("left behind after {:?}: {:#?}", quiet.elapsed(), records(&place.server))
    });
    println!("{} were granted, all clean {:?} after the end", seen.0.len(), quiet.elapsed());
}

#[test]
fn an_acquire_that_is_cancelled_anywhere_leaves_nothing_behind() {
    assert_nothing_is_left_behind(|_| {});
}

#[test]
fn an_acquire_that_is_cancelled_anywhere_leaves_nothing_behind_though_scripts_are_forgotten() {
    assert_nothing_is_left_behind(|place| {
        if fastrand::u32(..10) == 0 {
            place.server.command(&["SCRIPT", "FLUSH"]);
        }
    });
}

#[test]
fn a_killed_waiter_at_the_head_of_the_line_costs_the_next_nothing() {
    let place = Place::new();
    let (holder, next) = (place.client(), place.client());
    let lease = place.hold(&holder, "register");
    let head = Process::start(WORKER, &["hold", &place.server.url(), "20000"]);
    until(LIMIT, || (place.line("register") == 1).then_some(())).expect("the head waits");
    let waiter = place.stand_in_line(&next, "register");
    let connections = place.connections();
    head.signal(Signal::KILL);
    until(LIMIT, || (place.connections() < connections).then_some(())).expect("it is gone");
    let (_, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "{took:?}");
}

#[test]
fn a_stopped_waiter_at_the_head_of_the_line_costs_the_next_a_short_window() {
    let place = Place::new();
    let (holder, next) = (place.client(), place.client());
    let lease = place.hold(&holder, "register");
    let mut head = Process::start(WORKER, &["hold", &place.server.url(), "20000"]);
    until(LIMIT, || (place.line("register") == 1).then_some(())).expect("the head waits");
    let waiter = place.stand_in_line(&next, "register");
    head.stop();
    let (lease, took) = place.hand_over(lease, waiter);
    assert!(took < SECOND * 3, "{took:?}");
    // It was granted the lock while it was stopped, and is not to believe that.
    head.signal(Signal::CONT);
    until(LIMIT, || (place.line("register") == 1).then_some(())).expect("it waits again");
    assert!(lease.is_valid());
    place.wait(lease.release()).unwrap();
    let fence: u64 = head.line().strip_prefix("held ").unwrap().parse().unwrap();
    assert!(fence > lease.fence());
    assert_eq!(head.ask("valid"), "true");
}

#[test]
fn a_release_that_races_a_new_waiter_wakes_it() {
    const ROUNDS: usize = 500;
    let place = Place::new();
    let clients = [(); 2].map(|()| place.client());
    let mut lease = place.hold(&clients[0], "x");
    let mut took = Vec::new();
    for round in 1..=ROUNDS {
        let lock = clients[round % 2].lock("x").ttl(LONG);
        let waiter = place.spawn(async move {
            let started = now();
            let next = lock.acquire().await.unwrap();
            (next, started, now())
        });
        let start = now();
        let later = Duration::from_micros(fastrand::u64(..600));
        while start.elapsed() < later {
            std::hint::spin_loop();
        }
        let released = now();
        place.wait(lease.release()).unwrap();
        let (next, started, granted) = place.wait(waiter).unwrap();
        assert!(next.fence() > lease.fence());
        took.push(granted.saturating_duration_since(released.max(started)));
        lease = next;
    }
    took.sort();
    let (p50, p99) = (took[ROUNDS / 2], took[ROUNDS * 99 / 100]);
    println!("p50 {p50:?}, p99 {p99:?}, slowest {:?}", took[ROUNDS - 1]);
    assert!(p99 < PROMPT, "p99 of the hand-over is {p99:?}");
}

#[test]
fn a_lock_that_is_free_all_at_once_goes_to_who_waits_and_not_to_a_newcomer() {
    let place = Place::new();
    let [holder, client, newcomer] = [(); 3].map(|()| place.client());
    for _ in 0..20 {
        let lease = place.hold(&holder, "x");
        let waiter = place.stand_in_line(&client, "x");
        // As by the end of a ttl: nobody hands it on.
        place.server.command(&["DEL", "leasehold:x"]);
        assert!(place.try_hold(&newcomer, "x").is_none());
        let (next, _) = place.wait(waiter).unwrap().unwrap();
        assert!(next.fence() > lease.fence());
        place.wait(next.release()).unwrap();
    }
}

#[test]
fn locked_and_broken_are_different_answers() {
    let place = Place::new();
    let (holder, client) = (place.client(), place.client());
    let lease = place.hold(&holder, "x");
    let wait = |span| place.wait(client.lock("x").wait(span).acquire()).unwrap_err();
    let attempt = || place.wait(client.lock("x").ttl(SECOND).try_acquire());
    let locked = || {
        let error = wait(SHORT);
        assert_eq!((error.kind(), error.outcome()), (Kind::Timeout, Outcome::NotHeld), "{error}");
        assert!(attempt().unwrap().is_none());
    };
    let broken = || {
        let error = wait(SHORT);
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        let started = now();
        assert_eq!(attempt().unwrap_err().kind(), Kind::Unavailable);
        assert!(started.elapsed() < SECOND * 3, "{:?}", started.elapsed());
    };
    locked();
    place.server.freeze();
    broken();
    place.server.thaw();
    until(LIMIT, || attempt().ok()).expect("it answers again");
    locked();
    // It breaks while somebody waits.
    let waiter = place.stand_in_line(&client, "x");
    waiter.abort();
    let lock = client.lock("x").wait(SECOND);
    let waiter = place.queue(lock);
    until(LIMIT, || (place.line("x") > 0).then_some(())).unwrap();
    place.server.kill();
    assert_eq!(place.wait(waiter).unwrap().unwrap_err().kind(), Kind::Unavailable);
    broken();
    drop(lease);
}
