//! Waiting for a lock in ZooKeeper: order, wakes, and what is left behind.

use std::time::Duration;

use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::proxy::Proxy;
use leasehold_tests::servers::ZooKeeperSettings;
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
    let place = Place::on(ZooKeeperSettings::default());
    let clients: Vec<_> = (0..WAITERS).map(|_| place.client()).collect();
    let mut lease = place.hold(&place.client(), "x");
    let waiters: Vec<_> = clients.iter().map(|client| place.stand_in_line(client, "x")).collect();
    let sent = || place.ensemble.number(0, "packets_sent");
    let (before, started) = (sent(), now());
    for waiter in waiters {
        lease = place.hand_over(lease, waiter).0;
    }
    let (said, took) = (sent() - before, started.elapsed());
    // A release, the news, a look, the holder's beat for each; besides, each of them asks
    // again and beats now and then. A herd would be half a million.
    let asked_again = 4 * WAITERS * (took.as_millis() as u64 / 500 + 1);
    assert!(said <= 8 * WAITERS + asked_again, "{said} answers in {took:?}");
}

#[test]
fn a_lock_is_handed_on_inside_a_client_at_once() {
    let place = Place::new();
    let client = place.client();
    let lease = place.hold(&client, "x");
    let turn = |lock: leasehold::Lock| async move { lock.acquire().await?.release().await };
    let turns: Vec<_> = (0..20).map(|_| place.spawn(turn(client.lock("x").ttl(LONG)))).collect();
    let waiting = || place.wait(client.status("x")).unwrap().unwrap().waiters.len();
    until(LIMIT, || (waiting() >= 1).then_some(())).expect("somebody waits");
    let released = now();
    place.wait(lease.release()).unwrap();
    turns.into_iter().for_each(|turn| place.wait(turn).unwrap().unwrap());
    assert!(released.elapsed() < 4 * SECOND, "{:?}", released.elapsed());
    place.await_empty();
}

#[test]
fn who_waits_in_the_holders_client_comes_after_those_who_stand_in_line_already() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    let other = place.stand_in_line(&b, "x");
    let own = place.queue(a.lock("x").ttl(LONG));
    place.pass(SECOND / 5);
    let (next, _) = place.hand_over(lease, other);
    place.hand_over(next, own);
    place.await_empty();
}

#[test]
fn a_dead_waiter_keeps_the_others_for_no_longer_than_its_session() {
    let place = Place::new();
    let lease = place.hold(&place.client(), "x");
    let mut dead = leasehold_tests::servers::ZkClient::connect_for(
        place.ensemble.port(place.ensemble.leader()),
        SECOND,
    )
    .unwrap();
    let path = format!("{}/_c_00000000-0000-0000-0000-000000000000-lock-", place.lock_node("x"));
    dead.stand(&path, b"nobody").unwrap();
    let waiter = place.stand_in_line(&place.client(), "x");
    dead.forget();
    let (_, took) = place.hand_over(lease, waiter);
    assert!(took < SECOND * 4, "{took:?}");
}

#[test]
fn a_waiter_whose_node_is_deleted_stands_in_line_again() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    let waiter = place.stand_in_line(&b, "x");
    place.rig().delete(&place.line("x")[1]).unwrap();
    place.await_line("x", 2);
    place.hand_over(lease, waiter);
}

#[test]
fn a_waiter_whose_session_ends_stands_in_line_again() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    let waiter = place.stand_in_line(&b, "x");
    let session = place.session_of(&place.line("x")[1]);
    place.end_session(session);
    let anew = || {
        let line = place.line("x");
        (line.len() == 2 && place.session_of(&line[1]) != session).then_some(())
    };
    assert!(until(LIMIT, anew).is_some());
    place.hand_over(lease, waiter);
}

/// A watch belongs to a connection.
#[test]
fn a_waiter_hears_of_a_release_also_after_its_connection_was_made_anew() {
    const ROUNDS: u32 = 8;
    let place = Place::new();
    let way = Proxy::of_bytes(place.ensemble.port(0));
    let (a, b) = (place.client(), place.client_by(&way));
    let mut late = Duration::ZERO;
    for _ in 0..ROUNDS {
        let lease = place.hold(&a, "x");
        let waiter = place.stand_in_line(&b, "x");
        let connections = way.connections();
        way.cut();
        let again = || (way.connections() > connections).then_some(());
        until(LIMIT, again).unwrap();
        // What it has to say first, it has said then; and it does not ask again so soon.
        place.pass(Duration::from_millis(fastrand::u64(100..300)));
        let (next, took) = place.hand_over(lease, waiter);
        late += took;
        place.wait(next.release()).unwrap();
    }
    assert!(late < ROUNDS * PROMPT / 5, "{late:?} for {ROUNDS}");
}

/// The node that it watched went while nobody could tell it.
#[test]
fn a_release_in_an_outage_is_seen_when_it_is_over() {
    let place = Place::new();
    let way = Proxy::of_bytes(place.ensemble.port(0));
    let (a, b) = (place.client(), place.client_by(&way));
    for _ in 0..4 {
        let lease = place.hold(&a, "x");
        let waiter = place.stand_in_line(&b, "x");
        way.refuse(true);
        way.cut();
        place.wait(lease.release()).unwrap();
        place.pass(SECOND / 4);
        assert!(!waiter.is_finished());
        way.refuse(false);
        let (next, _) = place.granted(waiter);
        place.wait(next.release()).unwrap();
    }
    place.await_empty();
}

#[test]
fn an_acquire_that_is_cancelled_anywhere_leaves_nothing_behind() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    for round in 0..48 {
        let holder = (round % 2 == 0).then(|| place.hold(&a, "x"));
        let lock = b.lock("x").ttl(LONG);
        let cut = place.wait(cut_at(round / 2 % 6, lock.acquire()));
        drop((cut, holder));
    }
    place.await_empty();
    assert!(place.wait(a.lock("x").try_acquire()).unwrap().is_some());
}

#[test]
fn who_tries_and_waits_in_vain_leaves_nothing_behind() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    for _ in 0..5 {
        assert!(place.try_hold(&b, "x").is_none());
        let error = place.wait(b.lock("x").wait(SECOND / 10).acquire()).unwrap_err();
        assert_eq!(error.kind(), leasehold::Kind::Timeout, "{error}");
    }
    place.await_line("x", 1);
    place.wait(lease.release()).unwrap();
    place.await_empty();
}

#[test]
fn the_line_goes_on_where_its_numbers_wrap() {
    let place = Place::new();
    let client = place.client();
    let node = place.lock_node("x");
    let mut rig = place.rig();
    rig.put(&node, b"").unwrap();
    // By hand, as ZooKeeper writes them: it counts in 32 bits, and in ten characters with
    // the sign. Whoever comes then has a number near zero.
    let mut stand = |number: &str| {
        let path = format!("{node}/_c_00000000-0000-0000-0000-000000000000-lock-{number}");
        rig.create(&path, b"", 1).unwrap();
        path
    };
    let before = ["-1000000000", "-999999999", "-000000002", "-000000001"].map(&mut stand);
    let waiters = before.len();
    let status = place.wait(client.status("x")).unwrap().unwrap();
    assert_eq!(status.waiters.len(), waiters - 1);
    for path in before {
        assert!(place.try_hold(&client, "x").is_none(), "{path} is there");
        place.rig().delete(&path).unwrap();
    }
    assert!(place.try_hold(&client, "x").is_some());
}
