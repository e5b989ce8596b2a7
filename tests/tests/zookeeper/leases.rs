//! What a lease is in ZooKeeper: its node, its session, its end.

use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::{Lease, Loss};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::proxy::Proxy;
use leasehold_tests::servers::ZooKeeperSettings;

#[test]
fn nodes_are_named_as_curators_and_tell_who_holds_and_who_waits() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let held = place.wait(a.lock("invoices/42").ttl(LONG).label("charging").acquire()).unwrap();
    let waiter = place.queue(b.lock("invoices/42").ttl(LONG));
    place.await_line("invoices%2F42", 2);
    let (line, mut rig) = (place.line("invoices%2F42"), place.rig());
    for path in &line {
        let name = path.rsplit('/').next().unwrap();
        let uuid = name.strip_prefix("_c_").unwrap().split_once("-lock-").unwrap().0;
        let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{path}");
        assert_ne!(rig.get(path).unwrap().unwrap().owner, 0, "{path} would stay for ever");
    }
    let data = rig.get(&line[0]).unwrap().unwrap().data;
    let said = String::from_utf8_lossy(&data).into_owned();
    for word in ["charging", &std::process::id().to_string()] {
        assert!(said.contains(word), "{word} in {said:?}");
    }
    let status = place.wait(a.status("invoices/42")).unwrap().unwrap();
    assert!(status.holder().unwrap().label.ends_with("charging"), "{status:?}");
    assert_eq!(status.waiters.len(), 1);
    let (next, _) = place.hand_over(held, waiter);
    assert_eq!(place.only_node("invoices%2F42"), line[1]);
    place.wait(next.release()).unwrap();
    place.await_empty();
}

#[test]
fn the_fence_is_the_number_of_the_write_that_created_the_node() {
    let place = Place::new();
    let client = place.client();
    let mut last = 0;
    for round in 0..6 {
        let lease = place.hold(&client, "x");
        let node = place.rig().get(&place.only_node("x")).unwrap().unwrap();
        assert_eq!(lease.fence(), node.czxid);
        assert!(lease.fence() > last);
        last = lease.fence();
        match round % 3 {
            0 => drop(place.wait(lease.release())),
            1 => assert!(place.wait(place.client().break_lock("x")).unwrap()),
            // Of the node that all of them stood in, nothing is left.
            _ => {
                place.wait(lease.release()).unwrap();
                place.rig().delete(&place.lock_node("x")).unwrap();
            }
        }
    }
}

#[test]
fn a_pair_costs_one_write_to_take_and_one_to_give_back() {
    let place = Place::on(ZooKeeperSettings::default());
    let client = place.client();
    place.wait(place.hold(&client, "x").release()).unwrap();
    let before = place.ensemble.writes();
    for _ in 0..50 {
        place.wait(place.hold(&client, "x").release()).unwrap();
    }
    // And the two looks at who leads, of which the first was counted before; and a few beats.
    let writes = place.ensemble.writes() - before;
    assert!((2 * 50 + 2..2 * 50 + 2 + 50).contains(&writes), "{writes}");
}

#[test]
fn all_locks_of_a_client_are_kept_by_the_same_beats() {
    const MANY: u32 = 300;
    let place = Place::on(ZooKeeperSettings::default());
    let client = place.client();
    let lock = |number: u32| client.lock(format!("x{number}")).ttl(4 * SECOND);
    let leases: Vec<Lease> = (0..MANY).map(|n| place.wait(lock(n).acquire()).unwrap()).collect();
    let sessions = place.ensemble.number(0, "global_sessions");
    assert!(sessions <= 2, "{sessions} sessions");
    // Each is looked at once, and watched from then on.
    place.pass(2 * SECOND);
    let received = || place.ensemble.number(0, "packets_received");
    let (before, writes) = (received(), place.ensemble.writes());
    place.pass(4 * SECOND);
    let asked = received() - before;
    assert!(asked < 60, "{asked} requests in four seconds");
    let writes = place.ensemble.writes() - writes;
    assert!((4..30).contains(&writes), "{writes} writes: beats are, and no leases");
    assert!(leases.iter().all(Lease::is_valid));
}

#[test]
fn a_lease_outlives_its_ttl_many_times_and_its_deadline_moves() {
    let place = Place::new();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(SECOND).acquire()).unwrap();
    for _ in 0..30 {
        place.pass(SECOND / 10);
        assert!(lease.is_valid(), "{:?}", lease.loss());
        assert!(lease.remaining() <= lease.ttl());
    }
    place.wait(lease.release()).unwrap();
}

#[test]
fn what_is_not_renewed_ends_with_its_ttl_while_others_are_kept() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let renewed = place.wait(client.lock("renewed").ttl(2 * SECOND).acquire()).unwrap();
    let once = client.lock("once").ttl(2 * SECOND).auto_renew(false);
    let once = place.wait(once.acquire()).unwrap();
    let taken = now();
    let waiter = place.stand_in_line(&other, "once");
    // Nobody polls or drops it.
    assert_eq!(place.wait(once.lost()), Loss::Expired);
    assert!(taken.elapsed() < 2 * SECOND);
    let (next, _) = place.granted(waiter);
    assert!(next.fence() > once.fence());
    assert!(renewed.is_valid());
}

#[test]
fn a_node_that_is_deleted_is_a_lost_lease_and_no_others() {
    let place = Place::new();
    let client = place.client();
    let (lease, other) = (place.hold(&client, "x"), place.hold(&client, "y"));
    place.rig().delete(&place.only_node("x")).unwrap();
    assert_eq!(place.wait(lease.renew()).unwrap_err().kind(), leasehold::Kind::Lost);
    assert_eq!(lease.loss(), Some(Loss::Gone));
    assert!(place.hold(&client, "x").fence() > lease.fence());
    place.wait(other.renew()).unwrap();
}

#[test]
fn a_lease_whose_node_is_deleted_hears_of_it_before_its_ttl_is_over() {
    let place = Place::new();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(6 * SECOND).acquire()).unwrap();
    place.rig().delete(&place.only_node("x")).unwrap();
    let deleted = now();
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
    assert!(deleted.elapsed() < 4 * SECOND, "{:?}", deleted.elapsed());
}

#[test]
fn a_lease_that_is_broken_is_lost_at_once() {
    let place = Place::new();
    let lease = place.hold(&place.client(), "x");
    let broken = now();
    assert!(place.wait(place.client().break_lock("x")).unwrap());
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
    assert!(broken.elapsed() < PROMPT, "{:?}", broken.elapsed());
    assert!(!place.wait(place.client().break_lock("x")).unwrap());
}

#[test]
fn a_session_that_ends_is_the_loss_of_all_its_locks() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let (a, b) = (place.hold(&client, "a"), place.hold(&client, "b"));
    let kept = place.hold(&other, "c");
    let session = place.session_of(&place.only_node("a"));
    assert_eq!(place.session_of(&place.only_node("b")), session, "a session for all");
    place.end_session(session);
    assert_eq!(place.wait(a.lost()), Loss::Gone);
    assert_eq!(place.wait(b.lost()), Loss::Gone);
    place.wait(kept.renew()).unwrap();
    // The next have a new session.
    let next = until(LIMIT, || place.try_hold(&client, "a")).unwrap();
    assert!(next.fence() > a.fence());
    assert_ne!(place.session_of(&place.only_node("a")), session);
}

#[test]
fn a_session_that_somebody_moves_is_taken_back_and_nothing_is_lost() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let lease = place.wait(client.lock("x").ttl(6 * SECOND).acquire()).unwrap();
    let session = place.session_of(&place.only_node("x"));
    let waiter = place.stand_in_line(&other, "x");
    for _ in 0..3 {
        let port = place.ensemble.port(0);
        let thief = leasehold_tests::servers::ZkClient::take_over(port, session).unwrap();
        let renewed = until(LIMIT, || place.wait(lease.renew()).ok());
        assert!(renewed.is_some(), "{:?}", lease.loss());
        thief.forget();
    }
    place.pass(6 * SECOND);
    assert!(lease.is_valid(), "{:?}", lease.loss());
    place.hand_over(lease, waiter);
}

#[test]
fn a_holder_that_hears_nothing_stops_before_its_node_is_gone() {
    let place = Place::on(ZooKeeperSettings::default());
    let way = Proxy::of_bytes(place.ensemble.port(0));
    let (client, other) = (place.client_by(&way), place.client());
    for answers_are_lost in [true, false] {
        let lease = place.wait(client.lock("x").ttl(2 * SECOND).acquire()).unwrap();
        place.pass(SECOND);
        let waiter = place.stand_in_line(&other, "x");
        let stalled = now();
        match answers_are_lost {
            true => way.stall_downstream(true),
            false => way.stall_upstream(true),
        }
        assert_eq!(place.wait(lease.lost()), Loss::Expired);
        // The session lasts a little longer than the ttl.
        assert!(stalled.elapsed() < 3 * SECOND, "{:?}", stalled.elapsed());
        let lost = now();
        if answers_are_lost {
            // Its beats have arrived until now.
            way.stall_upstream(true);
            way.cut();
        }
        let (next, granted) = place.granted(waiter);
        assert!(granted > lost);
        way.stall_downstream(false);
        way.stall_upstream(false);
        way.cut();
        place.wait(next.release()).unwrap();
        place.await_line("x", 0);
        // And it works again.
        let again = || place.wait(client.lock("y").try_acquire()).ok().flatten();
        place.wait(until(LIMIT, again).unwrap().release()).unwrap();
    }
}

#[test]
fn a_lease_outlives_connections_that_are_cut() {
    let place = Place::new();
    let way = Proxy::of_bytes(place.ensemble.port(0));
    let client = place.client_by(&way);
    let lease = place.wait(client.lock("x").ttl(4 * SECOND).acquire()).unwrap();
    let session = place.session_of(&place.only_node("x"));
    for _ in 0..16 {
        way.cut();
        place.pass(SECOND / 4);
    }
    way.refuse(true);
    way.cut();
    place.pass(SECOND / 2);
    way.refuse(false);
    assert!(until(LIMIT, || place.wait(lease.renew()).ok()).is_some());
    assert!(lease.is_valid(), "{:?}", lease.loss());
    assert_eq!(place.session_of(&place.only_node("x")), session);
    place.wait(lease.release()).unwrap();
    place.await_empty();
}

#[test]
fn leases_of_nearly_the_longest_ttl_share_a_session() {
    let place = Place::on(ZooKeeperSettings::default().line("maxSessionTimeout=7000"));
    let client = place.client();
    let ttl = |tenths: u32| SECOND / 10 * tenths;
    let mut sessions = std::collections::BTreeSet::new();
    for tenths in 51..56 {
        let name = format!("x{tenths}");
        let lock = client.lock(&*name).ttl(ttl(tenths));
        std::mem::forget(place.wait(lock.acquire()).unwrap());
        sessions.insert(place.session_of(&place.only_node(&name)));
    }
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    let error = place.wait(client.lock("y").ttl(ttl(57)).acquire()).unwrap_err();
    assert_eq!(error.kind(), leasehold::Kind::Invalid, "{error}");
    assert!(error.to_string().contains("maxSessionTimeout"), "{error}");
}

#[test]
fn what_a_session_does_not_allow_is_refused_with_that_reason() {
    let place = Place::new();
    let client = place.client();
    let lease = place.hold(&client, "x");
    let ticket = place.wait(lease.into_ticket()).map(drop).unwrap_err();
    let resting = client.lock("y").min_hold(SECOND);
    let resting = place.wait(resting.acquire()).map(drop).unwrap_err();
    for error in [ticket, resting] {
        assert_eq!(error.kind(), leasehold::Kind::Unsupported, "{error}");
        assert!(error.to_string().contains("session"), "{error}");
    }
}
