//! How a lease ends, which everybody is told alike, on virtual time.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use leasehold::{Client, Events, Kind, Loss, Outcome};
use leasehold_tests::wire::{Wire, World, hold, on_virtual_time, spawn};
use leasehold_tests::world::cut_at;

const SECOND: Duration = Duration::from_secs(1);

/// Take the lock from its holder, who is not told.
async fn take_away(world: &World, wire: &Wire, name: &str) {
    wire.deafen(true);
    let (other, _) = world.client();
    assert!(other.break_lock(name).await.expect("an answer"));
    world.settle().await;
    wire.deafen(false);
}

/// What is told until the client is closed.
async fn rest(client: &Client, events: Events) -> Vec<String> {
    client.close().await;
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        let reason = event.what.reason().map(|reason| format!(" {reason}"));
        told.push(format!("{}{}", event.what.code(), reason.unwrap_or_default()));
    }
    told
}

#[test]
fn a_loss_that_only_the_release_finds_is_one_for_everybody() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let events = client.events();
        let lease = hold(&client, "x").await;
        let watch = lease.watch();
        take_away(&world, &wire, "x").await;
        assert!(lease.is_valid(), "nobody has said anything yet");
        assert_eq!(lease.release().await.expect_err("gone").kind(), Kind::Lost);
        assert_eq!(lease.release().await.expect_err("the same again").kind(), Kind::Lost);
        assert_eq!((lease.loss(), watch.ended().await), (Some(Loss::Gone), Some(Loss::Gone)));
        assert_eq!(lease.lost().await, Loss::Gone);
        assert_eq!(lease.check().expect_err("over").kind(), Kind::Lost);
        assert_eq!(rest(&client, events).await, ["acquired", "lost gone"]);
    });
}

#[test]
fn a_dropped_lease_that_was_gone_is_told_as_lost() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let events = client.events();
        let lease = hold(&client, "x").await;
        let watch = lease.watch();
        take_away(&world, &wire, "x").await;
        drop(lease);
        assert_eq!(watch.ended().await, Some(Loss::Gone));
        assert_eq!(rest(&client, events).await, ["acquired", "lost gone"]);
    });
}

#[test]
fn work_that_was_not_done_under_the_lock_is_lost_however_it_ended() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let events = client.events();
        let lock = client.lock("x");
        let result = lock
            .run(async |_| {
                take_away(&world, &wire, "x").await;
                "all went well"
            })
            .await;
        assert_eq!(result.expect_err("lost").kind(), Kind::Lost);
        assert_eq!(rest(&client, events).await, ["acquired", "lost gone"]);
    });
}

#[test]
fn who_releases_after_the_deadline_has_lost_it_though_the_server_holds_it_yet() {
    on_virtual_time(async |world| {
        let (client, _, machine) = world.client_that_stops();
        let events = client.events();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        // As a program that was stopped: its own tasks have not looked either.
        machine.stop();
        world.truth.sleep(lease.remaining()).await;
        assert!(!world.is_free("x").await, "within the margin for clocks");
        machine.go_on();
        assert_eq!(lease.release().await.expect_err("used too long").kind(), Kind::Lost);
        assert_eq!(rest(&client, events).await, ["acquired", "lost expired"]);
    });
}

#[test]
fn a_release_without_an_answer_ends_a_lease_that_was_held() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let events = client.events();
        let lease = hold(&client, "x").await;
        wire.cut(true);
        let unknown = lease.release().await.expect_err("cut off");
        assert_eq!(unknown.kind(), Kind::Unavailable);
        assert_eq!(lease.loss(), None, "it was held until it was given back");
        wire.cut(false);
        world.truth.sleep(SECOND * 2).await;
        assert!(world.is_free("x").await, "released in the background");
        let again = lease.release().await.expect_err("the same answer");
        assert_eq!(again.to_string(), unknown.to_string());
        lease.finish().await.expect("the work was done in time");
        assert_eq!(rest(&client, events).await, ["acquired", "released unavailable"]);
    });
}

#[test]
fn a_second_release_waits_for_the_first_and_hears_the_same() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        for is_gone in [false, true] {
            let lease = std::sync::Arc::new(hold(&client, "x").await);
            if is_gone {
                take_away(&world, &wire, "x").await;
            }
            wire.slow_releases(SECOND);
            let first = spawn({
                let lease = lease.clone();
                async move { lease.release().await.map_err(|e| e.kind()) }
            });
            world.settle().await;
            assert!(!lease.is_valid() && lease.loss().is_none(), "not known yet");
            let called = world.truth.elapsed();
            let second = lease.release().await.map_err(|e| e.kind());
            assert!(world.truth.elapsed() - called > SECOND, "it has waited");
            let first = first.await.expect("no panic");
            let expected = if is_gone { Err(Kind::Lost) } else { Ok(()) };
            assert_eq!((first, second), (expected, expected), "gone: {is_gone}");
            wire.slow_releases(Duration::ZERO);
        }
    });
}

#[test]
fn a_release_that_is_cancelled_on_its_way_is_no_loss() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let events = client.events();
        let lease = hold(&client, "x").await;
        wire.slow_releases(SECOND);
        // Dropped while its answer is on the way: the second finds the lock free.
        tokio::select! {
            biased;
            _ = lease.release() => panic!("it takes two seconds"),
            () = world.truth.sleep(SECOND * 3 / 2) => {}
        }
        assert!(world.is_free("x").await);
        let unknown = lease.release().await.expect_err("nobody has heard the first answer");
        assert_eq!((unknown.kind(), lease.loss()), (Kind::Unavailable, None));
        assert_eq!(rest(&client, events).await, ["acquired", "released unavailable"]);
    });
}

#[test]
fn a_release_that_is_cancelled_before_it_is_sent_is_confirmed_by_the_next() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let events = client.events();
        let lease = hold(&client, "x").await;
        assert!(cut_at(1, lease.release()).await.is_none());
        lease.release().await.expect("it went on in the background");
        assert_eq!(rest(&client, events).await, ["acquired", "released"]);
    });
}

#[test]
fn a_lease_that_is_not_renewed_hears_that_it_was_broken() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        assert!(other.break_lock("x").await.expect("an answer"));
        world.truth.sleep(SECOND / 20).await;
        assert_eq!((lease.loss(), lease.is_valid()), (Some(Loss::Gone), false));
        // A hint that is not true changes nothing, also not the deadline.
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        let left = lease.remaining();
        world.truth.sleep(SECOND).await;
        let asked = wire.requests()[1];
        world.server.restart();
        world.truth.sleep(SECOND).await;
        assert!(wire.requests()[1] > asked, "it was asked for");
        assert_eq!(lease.remaining(), left - SECOND * 2);
        assert_eq!(lease.lost().await, Loss::Expired);
        world.truth.sleep(SECOND * 2).await;
        assert!(world.is_free("x").await, "given back at its deadline");
    });
}

#[test]
fn a_lease_that_is_broken_while_it_is_offered_is_lost_when_it_is_taken() {
    for renewed in [true, false] {
        on_virtual_time(async |world| {
            let ((client, _), (other, _)) = (world.client(), world.client());
            let first = hold(&client, "x").await;
            let lock = client.lock("x").auto_renew(renewed);
            let mut waiter = pin!(lock.acquire());
            assert!(waiter.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            first.release().await.expect("held");
            assert!(other.break_lock("x").await.expect("an answer"));
            let next = hold(&other, "x").await;
            world.settle().await;
            let lease = waiter.await.expect("it was offered");
            world.truth.sleep(SECOND / 20).await;
            assert_eq!((lease.loss(), lease.is_valid()), (Some(Loss::Gone), false));
            assert!(next.is_valid());
        });
    }
}

#[test]
fn a_lease_that_is_not_renewed_stays_so_however_often_it_is_asked_about() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        let left = lease.remaining();
        // Longer than the pause after which it is asked again.
        wire.slow_renewals(SECOND * 2);
        world.server.restart();
        world.truth.sleep(SECOND * 4).await;
        assert!(wire.requests()[1] > 1, "several are under way at once");
        assert_eq!(lease.remaining(), left - SECOND * 4);
    });
}

#[test]
fn a_lease_that_is_broken_before_its_grant_is_heard_is_lost_at_once() {
    for renewed in [true, false] {
        on_virtual_time(async |world| {
            let ((client, wire), (other, _)) = (world.client(), world.client());
            wire.slow_claims(SECOND / 2);
            let lock = client.lock("x").auto_renew(renewed);
            let asking = spawn(async move { lock.acquire().await });
            world.truth.sleep(SECOND / 4).await;
            assert!(other.break_lock("x").await.expect("an answer"));
            let next = hold(&other, "x").await;
            let lease = asking.await.expect("no panic").expect("it was granted");
            world.truth.sleep(SECOND / 20).await;
            assert_eq!((lease.loss(), lease.is_valid()), (Some(Loss::Gone), false));
            assert!(next.is_valid());
        });
    }
}

#[test]
fn an_answer_from_before_the_hint_is_no_answer_to_it() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        // It is asked for, and was held then; the answer is on its way.
        wire.slow_renewals(SECOND * 2);
        world.server.restart();
        world.truth.sleep(SECOND).await;
        // Whoever asks for it when it is broken hears nothing for a while.
        wire.fail(Some((Kind::Unavailable, Outcome::Unknown)));
        assert!(other.break_lock("x").await.expect("an answer"));
        world.truth.sleep(SECOND * 3 / 2).await;
        assert!(lease.is_valid(), "the answer was that it is held");
        wire.slow_renewals(Duration::ZERO);
        wire.fail(None);
        world.truth.sleep(SECOND * 2).await;
        assert_eq!((lease.loss(), lease.is_valid()), (Some(Loss::Gone), false));
    });
}
