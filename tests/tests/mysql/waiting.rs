//! Who waits, and many who contend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::place::{LONG, Place, SECOND};
use leasehold::runtime::Runtime;
use leasehold_tests::servers::MysqlSettings;

#[test]
fn the_first_of_the_line_asks_ten_times_in_a_second() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let took = (0..20).map(|round| {
        let name = format!("x{round}");
        let (lease, waiter) = (place.hold(&a, &name), place.stand_in_line(&b, &name));
        place.hand_over(lease, waiter).1
    });
    let took: std::time::Duration = took.sum();
    assert!(took < 4 * SECOND, "{took:?}");
    assert!(a.caveats().is_empty(), "{:?}", a.caveats());
}

#[test]
fn a_waiter_that_is_gone_keeps_the_others_for_no_longer_than_its_place() {
    let place = Place::new();
    let (a, dead, b) = (place.client(), place.client(), place.client());
    let lease = place.hold(&a, "x");
    let first = place.stand_in_line(&dead, "x");
    let second = place.stand_in_line(&b, "x");
    // As if its process had died: nobody takes its place back.
    place.server.sql(
        "UPDATE leasehold SET line = JSON_SET(line, '$[0].owner', \
         '000000000000000000000000000000aa'), version = version + 1 WHERE name = 'x'",
    );
    first.abort();
    let (_, took) = place.hand_over(lease, second);
    assert!(took < 4 * SECOND, "{took:?}");
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
    let deadlocks = "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'";
    assert_eq!(place.server.sql(deadlocks), "Innodb_deadlocks\t0");
}

#[test]
fn a_crash_that_may_forget_leases_is_told() {
    let option = "--innodb-flush-log-at-trx-commit=2";
    let place = Place::on(MysqlSettings::default().option(option));
    let caveats = place.client().caveats();
    assert!(caveats.len() == 1 && caveats[0].contains("innodb_flush"), "{caveats:?}");
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
