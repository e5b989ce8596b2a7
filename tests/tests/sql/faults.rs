//! A server that dies, hangs, and ends its sessions.

use crate::dialect::CLAIM_MAKES_ROW;
use crate::place::{LONG, Place, SECOND};
use leasehold::{Kind, Loss, Outcome};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::proxy::Proxy;

const TTL: std::time::Duration = std::time::Duration::from_secs(6);

/// What one who holds a lock and one who waits for it come to, while something is done to
/// the server, or what is between.
#[track_caller]
fn outlives(place: &Place, url: &str, strike: impl Fn()) {
    let (a, b) = (place.client_of(url), place.client_of(url));
    let lease = place.wait(a.lock("x").ttl(TTL).acquire()).unwrap();
    let waiter = place.stand_in_line(&b, "x");
    strike();
    // For longer than a ttl: it has been renewed since.
    place.pass(TTL);
    assert!(lease.is_valid(), "lost: {:?}", lease.loss());
    let (next, took) = place.hand_over(lease, waiter);
    assert!(took < SECOND * 2, "{took:?}");
    place.wait(next.release()).unwrap();
}

#[test]
fn a_lease_and_a_wait_outlive_a_crash_of_the_server() {
    let place = Place::new();
    outlives(&place, &place.server.url(), || place.server.restart());
}

#[test]
fn a_lease_and_a_wait_outlive_a_server_that_hangs_for_less_than_the_ttl() {
    let place = Place::new();
    outlives(&place, &place.server.url(), || {
        place.server.freeze();
        place.pass(SECOND * 2);
        place.server.thaw();
    });
}

#[test]
fn a_lease_and_a_wait_outlive_the_end_of_all_sessions() {
    let place = Place::new();
    outlives(&place, &place.server.url(), || place.end_sessions());
}

#[test]
fn a_lease_and_a_wait_outlive_a_cut_connection() {
    let place = Place::new();
    let proxy = Proxy::of_bytes(place.server.port());
    let url = place.server.url();
    let url = url.replace(&place.server.port().to_string(), &proxy.port().to_string());
    outlives(&place, &url, || {
        proxy.stall_downstream(true);
        place.pass(SECOND / 2);
        proxy.cut();
        proxy.stall_downstream(false);
    });
}

#[test]
fn a_server_that_is_gone_is_broken_and_not_busy_and_a_lease_is_lost_in_time() {
    let place = Place::new();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(3 * SECOND).acquire()).unwrap();
    place.server.kill();
    let killed = now();
    assert_eq!(place.wait(lease.lost()), Loss::Expired);
    assert!(killed.elapsed() < 3 * SECOND, "{:?}", killed.elapsed());
    let error = place.wait(client.lock("y").try_acquire()).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::NotHeld), "{error}");
    // Who waits through it is served afterwards.
    let waiter = place.queue(client.lock("x").ttl(TTL));
    place.server.restart();
    let (next, _) = place.granted(waiter);
    assert!(next.fence() > lease.fence());
}

#[test]
fn a_server_that_hangs_is_waited_for_no_longer_than_wait_and_a_question() {
    let place = Place::new();
    let client = place.client();
    let _lease = place.wait(client.lock("x").ttl(LONG).acquire()).unwrap();
    place.server.freeze();
    for wait in [SECOND, 2 * SECOND] {
        let asked = now();
        let error = place.wait(client.lock("y").wait(wait).acquire()).unwrap_err();
        let kind = error.kind();
        assert!(matches!(kind, Kind::Timeout | Kind::Unavailable), "{error}");
        let took = asked.elapsed();
        assert!(took < wait + 5 * SECOND, "{took:?} for {wait:?}");
    }
    place.server.thaw();
    // What was sent meanwhile is taken back.
    let other = place.client();
    let free = || place.wait(other.lock("y").try_acquire()).unwrap();
    assert!(until(LIMIT, free).is_some());
}

#[test]
fn a_claim_whose_answer_is_lost_leaves_nothing_behind() {
    let place = Place::new();
    let proxy = Proxy::of_bytes(place.server.port());
    let url = place.server.url();
    let url = url.replace(&place.server.port().to_string(), &proxy.port().to_string());
    let (client, other) = (place.client_of(&url), place.client());
    for round in 0..5 {
        let name = format!("x{round}");
        if !CLAIM_MAKES_ROW {
            let row = place.wait(client.lock(&name).acquire()).unwrap();
            place.wait(row.release()).unwrap();
        }
        // The server has been told what will be asked.
        place.wait(place.hold(&client, "warm").release()).unwrap();
        proxy.stall_downstream(true);
        let asks = place.queue(client.lock(&name).ttl(LONG));
        let is_held = || (place.column(&name, "owner").len() == 32).then_some(());
        assert!(until(LIMIT, is_held).is_some());
        asks.abort();
        proxy.cut();
        proxy.stall_downstream(false);
        let free = || place.wait(other.lock(&name).ttl(LONG).try_acquire()).unwrap();
        let asked = now();
        assert!(until(LIMIT, free).is_some());
        assert!(asked.elapsed() < LONG / 4, "{:?}", asked.elapsed());
    }
}

#[test]
fn closing_waits_for_no_dead_server() {
    let place = Place::new();
    let client = place.client();
    let _lease = place.wait(client.lock("x").ttl(TTL).acquire()).unwrap();
    place.server.kill();
    let closing = now();
    place.wait(client.close());
    assert!(closing.elapsed() < TTL + SECOND, "{:?}", closing.elapsed());
}
