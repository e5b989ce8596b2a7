//! Waiting for a lock in etcd: order, wakes, and what is left behind.

use std::task::{Context, Waker};

use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::world::cut_at;

#[test]
fn the_lock_goes_to_those_who_wait_in_their_order_and_at_once() {
    let place = Place::new();
    let clients: Vec<_> = (0..6).map(|_| place.client()).collect();
    let mut lease = place.hold(&clients[0], "x");
    let waiters: Vec<_> =
        clients[1..].iter().map(|client| place.stand_in_line(client, "x")).collect();
    for waiter in waiters {
        let (next, took) = place.hand_over(lease, waiter);
        assert!(took < PROMPT / 2, "{took:?}");
        lease = next;
    }
}

#[test]
fn a_release_wakes_one_of_many_who_wait() {
    const WAITERS: u64 = 40;
    let place = Place::new();
    let clients: Vec<_> = (0..WAITERS).map(|_| place.client()).collect();
    let mut lease = place.hold(&place.client(), "x");
    let waiters: Vec<_> = clients.iter().map(|client| place.stand_in_line(client, "x")).collect();
    let calls = || place.cluster.calls().get("Txn").copied().unwrap_or(0);
    let (before, started) = (calls(), now());
    for waiter in waiters {
        lease = place.hand_over(lease, waiter).0;
    }
    let (asked, took) = (calls() - before, started.elapsed());
    // A release, a look, and perhaps the move to another session for each;
    // besides, each of them asks again every 600 ms.
    let asked_again = WAITERS * (took.as_millis() as u64 / 500 + 1);
    assert!(asked <= 3 * WAITERS + asked_again, "{asked} transactions in {took:?}");
    assert!(took < SECOND * 3, "{took:?}");
}

#[test]
fn a_lock_is_handed_on_inside_a_client_by_one_transaction() {
    let place = Place::new();
    let client = place.client();
    let lease = place.hold(&client, "x");
    let turn = |lock: leasehold::Lock| async move { lock.acquire().await?.release().await };
    let turns: Vec<_> = (0..20).map(|_| place.spawn(turn(client.lock("x").ttl(LONG)))).collect();
    // They stand in line inside the client, where nobody else can see them.
    let waiting = || place.wait(client.status("x")).unwrap().unwrap().waiters.len();
    until(LIMIT, || (waiting() == 20).then_some(())).expect("all of them wait");
    let calls = || place.cluster.calls().get("Txn").copied().unwrap_or(0);
    let before = calls();
    place.wait(lease.release()).unwrap();
    turns.into_iter().for_each(|turn| place.wait(turn).unwrap().unwrap());
    assert_eq!(calls() - before, 21);
    assert_eq!(place.keys(), []);
}

#[test]
fn who_waits_in_the_holders_client_comes_after_those_who_stand_in_line_already() {
    let place = Place::new();
    let (a, b, c) = (place.client(), place.client(), place.client());
    let lease = place.hold(&a, "x");
    // They wait in its client, where the cluster does not see them.
    let own = [place.stand_in_line(&a, "x"), place.stand_in_line(&a, "x")];
    let others = [place.stand_in_line(&b, "x"), place.stand_in_line(&c, "x")];
    let mut lease = lease;
    let [first, second] = others;
    for waiter in [first, second].into_iter().chain(own) {
        lease = place.hand_over(lease, waiter).0;
    }
    place.wait(lease.release()).unwrap();
    place.await_empty();
}

#[test]
fn a_waiter_that_is_not_polled_keeps_its_client_from_no_other_lock() {
    let place = Place::new();
    let client = place.client();
    // Polled once, when the session is yet to be opened that all of them use.
    let lock = client.lock("x").ttl(LONG);
    let mut unpolled = Box::pin(lock.acquire());
    let poll = async { unpolled.as_mut().poll(&mut Context::from_waker(Waker::noop())) };
    assert!(place.wait(poll).is_pending());
    for name in ["y", "z"] {
        assert!(place.try_hold(&client, name).is_some(), "{name} is free");
    }
    // Its turn is lost to whoever waits behind it.
    place.wait(place.hold(&client, "x").release()).unwrap();
    place.wait(place.wait(unpolled).unwrap().release()).unwrap();
}

#[test]
fn a_dead_waiter_keeps_the_others_for_no_longer_than_its_session() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    let granted = place.cluster.ctl(&["lease", "grant", "2"]);
    let session = granted.split_whitespace().nth(1).unwrap().to_owned();
    let dead = "leasehold/x/#00000000000000000000000000000000";
    place.cluster.ctl(&[
        "put",
        dead,
        "nobody, waits since 2026-01-01T00:00:00Z",
        "--lease",
        &session,
    ]);
    let waiter = place.stand_in_line(&b, "x");
    let (_, took) = place.hand_over(lease, waiter);
    assert!(took < SECOND * 7 / 2, "{took:?}");
}

#[test]
fn a_waiter_whose_key_is_deleted_stands_in_line_again() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    let waiter = place.stand_in_line(&b, "x");
    let keys = place.keys();
    let its = keys.iter().find(|(key, _)| Some(key) != lease.key().as_ref()).unwrap();
    place.cluster.ctl(&["del", &its.0]);
    assert!(until(LIMIT, || (place.keys().len() == 2).then_some(())).is_some());
    place.hand_over(lease, waiter);
}

#[test]
fn what_is_forgotten_before_a_wait_begins_is_no_obstacle() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    let waiter = place.stand_in_line(&b, "x");
    for round in 0..20 {
        place.cluster.ctl(&["put", "other", &round.to_string()]);
    }
    let status = place.cluster.ctl(&["get", "other", "-w", "fields"]);
    let revision = status.lines().find_map(|line| line.strip_prefix("\"Revision\" : ")).unwrap();
    place.cluster.ctl(&["compact", revision]);
    let late = place.stand_in_line(&place.client(), "x");
    let (next, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "{took:?}");
    place.hand_over(next, late);
}

#[test]
fn an_acquire_that_is_cancelled_anywhere_leaves_nothing_behind() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    for round in 0..100 {
        let holder = (round % 2 == 0).then(|| place.hold(&a, "x"));
        let lock = b.lock("x").ttl(LONG);
        // Who waits is polled twice a second only.
        let cut = place.wait(cut_at(round / 2 % 5, lock.acquire()));
        drop((cut, holder));
    }
    place.await_empty();
    assert!(place.wait(a.lock("x").try_acquire()).unwrap().is_some());
}
