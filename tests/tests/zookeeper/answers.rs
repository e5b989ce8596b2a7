//! Answers that are lost, after what was asked was done.

use std::time::Duration;

use crate::place::{LONG, Place, SECOND};
use leasehold::{Client, Kind, Outcome};
use leasehold_tests::proxy::Proxy;

/// A client that has what it needs to take a lock, but for the lock.
fn with_session(place: &Place, way: &Proxy) -> Client {
    let client = place.client_by(way);
    place.wait(place.hold(&client, "first").release()).unwrap();
    client
}

#[test]
fn a_claim_whose_answer_is_lost_is_granted_by_the_node_that_it_made() {
    let place = Place::new();
    let way = Proxy::of_bytes(place.ensemble.port(0));
    let client = with_session(&place, &way);
    for _ in 0..4 {
        way.stall_downstream(true);
        let taker = place.queue(client.lock("first").ttl(LONG));
        place.await_line("first", 1);
        let made = place.only_node("first");
        way.cut();
        way.stall_downstream(false);
        let (lease, _) = place.granted(taker);
        assert_eq!(place.only_node("first"), made, "it is the same that holds now");
        assert_eq!(lease.fence(), place.rig().get(&made).unwrap().unwrap().czxid);
        place.wait(lease.release()).unwrap();
        place.await_line("first", 0);
    }
}

#[test]
fn a_connection_that_is_cut_at_any_moment_of_a_claim_leaves_one_node() {
    let place = Place::new();
    let way = Proxy::of_bytes(place.ensemble.port(0));
    let client = with_session(&place, &way);
    for round in 0..20 {
        // Now and then one whose node is not there, nor that of all locks of its kind.
        let name = format!("x{}", round / 2);
        way.delay_replies(Duration::from_millis(fastrand::u64(0..4)));
        let taker = place.queue(client.lock(name.as_str()).ttl(LONG));
        place.pass(Duration::from_micros(fastrand::u64(0..12_000)));
        way.cut();
        let (lease, _) = place.granted(taker);
        let node = place.rig().get(&place.only_node(&name)).unwrap().unwrap();
        assert_eq!(lease.fence(), node.czxid);
        drop(place.wait(lease.release()));
        place.await_line(&name, 0);
    }
}

#[test]
fn a_claim_behind_another_whose_answer_is_lost_stands_in_line_once() {
    let place = Place::new();
    let way = Proxy::of_bytes(place.ensemble.port(0));
    let (client, other) = (with_session(&place, &way), place.client());
    let held = place.hold(&other, "x");
    way.stall_downstream(true);
    let waiter = place.queue(client.lock("x").ttl(LONG));
    place.await_line("x", 2);
    let line = place.line("x");
    way.cut();
    way.stall_downstream(false);
    // It goes on from where it stood, and makes no other node.
    for _ in 0..20 {
        place.pass(SECOND / 20);
        assert_eq!(place.line("x"), line);
    }
    let (next, _) = place.hand_over(held, waiter);
    assert_eq!(place.line("x"), line[1..]);
    place.wait(next.release()).unwrap();
    place.await_line("x", 0);
}

#[test]
fn a_claim_that_is_given_up_while_its_answer_is_lost_leaves_nothing_behind() {
    let place = Place::new();
    let way = Proxy::of_bytes(place.ensemble.port(0));
    let client = place.client_by(&way);
    place.wait(place.hold(&client, "x").release()).unwrap();
    for cuts in [true, false] {
        way.stall_downstream(true);
        let taker = place.queue(client.lock("x").ttl(LONG));
        place.await_line("x", 1);
        taker.abort();
        if cuts {
            way.cut();
        }
        way.stall_downstream(false);
        place.await_line("x", 0);
        assert!(place.try_hold(&client, "x").is_some());
        place.await_line("x", 0);
    }
}

#[test]
fn a_release_whose_answer_is_lost_is_done_once() {
    let place = Place::new();
    let way = Proxy::of_bytes(place.ensemble.port(0));
    let (client, other) = (place.client_by(&way), place.client());
    for _ in 0..4 {
        let lease = place.hold(&client, "x");
        let waiter = place.stand_in_line(&other, "x");
        way.stall_downstream(true);
        let released = place.spawn(async move { lease.release().await });
        let (next, _) = place.granted(waiter);
        way.cut();
        way.stall_downstream(false);
        if let Err(error) = place.wait(released).unwrap() {
            // It is not known to whoever asked.
            assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown));
        }
        place.wait(next.renew()).unwrap();
        place.wait(next.release()).unwrap();
        place.await_line("x", 0);
    }
}

/// What reaches the server only after the client has given up.
#[test]
fn a_claim_that_arrives_late_is_nobodys_for_long() {
    let place = Place::new();
    let way = Proxy::of_bytes(place.ensemble.port(0));
    let client = place.client_by(&way);
    place.wait(place.hold(&client, "x").release()).unwrap();
    way.stall_upstream(true);
    let taker = place.queue(client.lock("x").ttl(LONG));
    place.pass(SECOND / 5);
    taker.abort();
    place.pass(SECOND / 5);
    way.stall_upstream(false);
    let other = place.client();
    let lease = place.wait(other.lock("x").ttl(LONG).wait(20 * SECOND).acquire()).unwrap();
    place.wait(lease.release()).unwrap();
    place.await_empty();
}
