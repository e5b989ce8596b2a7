//! A link that is lent to the runtime of whoever waits, when that does not go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::place::{LONG, Place, SECOND};
use leasehold::Client;
use leasehold_tests::patience::now;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Take and give back until the link is lent here.
async fn borrow(client: &Client, name: &str) {
    for _ in 0..50 {
        let lease = client.lock(name).ttl(LONG).acquire().await.unwrap();
        lease.release().await.unwrap();
    }
}

/// Somebody in a thread and a runtime of their own, until they are told to stop;
/// answers how long the slowest pair took.
fn others(client: &Client, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Duration> {
    let (client, stop) = (client.clone(), stop.clone());
    std::thread::spawn(move || {
        runtime().block_on(async {
            let mut slowest = Duration::ZERO;
            while !stop.load(Ordering::SeqCst) {
                let started = now();
                borrow(&client, "others").await;
                slowest = slowest.max(started.elapsed() / 50);
            }
            slowest
        })
    })
}

#[test]
fn a_loop_that_is_blocked_while_it_has_the_loan_loses_no_lease() {
    for beside_others in [false, true] {
        let place = Place::new();
        let client = place.client();
        let (stop, here) = (Arc::new(AtomicBool::new(false)), runtime());
        let lease = here.block_on(async {
            borrow(&client, "mine").await;
            client.lock("kept").ttl(SECOND).acquire().await.unwrap()
        });
        let others = beside_others.then(|| others(&client, &stop));
        here.block_on(async {
            borrow(&client, "mine").await;
            // Three times its ttl.
            std::thread::sleep(SECOND * 3);
        });
        assert!(lease.is_valid(), "{:?}", lease.loss());
        stop.store(true, Ordering::SeqCst);
        let slowest = others.map(|others| others.join().unwrap());
        println!("the slowest of the others: {slowest:?}");
        here.block_on(lease.release()).unwrap();
    }
}

#[test]
fn a_runtime_that_is_dropped_while_it_has_the_loan_loses_no_lease() {
    let place = Place::new();
    let client = place.client();
    let lease = place.wait(client.lock("kept").ttl(SECOND).acquire()).unwrap();
    for _ in 0..20 {
        let here = runtime();
        here.block_on(borrow(&client, "mine"));
        drop(here);
        place.wait(borrow(&client, "mine"));
    }
    place.pass(SECOND * 3 / 2);
    assert!(lease.is_valid(), "{:?}", lease.loss());
}

#[test]
fn a_runtime_without_io_is_served_all_the_same() {
    let place = Place::new();
    let client = place.client();
    let here = Builder::new_current_thread().enable_time().build().unwrap();
    here.block_on(borrow(&client, "mine"));
}
