//! What a client tells of its leases, on virtual time, by name.

use std::task::{Context, Waker};

use leasehold::{Client, Event, Events, Loss, What};
use leasehold_tests::wire::{TTL, hold, on_virtual_time};

/// What is to be read until the client is closed.
async fn rest(client: Client, events: Events) -> Vec<String> {
    client.close().await;
    let mut told = Vec::new();
    while let Some(Event { lock, what, .. }) = events.next().await {
        told.push(format!("{lock} {}", what.code()));
    }
    told
}

#[test]
fn what_is_held_and_given_back_is_told() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let unseen = hold(&client, "before").await;
        let events = client.events();
        let (one, two) = (hold(&client, "a").await, hold(&client, "b").await);
        one.release().await.expect("held");
        one.release().await.expect("the same answer again");
        drop(two);
        drop(unseen);
        let told = rest(client, events).await;
        assert_eq!(
            told,
            ["a acquired", "b acquired", "a released", "b released", "before released"]
        );
    });
}

#[test]
fn a_grant_that_nobody_takes_is_told_as_given_back() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let holder = hold(&client, "a").await;
        let events = client.events();
        let lock = client.lock("a");
        let mut waiter = Box::pin(lock.acquire());
        assert!(waiter.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        world.settle().await;
        holder.release().await.expect("held");
        world.settle().await;
        drop(waiter);
        world.settle().await;
        let told = rest(client, events).await;
        assert_eq!(told, ["a released", "a acquired", "a released"]);
    });
}

#[test]
fn a_loss_is_told_once_with_its_reason() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let events = client.events();
        let lease = hold(&client, "a").await;
        let acquired = events.next().await.expect("an event");
        assert_eq!((acquired.lock.as_str(), acquired.fence), ("a", lease.fence()));
        other.break_lock("a").await.expect("an answer");
        lease.lost().await;
        drop(lease);
        let kept = hold(&client, "b").await;
        client.close().await;
        let mut told = Vec::new();
        while let Some(event) = events.next().await {
            told.push(match event.what {
                What::Lost(loss) => format!("{} lost {}", event.lock, loss.code()),
                what => format!("{} {}", event.lock, what.code()),
            });
        }
        assert_eq!(kept.loss(), Some(Loss::Closed));
        assert_eq!(told, ["a lost gone", "b acquired", "b lost closed"]);
    });
}

#[test]
fn the_first_of_a_row_of_failing_renewals_is_told() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let events = client.events();
        let lease = hold(&client, "a").await;
        for _ in 0..2 {
            wire.cut(true);
            world.truth.sleep(TTL / 2).await;
            wire.cut(false);
            world.truth.sleep(TTL).await;
        }
        wire.cut(true);
        lease.lost().await;
        let told = rest(client, events).await;
        let failed = "a renewal_failed";
        assert_eq!(told, ["a acquired", failed, failed, failed, "a lost"]);
    });
}

#[test]
fn a_reader_that_is_far_behind_misses_the_oldest() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let events = client.events();
        for number in 0..1_000 {
            hold(&client, &format!("{number}")).await.release().await.expect("held");
        }
        let told = rest(client, events).await;
        assert_eq!(told.len(), 1024);
        assert_eq!(told[0], "488 acquired");
        assert_eq!(told[1023], "999 released");
    });
}

#[test]
fn the_events_end_with_the_client() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let events = client.events();
        drop(client);
        assert!(events.next().await.is_none());
        let (client, _) = world.client();
        client.close().await;
        assert!(client.events().next().await.is_none());
    });
}
