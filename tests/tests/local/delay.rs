//! Lock-delays, on virtual time.

use std::time::Duration;

use leasehold::{Kind, Lease, Lock, Loss};
use leasehold_tests::wire::{TTL, World, hold, on_virtual_time, spawn};

const SECOND: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_secs(15);
/// By which a server counts longer than its clients.
const MARGIN: Duration = Duration::from_millis(500);

async fn take(lock: &Lock) -> Lease {
    lock.acquire().await.expect("the lock")
}

/// Somebody else who waits gets it when the deadline and the delay are over, and soon then.
async fn is_free_after(world: &World, deadline: Duration, delay: Duration) {
    let (other, _) = world.client();
    let next = hold(&other, "x").await;
    let at = world.truth.elapsed();
    assert!(at >= deadline + delay, "{at:?}, and the deadline was {deadline:?}");
    assert!(at <= deadline + delay + MARGIN * 2, "{at:?}, and the deadline was {deadline:?}");
    next.release().await.expect("held");
}

fn deadline(world: &World, lease: &Lease) -> Duration {
    world.truth.elapsed() + lease.remaining()
}

#[test]
fn a_lock_whose_holder_crashed_is_free_after_its_deadline_and_the_delay() {
    for (grants, renews) in [(false, true), (true, true), (false, false)] {
        on_virtual_time(async |world| {
            let world = if grants { world.granting() } else { world };
            let (client, _, machine) = world.client_that_stops();
            let lease = take(&client.lock("x").delay(DELAY).auto_renew(renews)).await;
            if renews {
                world.truth.sleep(TTL * 5).await;
            }
            machine.stop();
            is_free_after(&world, deadline(&world, &lease), DELAY).await;
        });
    }
}

#[test]
fn a_delay_costs_the_holder_nothing() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let (with, without) = (client.lock("x").delay(DELAY), client.lock("y"));
        let (with, without) = (take(&with).await, take(&without).await);
        assert_eq!((with.ttl(), with.remaining()), (TTL, without.remaining()));
        world.truth.sleep(TTL * 10).await;
        assert!(with.is_valid() && with.remaining() <= TTL);
        with.release().await.expect("held");
        assert!(world.is_free("x").await, "after a release at once");
        drop(take(&client.lock("x").delay(DELAY)).await);
        world.settle().await;
        assert!(world.is_free("x").await, "and after a drop");
    });
}

#[test]
fn a_lost_lock_stays_for_its_delay_whoever_releases_it() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = take(&client.lock("x").delay(DELAY)).await;
        wire.cut(true);
        let deadline = deadline(&world, &lease);
        assert_eq!(lease.lost().await, Loss::Expired);
        wire.cut(false);
        assert_eq!(lease.release().await.expect_err("lost").kind(), Kind::Lost);
        drop(lease);
        is_free_after(&world, deadline, DELAY).await;
    });
}

#[test]
fn the_rest_of_a_group_of_which_one_was_broken_stays_for_its_delay() {
    for says_so in [false, true] {
        on_virtual_time(async |world| {
            let ((client, _), (other, _)) = (world.client(), world.client());
            let leases = client.locks(["x", "y"]).delay(DELAY).acquire().await.expect("both");
            let deadline = world.truth.elapsed() + leases.remaining();
            assert!(other.break_lock("y").await.expect("an answer"));
            assert_eq!(leases.lost().await, Loss::Gone);
            if says_so {
                assert_eq!(leases.release().await.expect_err("lost").lock(), Some("y"));
            }
            drop(leases);
            world.settle().await;
            assert!(world.is_free("y").await, "nothing is left of it there");
            is_free_after(&world, deadline, DELAY).await;
        });
    }
}

#[test]
fn a_lock_that_was_held_for_too_long_stays_for_its_delay() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let lease = take(&client.lock("x").delay(DELAY).max_hold(SECOND * 30)).await;
        assert_eq!(lease.lost().await, Loss::MaxHold);
        drop(lease);
        is_free_after(&world, SECOND * 30, DELAY).await;
    });
}

#[test]
fn a_lock_of_a_client_that_is_closed_stays_for_its_delay() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let lease = take(&client.lock("x").delay(DELAY)).await;
        let deadline = deadline(&world, &lease);
        client.close().await;
        assert_eq!(lease.loss(), Some(Loss::Closed));
        is_free_after(&world, deadline, DELAY).await;
    });
}

#[test]
fn a_lock_that_a_server_hands_on_has_its_delay_from_the_start() {
    // One that is longer than the window of a grant, and one that is not.
    for delay in [DELAY, SECOND] {
        on_virtual_time(async |world| {
            let world = world.granting();
            let ((holder, _), (client, _, machine)) = (world.client(), world.client_that_stops());
            let first = hold(&holder, "x").await;
            let waiter = client.lock("x").delay(delay);
            let waiter = spawn(machine.within(async move { waiter.acquire().await }));
            world.truth.sleep(SECOND).await;
            first.release().await.expect("held");
            let lease = waiter.await.expect("no panic").expect("its turn");
            // Before it could be renewed.
            machine.stop();
            assert!(lease.remaining() > TTL * 9 / 10, "{:?}", lease.remaining());
            is_free_after(&world, deadline(&world, &lease), delay).await;
        });
    }
}

#[test]
fn a_dead_waiter_with_a_delay_keeps_nobody() {
    on_virtual_time(async |world| {
        let world = world.granting();
        let ((holder, _), (client, _, machine)) = (world.client(), world.client_that_stops());
        let first = hold(&holder, "x").await;
        let waiter = client.lock("x").delay(DELAY);
        drop(spawn(machine.within(async move { waiter.acquire().await })));
        world.truth.sleep(SECOND).await;
        machine.stop();
        first.release().await.expect("held");
        let released = world.truth.elapsed();
        drop(hold(&world.client().0, "x").await);
        assert!(world.truth.elapsed() - released < SECOND * 3);
    });
}

#[test]
fn a_delay_that_cannot_be_is_refused() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let day = SECOND * 24 * 3600;
        assert!(client.lock("x").delay(day - TTL).check().is_ok());
        for delay in [day, Duration::MAX] {
            let error = client.lock("x").delay(delay).check().expect_err("too long");
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains("delay"), "{error}");
        }
    });
}
