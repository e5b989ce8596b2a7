//! Renewals by another ttl, on virtual time.

use std::task::{Context, Waker};
use std::time::Duration;

use leasehold::{Kind, Lease, Loss, Outcome};
use leasehold_tests::wire::{TTL, World, hold, on_virtual_time};

const SECOND: Duration = Duration::from_secs(1);

/// A lease that only its holder renews.
async fn by_hand(world: &World, name: &str) -> Lease {
    let (client, _) = world.client();
    client.lock(name).auto_renew(false).acquire().await.expect("the lock")
}

#[test]
fn a_lease_is_renewed_for_longer_and_for_shorter_and_again_for_the_same() {
    on_virtual_time(async |world| {
        let lease = by_hand(&world, "x").await;
        let fence = lease.fence();
        lease.renew_for(SECOND * 100).await.expect("renewed");
        assert_eq!(lease.ttl(), SECOND * 100);
        assert!(lease.remaining() > SECOND * 97);
        world.truth.sleep(SECOND * 80).await;
        lease.renew().await.expect("renewed");
        world.truth.sleep(SECOND * 80).await;
        assert!(lease.is_valid(), "renew() goes by the new ttl");
        lease.renew_for(SECOND * 2).await.expect("renewed");
        assert!(lease.remaining() <= SECOND * 2);
        let (other, _) = world.client();
        let since = world.truth.elapsed();
        let next = hold(&other, "x").await;
        let took = world.truth.elapsed() - since;
        assert!(took > SECOND * 19 / 10 && took < SECOND * 5 / 2, "{took:?}");
        assert!(next.fence() > fence && lease.fence() == fence);
        assert_eq!(lease.loss(), Some(Loss::Expired));
    });
}

#[test]
fn the_server_frees_it_after_the_new_ttl_when_its_holder_crashes() {
    for ttl in [SECOND, SECOND * 60] {
        on_virtual_time(async |world| {
            let (client, _, machine) = world.client_that_stops();
            let lock = client.lock("x").auto_renew(false);
            let lease = lock.acquire().await.expect("the lock");
            lease.renew_for(ttl).await.expect("renewed");
            let since = world.truth.elapsed();
            machine.stop();
            let (other, _) = world.client();
            let _next = hold(&other, "x").await;
            let took = world.truth.elapsed() - since;
            assert!(took >= ttl && took < ttl + SECOND, "{took:?} instead of {ttl:?}");
        });
    }
}

#[test]
fn a_deadline_moves_back_before_the_request_is_sent() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        wire.slow_renewals(SECOND / 2);
        let mut renewal = Box::pin(lease.renew_for(SECOND));
        assert!(renewal.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(lease.remaining() <= SECOND, "{:?}", lease.remaining());
        // Whatever comes of it.
        drop(renewal);
        assert_eq!(lease.lost().await, Loss::Expired);
        assert!(world.truth.elapsed() < SECOND * 2);
    });
}

#[test]
fn a_longer_renewal_counts_for_no_more_than_a_shorter_one_that_may_come_late() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        wire.fail(Some((Kind::Unavailable, Outcome::Unknown)));
        lease.renew_for(SECOND * 3).await.expect_err("no answer");
        wire.fail(None);
        lease.renew_for(SECOND * 100).await.expect("renewed");
        assert!(lease.remaining() <= SECOND * 3, "{:?}", lease.remaining());
        // One that was certainly not sent does not matter.
        let other = by_hand(&world, "y").await;
        let (third, wire) = world.client();
        let unsent = third.lock("z").auto_renew(false).acquire().await.expect("the lock");
        wire.cut(true);
        let error = unsent.renew_for(SECOND * 3).await.expect_err("cut off");
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Held));
        wire.cut(false);
        for lease in [other, unsent] {
            lease.renew_for(SECOND * 100).await.expect("renewed");
            assert!(lease.remaining() > SECOND * 97);
        }
    });
}

#[test]
fn only_what_is_not_renewed_in_the_background_is_renewed_for_another_ttl() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        let error = lease.renew_for(SECOND * 30).await.expect_err("it is renewed");
        assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::Held));
        assert!(error.to_string().contains("auto_renew"), "{error}");
        let by_hand = client.lock("y").auto_renew(false).acquire().await.expect("the lock");
        for ttl in [Duration::ZERO, SECOND / 100, SECOND * 24 * 3601] {
            let error = by_hand.renew_for(ttl).await.expect_err("no such ttl");
            assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::Held));
        }
        assert_eq!(wire.requests()[1], 0);
        by_hand.release().await.expect("held");
        let error = by_hand.renew_for(SECOND).await.expect_err("released");
        assert_eq!(error.kind(), Kind::NotHeld);
        assert!(lease.is_valid() && TTL > SECOND);
    });
}
