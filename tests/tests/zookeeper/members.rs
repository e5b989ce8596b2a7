//! Members of an ensemble that die, hang and come back.

use crate::place::{Place, SECOND};
use leasehold::{Kind, Loss, Outcome};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::proxy::Proxy;

const TTL: std::time::Duration = std::time::Duration::from_secs(5);

/// What one who holds a lock and one who waits for it come to, while something
/// is done to the leader.
#[track_caller]
fn outlives(strike: impl Fn(&Place, usize)) {
    let place = Place::of_three();
    let (a, b) = (place.client(), place.client());
    let lease = place.wait(a.lock("x").ttl(TTL).acquire()).unwrap();
    let waiter = place.stand_in_line(&b, "x");
    strike(&place, place.ensemble.leader());
    place.ensemble.leader();
    // For longer than a ttl: it has been renewed since.
    place.pass(TTL);
    assert!(lease.is_valid(), "lost: {:?}", lease.loss());
    let (next, took) = place.hand_over(lease, waiter);
    assert!(took < SECOND * 2, "{took:?}");
    place.wait(next.release()).unwrap();
    place.await_line("x", 0);
}

#[test]
fn a_lease_and_a_wait_outlive_a_leader_that_dies() {
    outlives(|place, leader| place.ensemble.kill(leader));
}

#[test]
fn a_lease_and_a_wait_outlive_a_leader_that_hangs() {
    outlives(|place, leader| place.ensemble.freeze(leader));
}

#[test]
fn a_lease_outlives_the_member_that_its_client_talks_to() {
    let place = Place::of_three();
    let ways: Vec<Proxy> =
        (0..3).map(|member| Proxy::of_bytes(place.ensemble.port(member))).collect();
    let ends = ways.iter().map(|way| format!("127.0.0.1:{}", way.port()));
    let client = place.client_of(&place.url_by(&ends.collect::<Vec<_>>().join(",")));
    let lease = place.wait(client.lock("x").ttl(TTL).acquire()).unwrap();
    let session = place.session_of(&place.only_node("x"));
    for hangs in [false, true] {
        let counts = || ways.iter().map(Proxy::commands).collect::<Vec<_>>();
        let before = counts();
        place.pass(SECOND);
        let talked = counts().into_iter().zip(before).map(|(now, before)| now - before);
        let busiest = talked.enumerate().max_by_key(|(_, pieces)| *pieces).unwrap().0;
        match hangs {
            true => place.ensemble.freeze(busiest),
            false => place.ensemble.kill(busiest),
        }
        place.pass(TTL);
        assert!(lease.is_valid(), "lost: {:?}", lease.loss());
        match hangs {
            true => place.ensemble.thaw(busiest),
            false => place.ensemble.restart(busiest),
        }
        place.ensemble.await_ready(busiest);
    }
    assert_eq!(place.session_of(&place.only_node("x")), session, "the session was kept");
    place.wait(lease.release()).unwrap();
}

#[test]
fn a_lease_and_a_wait_outlive_members_that_are_restarted_one_after_the_other() {
    let place = Place::of_three();
    let (a, b) = (place.client(), place.client());
    let lease = place.wait(a.lock("x").ttl(TTL).acquire()).unwrap();
    let waiter = place.stand_in_line(&b, "x");
    for member in 0..3 {
        place.ensemble.kill(member);
        place.ensemble.restart(member);
        place.ensemble.leader();
        assert!(until(LIMIT, || place.wait(lease.renew()).ok()).is_some());
    }
    place.hand_over(lease, waiter);
}

#[test]
fn without_a_majority_it_is_broken_and_not_busy_and_a_lease_is_lost_in_time() {
    let place = Place::of_three();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(3 * SECOND).acquire()).unwrap();
    place.ensemble.kill(0);
    place.ensemble.kill(1);
    let killed = now();
    assert_eq!(place.wait(lease.lost()), Loss::Expired);
    assert!(killed.elapsed() < 3 * SECOND, "{:?}", killed.elapsed());
    let error = place.wait(client.lock("y").wait(SECOND).acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_ne!(error.outcome(), Outcome::Held, "{error}");
    let error = place.no_client_of(&format!("{}?connect_timeout=1s", place.url()));
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    // Who waits through it is served afterwards.
    let waiter = place.queue(client.lock("x").ttl(TTL));
    place.ensemble.revive(0);
    let (next, _) = place.granted(waiter);
    assert!(next.fence() > lease.fence());
    assert!(until(LIMIT, || place.wait(client.lock("y").try_acquire()).ok().flatten()).is_some());
}

#[test]
fn a_lease_outlives_the_loss_of_the_majority_for_less_than_its_ttl() {
    let place = Place::of_three();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(TTL).acquire()).unwrap();
    place.ensemble.kill(1);
    place.ensemble.kill(2);
    place.pass(SECOND);
    place.ensemble.revive(1);
    place.pass(TTL);
    assert!(lease.is_valid(), "lost: {:?}", lease.loss());
    place.wait(lease.release()).unwrap();
}

#[test]
fn closing_waits_for_no_dead_member_and_ends_the_session() {
    let place = Place::of_three();
    let client = place.client();
    let _lease = place.wait(client.lock("x").ttl(30 * SECOND).acquire()).unwrap();
    place.ensemble.kill(place.ensemble.leader());
    let closing = now();
    place.wait(client.close());
    assert!(closing.elapsed() < TTL, "{:?}", closing.elapsed());
    place.ensemble.leader();
    place.await_empty();
    assert!(closing.elapsed() < 20 * SECOND, "it was the session's own end");
}
