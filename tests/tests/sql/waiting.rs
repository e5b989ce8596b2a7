//! Who waits, and many who contend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::dialect;
use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::runtime::Runtime;
use leasehold_tests::patience::now;
use leasehold_tests::proxy::Proxy;

#[test]
fn a_waiter_that_is_gone_keeps_the_others_for_no_longer_than_its_place() {
    let place = Place::new();
    let (a, dead, b) = (place.client(), place.client(), place.client());
    let lease = place.hold(&a, "x");
    let first = place.stand_in_line(&dead, "x");
    let second = place.stand_in_line(&b, "x");
    // As if its process had died: nobody takes its place back.
    place.server.sql(dialect::REPLACE_FIRST);
    first.abort();
    let (_, took) = place.hand_over(lease, second);
    assert!(took < 4 * SECOND, "{took:?}");
}

#[test]
fn who_joins_the_line_while_the_lock_is_released_gets_it() {
    let place = Place::new();
    let proxy = Proxy::of_bytes(place.server.port());
    let url = place.server.url();
    let url = url.replace(&place.server.port().to_string(), &proxy.port().to_string());
    let (holder, client) = (place.client(), place.client_of(&url));
    place.wait(place.hold(&client, "warm").release()).unwrap();
    // It hears that the lock is busy when it no longer is.
    proxy.delay_replies(2 * PROMPT / 3);
    let mut held = Vec::new();
    for round in 0..4 {
        let lock = holder.lock(format!("x{round}")).ttl(10 * SECOND);
        let lease = place.wait(lock.acquire()).unwrap();
        let joins = place.queue(client.lock(lease.name()).ttl(LONG));
        place.pass(PROMPT / 3);
        place.wait(lease.release()).unwrap();
        let released = now();
        let (next, at) = place.granted(joins);
        assert!(next.fence() > lease.fence());
        let took = at.saturating_duration_since(released);
        assert!(took < 5 * SECOND, "it was held again: {took:?}");
        // Its release would keep the next claim from being sent in time.
        held.push(next);
    }
}

/// Of one that holds alone; of one that shares it is 1.
const ALONE: u32 = 1000;

#[test]
fn many_who_contend_are_never_locked_out_of_each_other() {
    let place = Place::new();
    let inside: Arc<[AtomicU32; 3]> = Arc::default();
    let workers: Vec<_> = (0..6)
        .map(|number| {
            let inside = inside.clone();
            let (a, b) = (place.client(), place.client());
            place.spawn(async move {
                for round in 0..40 {
                    let client = if round % 2 == 0 { &a } else { &b };
                    let which = (number + round) % 2;
                    let lock = client.lock(format!("x{which}")).ttl(LONG);
                    let (lock, weight) = match round % 3 {
                        0 => (lock.shared(), 1),
                        _ => (lock, ALONE),
                    };
                    let lease = lock.acquire().await.unwrap();
                    let others = inside[which].fetch_add(weight, Ordering::SeqCst);
                    assert!(others == 0 || weight == 1 && others < ALONE, "two hold it");
                    let counted = client.lock("gpu").permits(2).ttl(LONG).acquire().await.unwrap();
                    assert!(inside[2].fetch_add(1, Ordering::SeqCst) < 2, "three have permits");
                    tokio::task::yield_now().await;
                    inside[2].fetch_sub(1, Ordering::SeqCst);
                    counted.release().await.unwrap();
                    inside[which].fetch_sub(weight, Ordering::SeqCst);
                    lease.release().await.unwrap();
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| place.wait(worker).unwrap());
    dialect::check_that_nothing_deadlocked(&place.server);
}

/// How many share a lock at once, and how often each of them.
const CROWD: usize = 40;
const ROUNDS: u32 = 3;

#[test]
fn a_crowd_shares_one_lock_and_nobody_is_turned_away() {
    let place = Place::new();
    let clients: Vec<_> = (0..CROWD).map(|_| place.client()).collect();
    let clock = place.clock();
    let all: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let clock = clock.clone();
            place.spawn(async move {
                for _ in 0..ROUNDS {
                    let lease = client.lock("x").ttl(3 * SECOND).shared().acquire().await.unwrap();
                    clock.sleep(3 * SECOND).await;
                    lease.release().await.unwrap();
                }
            })
        })
        .collect();
    all.into_iter().for_each(|one| place.wait(one).unwrap());
}
