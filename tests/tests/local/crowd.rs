//! What many leases and many waiters of one client cost, on virtual time and in
//! numbers of requests.

use std::time::Duration;

use leasehold::Client;
use leasehold_tests::wire::{hold, on_virtual_time, spawn};
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);

/// So many wait for the lock of this name.
fn crowd(client: &Client, name: &str, many: usize) -> Vec<JoinHandle<()>> {
    let wait = |_| {
        let lock = client.lock(name);
        spawn(async move { drop(lock.acquire().await) })
    };
    (0..many).map(wait).collect()
}

#[test]
fn whoever_leaves_from_the_middle_of_a_line_wakes_nobody() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let lease = hold(&other, "x").await;
        let waiters = crowd(&client, "x", 1000);
        world.settle().await;
        let [before, ..] = wire.requests();
        for waiter in &waiters[1..] {
            waiter.abort();
            tokio::task::yield_now().await;
        }
        let [claims, ..] = wire.requests();
        assert!(claims <= before + 1, "{} claims when 999 left", claims - before);
        lease.release().await.expect("held");
        world.settle().await;
        assert!(waiters[0].is_finished());
    });
}

#[test]
fn whoever_leaves_the_head_of_a_line_wakes_the_next() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let _lease = hold(&other, "x").await;
        let waiters = crowd(&client, "x", 2);
        world.settle().await;
        let [before, ..] = wire.requests();
        waiters[0].abort();
        world.settle().await;
        assert_eq!(wire.requests()[0], before + 1);
    });
}

#[test]
fn many_waiting_names_ask_again_within_a_budget_and_keep_their_places() {
    const NAMES: usize = 5000;
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let names: Vec<String> = (0..NAMES).map(|number| format!("x{number}")).collect();
        let mut leases = Vec::new();
        for name in &names {
            leases.push(hold(&other, name).await);
        }
        let waiters: Vec<_> = names.iter().flat_map(|name| crowd(&client, name, 1)).collect();
        world.truth.sleep(SECOND * 15).await;
        let [before, ..] = wire.requests();
        world.truth.sleep(SECOND * 20).await;
        let [after, ..] = wire.requests();
        assert!(after - before <= 20 * 1000, "{} claims in 20 s", after - before);
        for name in &names {
            let seen = other.status(name).await.expect("an answer").expect("held");
            assert_eq!(seen.waiters.len(), 1, "{name}");
        }
        drop((leases, waiters));
    });
}

#[test]
fn a_few_waiting_names_ask_again_as_often_as_ever() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let names: Vec<String> = (0..20).map(|number| format!("x{number}")).collect();
        let mut leases = Vec::new();
        for name in &names {
            leases.push(hold(&other, name).await);
        }
        // Those of a lock that is held in this client do not ask.
        let _held = hold(&client, "held").await;
        let _behind = crowd(&client, "held", 2000);
        let _waiters: Vec<_> = names.iter().flat_map(|name| crowd(&client, name, 1)).collect();
        world.settle().await;
        let [before, ..] = wire.requests();
        world.truth.sleep(SECOND * 7).await;
        let [after, ..] = wire.requests();
        assert!((200..=240).contains(&(after - before)), "{} claims in 7 s", after - before);
    });
}
