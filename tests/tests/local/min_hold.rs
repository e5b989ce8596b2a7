//! Locks that stay taken for a while after they are given back, on virtual time.

use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::quorum::{MemoryNode, Node};
use leasehold::backend::{Holder, Quorum};
use leasehold::{Client, Kind, Lease, Loss, Options, Outcome};
use leasehold_tests::wire::{TTL, World, hold, on_virtual_time, spawn};
use leasehold_tests::world::{Machine, cut_at};

const SECOND: Duration = Duration::from_secs(1);
const MIN_HOLD: Duration = Duration::from_secs(60);

async fn take(client: &Client, name: &str) -> Lease {
    client.lock(name).min_hold(MIN_HOLD).acquire().await.expect("the lock")
}

/// Who has it, if anybody has.
async fn holder(client: &Client, name: &str) -> Option<Holder> {
    let status = client.status(name).await.expect("a status");
    status.and_then(|status| status.holder().cloned())
}

/// Wait for it in another client; answers when that has it.
async fn had_at(world: &World, name: &str) -> Duration {
    let next = hold(&world.client().0, name).await;
    let at = world.truth.elapsed();
    next.release().await.expect("held");
    at
}

/// Another client gets it at the end of the rest, and soon then.
async fn rests_until(world: &World, end: Duration) {
    let at = had_at(world, "x").await;
    assert!(at >= end && at <= end + SECOND, "at {at:?}, and not at {end:?}");
}

#[test]
fn a_lock_that_is_given_back_early_rests_until_its_min_hold_is_over() {
    for grants in [false, true] {
        on_virtual_time(async |world| {
            let world = if grants { world.granting() } else { world };
            let (client, _) = world.client();
            let lease = take(&client, "x").await;
            world.truth.sleep(TTL * 2).await;
            lease.release().await.expect("it is over, and was held to its end");
            assert_eq!(lease.check().expect_err("over").kind(), Kind::NotHeld);
            let (other, _) = world.client();
            let rests = holder(&other, "x").await.expect("it rests");
            assert!(rests.resting && rests.free_in <= MIN_HOLD - TTL * 2, "{rests:?}");
            assert!(other.lock("x").try_acquire().await.expect("an answer").is_none());
            assert!(client.lock("x").try_acquire().await.expect("an answer").is_none());
            rests_until(&world, MIN_HOLD).await;
        });
    }
}

#[test]
fn a_dropped_lease_and_one_of_a_run_leave_a_rest_too() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        drop(take(&client, "x").await);
        rests_until(&world, MIN_HOLD).await;
        let lock = client.lock("x").min_hold(MIN_HOLD);
        let began = world.truth.elapsed();
        lock.run(async |_| ()).await.expect("it ran");
        rests_until(&world, began + MIN_HOLD).await;
    });
}

#[test]
fn a_lock_that_was_held_for_its_min_hold_is_free_at_once() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = take(&client, "x").await;
        let waiter = spawn({
            let (other, _) = world.client();
            async move { hold(&other, "x").await }
        });
        world.truth.sleep(MIN_HOLD).await;
        let released = world.truth.elapsed();
        lease.release().await.expect("held");
        let next = waiter.await.expect("no panic");
        assert!(world.truth.elapsed() - released < SECOND / 10, "it was woken");
        assert!(next.is_valid() && wire.rests() == 0);
    });
}

#[test]
fn who_waits_waits_until_the_rest_is_over_wherever_they_are() {
    for grants in [false, true] {
        on_virtual_time(async |world| {
            let world = if grants { world.granting() } else { world };
            let ((client, _), (other, _)) = (world.client(), world.client());
            let lease = take(&client, "x").await;
            let waiters = [client, other].map(|client| {
                let truth = world.truth;
                spawn(async move {
                    let lease = hold(&client, "x").await;
                    let at = truth.elapsed();
                    lease.release().await.expect("held");
                    at
                })
            });
            world.truth.sleep(SECOND).await;
            lease.release().await.expect("held");
            for waiter in waiters {
                let at = waiter.await.expect("no panic");
                assert!(at >= MIN_HOLD && at <= MIN_HOLD + SECOND * 2, "{at:?}");
            }
        });
    }
}

#[test]
fn a_loss_leaves_no_rest() {
    on_virtual_time(async |world| {
        let (other, _) = world.client();
        // It could not be renewed.
        let (client, wire) = world.client();
        let lease = take(&client, "x").await;
        wire.cut(true);
        assert_eq!(lease.lost().await, Loss::Expired);
        wire.cut(false);
        assert_eq!(lease.release().await.expect_err("lost").kind(), Kind::Lost);
        assert!(had_at(&world, "x").await < TTL * 2);
        // It was taken away.
        let lease = take(&client, "x").await;
        assert!(other.break_lock("x").await.expect("an answer"));
        drop(lease.release().await);
        world.settle().await;
        assert!(world.is_free("x").await);
        // Its client was closed, or its process died.
        let lease = take(&client, "x").await;
        client.close().await;
        drop(lease);
        assert!(world.is_free("x").await);
        let (client, _, machine) = world.client_that_stops();
        let _lease = take(&client, "x").await;
        machine.stop();
        let died = world.truth.elapsed();
        assert!(had_at(&world, "x").await < died + TTL * 2);
    });
}

#[test]
fn a_release_without_an_answer_is_repeated_and_the_rest_goes_on() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = take(&client, "x").await;
        world.truth.sleep(TTL).await;
        wire.lose_rests(true);
        let error = lease.release().await.expect_err("no answer");
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown));
        world.truth.sleep(SECOND).await;
        assert!(wire.rests() > 1, "it is not repeated");
        wire.lose_rests(false);
        world.truth.sleep(TTL * 3).await;
        let repeated = wire.rests();
        rests_until(&world, MIN_HOLD).await;
        assert_eq!(wire.rests(), repeated, "nobody asks any more");
    });
}

#[test]
fn a_broken_rest_is_over() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        take(&client, "x").await.release().await.expect("held");
        assert!(other.break_lock("x").await.expect("an answer"));
        assert!(world.truth.elapsed() < SECOND && world.is_free("x").await);
    });
}

#[test]
fn a_lock_that_rests_is_led_by_nobody() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let lease = take(&client, "x").await;
        let leader = async || other.election("x").leader().await.expect("an answer");
        assert!(leader().await.is_some());
        lease.release().await.expect("held");
        assert!(leader().await.is_none());
    });
}

#[test]
fn who_is_cancelled_before_it_has_the_lock_leaves_no_rest() {
    for polls in 0..20 {
        on_virtual_time(async |world| {
            let world = if polls % 2 == 0 { world.granting() } else { world };
            let ((holder, _), (client, _)) = (world.client(), world.client());
            let first = hold(&holder, "x").await;
            drop(spawn(async move {
                world.truth.sleep(SECOND).await;
                first.release().await.expect("held");
            }));
            let lock = client.lock("x").min_hold(MIN_HOLD);
            let taken = cut_at(polls, lock.acquire()).await;
            let truth = world.truth;
            truth.sleep(SECOND * 5).await;
            if taken.is_none() {
                let status = holder.status("x").await.expect("a status");
                assert!(status.is_none(), "{status:?} after {polls} polls");
            }
        });
    }
}

#[test]
fn each_of_a_group_rests_and_one_that_was_had_in_vain_does_not() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let group = client.locks(["a", "b"]).min_hold(MIN_HOLD);
        let b = hold(&other, "b").await;
        assert!(group.try_acquire().await.expect("an answer").is_none());
        world.settle().await;
        assert!(world.is_free("a").await);
        b.release().await.expect("held");
        group.acquire().await.expect("free").release().await.expect("held");
        for name in ["a", "b"] {
            assert!(holder(&other, name).await.expect("it rests").resting);
        }
        for name in ["a", "b"] {
            let at = had_at(&world, name).await;
            assert!(at >= MIN_HOLD && at < MIN_HOLD + SECOND * 2, "{at:?}");
        }
    });
}

#[test]
fn a_min_hold_that_cannot_be_is_refused() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let day = SECOND * 24 * 3600;
        assert!(client.lock("x").min_hold(day * 400).check().is_ok());
        let x = || client.lock("x").min_hold(MIN_HOLD);
        assert!(x().max_hold(MIN_HOLD).check().is_ok());
        let cases = [
            (client.lock("x").min_hold(Duration::MAX), "400 days"),
            (x().max_hold(MIN_HOLD - SECOND), "max_hold"),
            (x().shared(), "shared"),
            (x().permits(2), "counted"),
        ];
        for (lock, says) in cases {
            let error = lock.check().expect_err(says);
            assert_eq!(error.kind(), Kind::Invalid);
            let text = error.to_string();
            assert!(text.contains("min_hold") && text.contains(says), "{text}");
        }
    });
}

#[test]
fn on_a_quorum_a_min_hold_is_unsupported_and_said_why() {
    on_virtual_time(async |world| {
        let machine = Machine::new(world.truth, 1.0, 7);
        let node = || MemoryNode::new(Arc::new(world.truth), TTL * 2);
        let nodes: Vec<MemoryNode> = (0..3).map(|_| node()).collect();
        let nodes = nodes.iter().map(|node| Arc::new(node.client()) as Arc<dyn Node>);
        let quorum = Quorum::new(nodes.collect(), TTL, machine.clone()).expect("a quorum");
        let client = Options::new().runtime(machine).ttl(TTL).open(Arc::new(quorum));
        let client = client.expect("a client");
        let error = client.lock("x").min_hold(MIN_HOLD).acquire().await.expect_err("no rest");
        assert_eq!((error.kind(), error.outcome()), (Kind::Unsupported, Outcome::NotHeld));
        assert!(error.to_string().contains("each would let the lock rest"), "{error}");
        hold(&client, "x").await.release().await.expect("held");
    });
}
