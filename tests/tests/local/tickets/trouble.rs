//! What goes wrong while a lease is handed on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use leasehold::{Kind, Outcome};
use leasehold_tests::wire::{TTL, World, hold, on_virtual_time, spawn};
use leasehold_tests::world::cut_at;

use super::{MARGIN, SECOND, adopt, events, give, give_again, refused};

#[test]
fn an_answer_that_is_lost_on_either_side_is_asked_for_again() {
    on_virtual_time(async |world| {
        let ((web, to_web), (job, to_job)) = (world.client(), world.client());
        let lease = hold(&web, "x").await;
        to_web.lose_answers(3);
        let ticket = give(&lease).await;
        assert_eq!(to_web.transfers(), 4);
        to_job.lose_answers(3);
        let adopted = adopt(&job, &ticket).await;
        assert_eq!(to_job.transfers(), 4);
        assert_eq!(adopted.fence(), lease.fence());
        assert!(
            adopted.remaining() > TTL * 9 / 10,
            "it counts from the question that was answered"
        );
        world.truth.sleep(TTL * 2).await;
        assert!(adopted.is_valid());
    });
}

#[test]
fn a_backend_that_does_not_say_leaves_nothing_behind() {
    on_virtual_time(async |world| {
        let ((web, to_web), (job, to_job)) = (world.client(), world.client());
        let told = web.events();
        let lease = hold(&web, "x").await;
        to_web.lose_answers(u64::MAX);
        let since = world.truth.elapsed();
        let error = give_again(&lease).await;
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown));
        assert!(error.to_string().contains("given back"), "{error}");
        assert!(world.truth.elapsed() - since <= TTL);
        assert_eq!(lease.check().expect_err("over").kind(), Kind::NotHeld);
        assert!(lease.release().await.is_err(), "nobody knows whether it was held to the end");
        world.settle().await;
        assert!(world.is_free("x").await);
        to_web.lose_answers(0);
        let ticket = give(&hold(&web, "x").await).await;
        to_job.lose_answers(u64::MAX);
        let since = world.truth.elapsed();
        let error = refused(&job, ticket.as_str()).await;
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown));
        assert!(world.truth.elapsed() - since <= SECOND * 10);
        world.settle().await;
        assert!(world.is_free("x").await);
        let told = events(web, told).await;
        let whats: Vec<&str> = told.iter().filter_map(|told| told.split(' ').next()).collect();
        assert_eq!(whats, ["acquired", "released", "acquired", "handed_on"]);
    });
}

#[test]
fn what_cannot_be_sent_is_given_back_and_the_ticket_stays_good() {
    on_virtual_time(async |world| {
        let ((web, to_web), (job, to_job)) = (world.client(), world.client());
        let lease = hold(&web, "x").await;
        to_web.cut(true);
        let error = give_again(&lease).await;
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::NotHeld));
        to_web.cut(false);
        world.truth.sleep(TTL).await;
        assert!(world.is_free("x").await);
        let ticket = hold(&web, "x").await.into_ticket_for(SECOND * 60).await.expect("a ticket");
        to_job.cut(true);
        let error = refused(&job, ticket.as_str()).await;
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::NotHeld));
        to_job.cut(false);
        world.settle().await;
        adopt(&job, &ticket).await.release().await.expect("held");
    });
}

/// Cut `work` at each of its await points, until it has none left.
fn at_each_await_point(test: impl AsyncFn(World, u32) -> bool) {
    for way in [0, 2] {
        let last = AtomicU32::new(0);
        for polls in 0..20 {
            on_virtual_time(async |world| {
                if test(world, polls * 10 + way).await {
                    last.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        assert!((1..19).contains(&last.load(Ordering::Relaxed)), "some were cut, and some not");
    }
}

#[test]
fn a_giver_that_is_cancelled_at_each_await_point_leaves_no_lease_behind() {
    at_each_await_point(async |world, number| {
        let (web, wire) = world.client();
        wire.slow_transfers(Duration::from_millis((number % 10).into()));
        let lease = hold(&web, "x").await;
        wire.lose_answers(u64::from(number % 10 / 2));
        let ticket = cut_at(number / 10, lease.into_ticket()).await;
        drop(lease);
        world.truth.sleep(MARGIN).await;
        match &ticket {
            Some(ticket) => {
                drop(adopt(&world.client().0, ticket.as_ref().expect("it is held")).await)
            }
            None => assert!(world.is_free("x").await, "cut at {number}"),
        }
        world.settle().await;
        assert!(world.is_free("x").await);
        ticket.is_some()
    });
}

#[test]
fn an_adoption_that_is_cancelled_at_each_await_point_leaves_no_lease_behind() {
    at_each_await_point(async |world, number| {
        let ((web, _), (job, wire)) = (world.client(), world.client());
        let lease = hold(&web, "x").await;
        let ticket = lease.into_ticket_for(SECOND * 3600).await.expect("a ticket");
        wire.slow_transfers(Duration::from_millis((number % 10).into()));
        wire.lose_answers(u64::from(number % 10 / 2));
        let adopted = cut_at(number / 10, job.adopt(ticket.as_str())).await;
        let is_adopted = adopted.is_some();
        drop(adopted);
        world.truth.sleep(MARGIN).await;
        // As good as before, or used up and given back.
        if !world.is_free("x").await {
            assert!(!is_adopted, "cut at {number}");
            drop(adopt(&job, &ticket).await);
        }
        world.settle().await;
        assert!(world.is_free("x").await, "cut at {number}");
        is_adopted
    });
}

#[test]
fn a_client_that_is_closed_meanwhile_keeps_nothing() {
    on_virtual_time(async |world| {
        let ((web, to_web), (job, to_job)) = (world.client(), world.client());
        let lease = hold(&web, "x").await;
        to_web.slow_transfers(Duration::from_millis(50));
        to_job.slow_transfers(Duration::from_millis(50));
        let giving = spawn(async move { lease.into_ticket_for(SECOND * 3600).await });
        world.settle().await;
        web.close().await;
        let ticket = giving.await.expect("no panic").expect("it was under way");
        let adopting = spawn({
            let job = job.clone();
            async move { job.adopt(ticket.as_str()).await }
        });
        world.truth.sleep(Duration::from_millis(60)).await;
        job.close().await;
        let error = adopting.await.expect("no panic").expect_err("it was closed");
        assert_eq!(error.kind(), Kind::Closed);
        assert!(world.is_free("x").await, "the lease is given back before the end");
    });
}
