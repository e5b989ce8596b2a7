//! Members of a cluster that die, hang and come back.

use crate::place::{Place, SECOND};
use leasehold::{Kind, Loss, Outcome};
use leasehold_tests::patience::{LIMIT, now, until};

const TTL: std::time::Duration = std::time::Duration::from_secs(8);

/// What one who holds a lock and one who waits for it come to, while something
/// is done to the leader.
#[track_caller]
fn outlives(strike: impl Fn(&Place, usize)) {
    let place = Place::of_three();
    let (a, b) = (place.client(), place.client());
    let lease = place.wait(a.lock("x").ttl(TTL).acquire()).unwrap();
    let waiter = place.stand_in_line(&b, "x");
    strike(&place, place.cluster.leader());
    place.cluster.leader();
    // For longer than a ttl: it has been renewed since.
    place.pass(TTL);
    assert!(lease.is_valid(), "lost: {:?}", lease.loss());
    let (next, took) = place.hand_over(lease, waiter);
    assert!(took < SECOND * 2, "{took:?}");
    place.wait(next.release()).unwrap();
}

#[test]
fn a_lease_and_a_wait_outlive_a_leader_that_dies() {
    outlives(|place, leader| place.cluster.kill(leader));
}

#[test]
fn a_lease_and_a_wait_outlive_a_leader_that_hangs() {
    outlives(|place, leader| place.cluster.freeze(leader));
}

#[test]
fn a_lease_and_a_wait_outlive_members_that_are_restarted_one_after_the_other() {
    let place = Place::of_three();
    let (a, b) = (place.client(), place.client());
    let lease = place.wait(a.lock("x").ttl(TTL).acquire()).unwrap();
    let waiter = place.stand_in_line(&b, "x");
    for member in 0..3 {
        place.cluster.kill(member);
        place.cluster.restart(member);
        place.cluster.leader();
        place.wait(lease.renew()).unwrap();
    }
    place.hand_over(lease, waiter);
}

#[test]
fn without_a_majority_it_is_broken_and_not_busy_and_a_lease_is_lost_in_time() {
    let place = Place::of_three();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(3 * SECOND).acquire()).unwrap();
    place.cluster.kill(0);
    place.cluster.kill(1);
    let killed = now();
    assert_eq!(place.wait(lease.lost()), Loss::Expired);
    assert!(killed.elapsed() < 3 * SECOND, "{:?}", killed.elapsed());
    let error = place.wait(client.lock("y").try_acquire()).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::NotHeld), "{error}");
    let error = place.wait(client.lock("y").wait(SECOND).acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let error = place.no_client_of(&place.cluster.url());
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    // Who waits through it is served afterwards.
    let waiter = place.queue(client.lock("x").ttl(TTL));
    place.cluster.revive(0);
    let (next, _) = place.granted(waiter);
    assert!(next.fence() > lease.fence());
    assert!(until(LIMIT, || place.wait(client.lock("y").try_acquire()).ok().flatten()).is_some());
}

#[test]
fn a_lease_outlives_the_loss_of_the_majority_for_less_than_its_ttl() {
    let place = Place::of_three();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(TTL).acquire()).unwrap();
    place.cluster.kill(1);
    place.cluster.kill(2);
    place.pass(SECOND);
    place.cluster.revive(1);
    place.pass(TTL);
    assert!(lease.is_valid(), "lost: {:?}", lease.loss());
    place.wait(lease.release()).unwrap();
}

#[test]
fn closing_waits_for_no_dead_member() {
    let place = Place::of_three();
    let client = place.client();
    let _lease = place.wait(client.lock("x").ttl(TTL).acquire()).unwrap();
    place.cluster.kill(place.cluster.leader());
    let closing = now();
    place.wait(client.close());
    assert!(closing.elapsed() < TTL, "{:?}", closing.elapsed());
    place.cluster.leader();
    place.await_empty();
}

#[test]
fn a_cluster_that_went_back_in_its_history_is_not_trusted() {
    let place = Place::new();
    let client = place.client();
    for _ in 0..5 {
        let lease = place.hold(&client, "x");
        place.wait(lease.release()).unwrap();
    }
    let lease = place.hold(&client, "x");
    place.cluster.restart_empty();
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
    let error = until(LIMIT, || match place.wait(client.lock("x").try_acquire()) {
        Err(error) if error.kind() == Kind::Unavailable => None,
        answer => Some(answer.unwrap_err()),
    });
    let error = error.unwrap();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("restored from a backup"), "{error}");
    // Beyond what it has seen, fences rise again.
    for round in 0..20 {
        place.cluster.ctl(&["put", "other", &round.to_string()]);
    }
    assert!(place.hold(&client, "x").fence() > lease.fence());
}

#[test]
fn a_member_of_another_cluster_is_not_trusted() {
    let (one, other) = (Place::new(), Place::new());
    let url = format!("etcd://{},{}", one.cluster.endpoint(0), other.cluster.endpoint(0));
    let client = one.client_of(&url);
    let lease = one.hold(&client, "x");
    let its = if one.keys().is_empty() { &other } else { &one };
    its.cluster.kill(0);
    // The right one may come back, so this is no reason to give up.
    let says_so = || {
        let error = one.wait(client.lock("y").try_acquire()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        error.to_string().contains("another cluster").then_some(())
    };
    assert!(until(LIMIT, says_so).is_some());
    its.cluster.restart(0);
    let again = || one.wait(client.lock("y").try_acquire()).ok().flatten();
    assert!(until(LIMIT, again).is_some());
    one.wait(lease.renew()).unwrap();
}
