//! What holders are promised, on virtual time and in fair weather, by name.

use std::error::Error as _;
use std::time::Duration;

use leasehold::{Kind, Lease, Loss, Outcome};
use leasehold_tests::wire::{TTL, hold, on_virtual_time, spawn};
use leasehold_tests::world::cut_at;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_thousand_leases_are_renewed_in_a_few_requests() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let mut leases = Vec::new();
        for number in 0..1000 {
            leases.push(hold(&client, &format!("x{number}")).await);
        }
        world.truth.sleep(TTL * 10).await;
        assert!(leases.iter().all(Lease::is_valid));
        let [_, renewals, _] = wire.requests();
        assert!(renewals <= 3 * 30, "{renewals} requests in 30 thirds of the ttl");
    });
}

#[test]
fn a_lease_that_cannot_be_renewed_is_lost_before_its_deadline() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        wire.cut(true);
        let deadline = world.truth.elapsed() + lease.remaining();
        assert_eq!(lease.lost().await, Loss::Expired);
        let early = deadline - world.truth.elapsed();
        let grace = TTL / 10;
        assert!(early >= grace - Duration::from_millis(2) && early <= grace, "{early:?} before");
        assert!(!lease.is_valid(), "lost is final, whatever the deadline");
        let error = lease.release().await.expect_err("lost");
        assert_eq!(error.kind(), Kind::Lost);
        let cause = error.source().expect("a cause").to_string();
        assert!(!cause.is_empty() && error.to_string().ends_with(&cause), "{error}");
    });
}

#[test]
fn a_short_outage_loses_nothing() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        for _ in 0..5 {
            wire.cut(true);
            world.truth.sleep(TTL / 2).await;
            wire.cut(false);
            world.truth.sleep(TTL / 2).await;
        }
        assert!(lease.is_valid());
        lease.release().await.expect("held all the time");
    });
}

#[test]
fn a_lease_is_saved_when_an_outage_ends_shortly_before_it_does() {
    on_virtual_time(async |world| {
        for _ in 0..50 {
            let (client, wire) = world.client();
            let lease = hold(&client, "x").await;
            wire.cut(true);
            // It is lost a tenth before its deadline.
            world.truth.sleep(lease.remaining() - TTL * 3 / 20).await;
            wire.cut(false);
            world.truth.sleep(TTL).await;
            assert_eq!(lease.loss(), None);
            client.close().await;
        }
    });
}

#[test]
fn an_evicted_holder_is_told_at_once() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let lease = hold(&client, "x").await;
        assert!(other.break_lock("x").await.expect("an answer"));
        let told_at = world.truth.elapsed();
        assert_eq!(lease.lost().await, Loss::Gone);
        assert!(world.truth.elapsed() - told_at < Duration::from_millis(50));
        assert_eq!(lease.release().await.expect_err("lost").kind(), Kind::Lost);
    });
}

#[test]
fn an_answer_after_the_deadline_is_a_loss_whatever_it_says() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        // The server says yes at once, the answer takes until after the deadline.
        wire.slow_renewals(SECOND * 4);
        world.truth.sleep(lease.remaining() - SECOND * 2).await;
        let renewed = lease.renew().await;
        assert_eq!(renewed.expect_err("too late").kind(), Kind::Lost);
        assert!(!lease.is_valid());
    });
}

#[test]
fn a_lease_renewed_by_hand_lasts_and_is_never_taken_again() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        let fence = lease.fence();
        for _ in 0..10 {
            world.truth.sleep(TTL / 2).await;
            lease.renew().await.expect("renewed");
        }
        assert_eq!((lease.fence(), wire.requests()[1]), (fence, 10), "nobody else renewed");
        world.truth.sleep(TTL * 2).await;
        assert_eq!(lease.loss(), Some(Loss::Expired));
        assert_eq!(lease.renew().await.expect_err("lost").kind(), Kind::Lost);
        assert!(world.is_free("x").await);
    });
}

#[test]
fn work_is_dropped_when_its_lease_is_lost() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let running = spawn({
            let lock = client.lock("x");
            async move {
                lock.run(async |_| {
                    let _alive = alive;
                    std::future::pending::<()>().await;
                })
                .await
            }
        });
        world.settle().await;
        other.break_lock("x").await.expect("an answer");
        assert!(gone.await.is_err(), "dropped, not finished");
        assert_eq!(running.await.expect("no panic").expect_err("lost").kind(), Kind::Lost);
    });
}

#[test]
fn the_result_of_the_work_survives_a_failing_release() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lock = client.lock("x");
        let result = lock.run(async |lease| {
            wire.cut(true);
            Err::<(), _>(format!("the user's own error under fence {}", lease.fence()))
        });
        let result = result.await.expect("the work was done");
        assert!(result.expect_err("as returned").starts_with("the user's own error"));
        wire.cut(false);
        world.truth.sleep(SECOND * 2).await;
        assert!(world.is_free("x").await, "released in the background");
    });
}

#[test]
fn a_lost_lease_says_so_at_once_when_it_is_released_whatever_the_server_does() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        wire.cut(true);
        assert_eq!(lease.lost().await, Loss::Expired);
        let lost_at = world.truth.elapsed();
        let lost = lease.release().await.expect_err("lost before");
        assert_eq!((lost.kind(), lost.outcome()), (Kind::Lost, Outcome::NotHeld));
        assert_eq!(world.truth.elapsed(), lost_at);
    });
}

#[test]
fn a_renewal_by_hand_without_an_answer_leaves_the_lease_held() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        wire.cut(true);
        let broken = lease.renew().await.expect_err("cut off");
        assert_eq!((broken.kind(), broken.outcome()), (Kind::Unavailable, Outcome::Held));
        assert!(lease.is_valid());
    });
}

#[test]
fn max_hold_frees_the_lock_of_a_worker_that_hangs() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let lease = client.lock("x").max_hold(SECOND * 30).acquire().await.expect("the lock");
        let next = other.lock("x");
        let next = spawn(async move { next.acquire().await.map(|lease| lease.fence()) });
        assert_eq!(lease.lost().await, Loss::MaxHold);
        let lost_at = world.truth.elapsed();
        assert!(lost_at <= SECOND * 30 && lost_at > SECOND * 29 - Duration::from_millis(10));
        assert!(!next.is_finished(), "until the deadline the worker may still stop");
        next.await.expect("no panic").expect("the lock");
        assert!(world.truth.elapsed() < SECOND * 31, "not only after another ttl");
    });
}

#[test]
fn a_release_that_is_cancelled_still_releases() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let lease = hold(&client, "x").await;
        assert!(cut_at(1, lease.release()).await.is_none());
        world.settle().await;
        assert!(world.is_free("x").await);
    });
}

#[test]
fn a_lease_is_released_once_and_by_its_drop() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        lease.release().await.expect("held");
        lease.release().await.expect("as before");
        assert!(!lease.is_valid() && lease.remaining().is_zero());
        assert_eq!(lease.renew().await.expect_err("over").kind(), Kind::NotHeld);
        drop(lease);
        drop(hold(&client, "x").await);
        world.settle().await;
        assert!(world.is_free("x").await);
        assert_eq!(wire.requests()[2], 2);
    });
}

#[test]
fn a_late_release_does_not_touch_the_next_holder() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lock = client.lock("x").auto_renew(false);
        let late = lock.acquire().await.expect("the lock");
        world.truth.sleep(TTL * 2).await;
        let next = lock.acquire().await.expect("the lock");
        assert_eq!(late.release().await.expect_err("lost").kind(), Kind::Lost);
        next.renew().await.expect("still held");
        assert_eq!(wire.requests()[0], 2);
    });
}

#[test]
#[allow(clippy::disallowed_methods)] // blocks on purpose
fn a_blocked_thread_loses_no_lease() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let client = leasehold::connect("memory:").await.expect("a client");
        let lease = client.lock("x").ttl(SECOND).acquire().await.expect("the lock");
        std::thread::sleep(SECOND * 3);
        assert!(lease.is_valid(), "{:?}", lease.loss());
        lease.release().await.expect("held all the time");
    });
}
