//! Locks that several share, and locks with permits, on real members.

use std::collections::{BTreeMap, BTreeSet};

use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::{Client, Kind, Lease, Lock};
use leasehold_tests::patience::{LIMIT, now, until};

fn shared(client: &Client) -> Lock {
    client.lock("x").ttl(LONG).shared()
}

#[track_caller]
fn share(place: &Place, client: &Client) -> Lease {
    place.wait(shared(client).acquire()).unwrap()
}

fn waits(place: &Place, client: &Client, many: usize) {
    let stand = || {
        let status = place.wait(client.status("x")).unwrap();
        status.is_some_and(|status| status.waiters.len() == many).then_some(())
    };
    until(LIMIT, stand).expect("they stand in line");
}

fn txns(place: &Place) -> u64 {
    place.cluster.calls().get("Txn").copied().unwrap_or(0)
}

#[test]
fn keys_tell_who_shares_and_who_has_which_permit() {
    let place = Place::new();
    let client = place.client();
    let leases = [share(&place, &client), share(&place, &place.client())];
    let writer = place.queue(place.client().lock("x").ttl(LONG));
    waits(&place, &client, 1);
    let keys = place.keys();
    let said: Vec<&str> = keys.iter().map(|(_, value)| value.as_str()).collect();
    let joined = format!("held [shared fence {}] since 20", leases[0].fence());
    for word in ["held [shared] since 20", &joined, "waits since 20"] {
        assert!(said.iter().any(|said| said.contains(word)), "{word} in {said:?}");
    }
    assert_eq!(keys.iter().filter(|(key, _)| key.starts_with("leasehold/x/#s-")).count(), 2);
    assert!(leases.iter().all(|lease| lease.key().is_none()), "{leases:?}");
    for lease in leases {
        place.wait(lease.release()).unwrap();
    }
    place.wait(place.granted(writer).0.release()).unwrap();
    let permit = place.wait(client.lock("x").ttl(LONG).permits(4).acquire()).unwrap();
    let keys = place.keys();
    let [(taken, _), (key, said)] = &keys[..] else { panic!("{keys:?}") };
    assert!(taken == "leasehold/x/!p4-0" && key.starts_with("leasehold/x/#p4-"), "{keys:?}");
    assert!(said.contains("held [permit 0] since 20"), "{said}");
    place.wait(permit.release()).unwrap();
    place.await_empty();
}

#[test]
fn a_pair_alone_costs_two_transactions_and_one_that_shares_three() {
    let place = Place::new();
    let client = place.client();
    let pair = |lock: &Lock| {
        place.wait(place.wait(lock.acquire()).unwrap().release()).unwrap();
    };
    let kinds = [
        (client.lock("x").ttl(LONG), 2),
        (shared(&client), 3),
        (client.lock("y").ttl(LONG).permits(2), 3),
    ];
    for (lock, cost) in kinds {
        pair(&lock);
        let before = txns(&place);
        (0..10).for_each(|_| pair(&lock));
        assert_eq!(txns(&place) - before, 10 * cost);
    }
}

#[test]
fn a_released_writer_admits_all_readers_at_once() {
    const READERS: usize = 30;
    let place = Place::new();
    let clients: Vec<Client> = (0..READERS).map(|_| place.client()).collect();
    let lease = place.hold(&place.client(), "x");
    let waiters: Vec<_> = clients.iter().map(|client| place.queue(shared(client))).collect();
    waits(&place, &clients[0], READERS);
    let writer = place.queue(place.client().lock("x").ttl(LONG));
    waits(&place, &clients[0], READERS + 1);
    let released = now();
    place.wait(lease.release()).unwrap();
    let granted = waiters.into_iter().map(|waiter| place.granted(waiter));
    let (leases, times): (Vec<Lease>, Vec<_>) = granted.unzip();
    let took = times.into_iter().max().unwrap() - released;
    assert!(took < PROMPT * 3, "{took:?}");
    let fences: BTreeSet<u64> = leases.iter().map(Lease::fence).collect();
    assert_eq!(fences.len(), 1, "one turn");
    assert!(!writer.is_finished());
    leases.iter().for_each(|lease| place.wait(lease.release()).unwrap());
    assert!(place.granted(writer).0.fence() > leases[0].fence());
}

#[test]
fn a_reader_that_dies_in_a_full_turn_keeps_the_writer_for_its_ttl_and_the_line_in_order() {
    let place = Place::new();
    let clients = [place.client(), place.client(), place.client()];
    let dead = clients[0].lock("x").ttl(2 * SECOND).auto_renew(false).shared();
    let dead = place.wait(dead.acquire()).unwrap();
    let alive = share(&place, &clients[1]);
    assert_eq!(dead.fence(), alive.fence());
    let writer = place.stand_in_line(&clients[2], "x");
    let late = place.queue(shared(&clients[0]));
    waits(&place, &clients[1], 2);
    place.wait(alive.release()).unwrap();
    let (lease, _) = place.granted(writer);
    assert!(!dead.is_valid() && lease.fence() > alive.fence());
    assert!(!late.is_finished());
    let (late, took) = place.hand_over(lease, late);
    assert!(took < PROMPT, "{took:?}");
    assert!(place.wait(late.renew()).is_ok());
}

#[test]
fn a_reader_that_comes_as_the_last_one_ends_is_in_that_turn_or_a_later_one() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    for round in 0..8 {
        let dying = a.lock("x").ttl(SECOND).auto_renew(false).shared();
        let dying = place.wait(dying.acquire()).unwrap();
        // Its session ends between one and a half and two seconds from now.
        place.pass(SECOND * 13 / 10 + SECOND / 16 * round);
        for _ in 0..10 {
            let next = share(&place, &b);
            assert!(next.fence() >= dying.fence(), "{next:?} after {dying:?}");
            let is_over = next.fence() > dying.fence();
            place.wait(next.renew()).unwrap();
            place.wait(next.release()).unwrap();
            if is_over {
                assert_eq!(place.wait(dying.renew()).unwrap_err().kind(), Kind::Lost);
                break;
            }
        }
        drop(dying);
        place.wait(b.break_lock("x")).unwrap();
    }
}

#[test]
fn of_four_permits_a_fifth_waits_for_any_of_them_and_the_next_for_the_next() {
    let place = Place::new();
    let lock = |client: &Client| client.lock("x").ttl(LONG).permits(4);
    let clients: Vec<Client> = (0..7).map(|_| place.client()).collect();
    let mut leases: BTreeMap<u32, Lease> = BTreeMap::new();
    for client in &clients[..4] {
        let lease = place.wait(lock(client).acquire()).unwrap();
        leases.insert(lease.slot().unwrap(), lease);
    }
    assert_eq!(leases.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(place.wait(lock(&clients[0]).try_acquire()).unwrap().is_none());
    let mut waiters = Vec::new();
    for (number, client) in clients[4..].iter().enumerate() {
        waiters.push(place.queue(lock(client)));
        waits(&place, &clients[0], number + 1);
    }
    // In their order, whichever is given back, and at once.
    for (slot, waiter) in [2, 0, 3].into_iter().zip(waiters) {
        let before = leases.remove(&slot).unwrap();
        let (next, took) = place.hand_over(before, waiter);
        assert_eq!(next.slot(), Some(slot));
        assert!(took < PROMPT, "{took:?}");
        leases.insert(slot, next);
    }
    leases.into_values().for_each(|lease| place.wait(lease.release()).unwrap());
    place.await_empty();
}

#[test]
fn a_first_waiter_that_leaves_lets_the_next_have_the_permit_at_once() {
    let place = Place::new();
    let lock = |client: &Client| client.lock("x").ttl(LONG).permits(1);
    let clients: Vec<Client> = (0..3).map(|_| place.client()).collect();
    let lease = place.wait(lock(&clients[0]).acquire()).unwrap();
    let first = place.queue(lock(&clients[1]));
    waits(&place, &clients[0], 1);
    let second = place.queue(lock(&clients[2]));
    waits(&place, &clients[0], 2);
    first.abort();
    waits(&place, &clients[0], 1);
    let (_, took) = place.hand_over(lease, second);
    assert!(took < PROMPT / 2, "{took:?}");
}

#[test]
fn the_fences_of_a_permit_rise_over_expiry_eviction_and_a_restart_of_the_server() {
    let place = Place::new();
    let client = place.client();
    let lock = |ttl| client.lock("x").ttl(ttl).permits(2);
    let mut last = BTreeMap::new();
    let mut rises = |lease: &Lease| {
        let (slot, fence) = (lease.slot().unwrap(), lease.fence());
        let before = last.insert(slot, fence).unwrap_or(0);
        assert!(fence > before, "slot {slot}: {fence} after {before}");
    };
    for round in 0..3 {
        let leases = [(); 2].map(|()| place.wait(lock(LONG).acquire()).unwrap());
        leases.iter().for_each(&mut rises);
        assert!(place.wait(client.break_lock("x")).unwrap());
        let dying = place.wait(lock(SECOND).auto_renew(false).acquire()).unwrap();
        rises(&dying);
        until(LIMIT, || place.wait(client.status("x")).unwrap().is_none().then_some(())).unwrap();
        rises(&place.wait(lock(LONG).acquire()).unwrap());
        place.wait(client.break_lock("x")).unwrap();
        if round == 1 {
            place.cluster.restart(0);
        }
    }
    // A turn, too.
    let before = share(&place, &client);
    assert!(before.fence() > *last.values().max().unwrap());
    place.cluster.restart(0);
    place.wait(before.renew()).unwrap();
    let joined = share(&place, &place.client());
    assert_eq!(joined.fence(), before.fence(), "it goes on");
}

#[test]
fn who_shares_and_is_cancelled_anywhere_leaves_nothing_behind() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    for round in 0..60 {
        let holder = (round % 2 == 0).then(|| place.hold(&a, "x"));
        let lock = match round % 4 {
            0 | 1 => shared(&b),
            _ => b.lock("y").ttl(LONG).permits(1),
        };
        let cut = place.wait(leasehold_tests::world::cut_at(round / 2 % 6, lock.acquire()));
        drop((cut, holder));
    }
    place.await_empty();
    assert!(place.wait(a.lock("x").try_acquire()).unwrap().is_some());
}

#[test]
fn who_comes_for_a_free_permit_is_in_nobodys_way() {
    const MANY: usize = 60;
    let place = Place::new();
    let clients: Vec<Client> = (0..MANY).map(|_| place.client()).collect();
    let before = txns(&place);
    let permits = |client: &Client| client.lock("x").ttl(LONG).permits(MANY as u32);
    let waiters: Vec<_> = clients.iter().map(|client| place.queue(permits(client))).collect();
    let leases: Vec<Lease> = waiters.into_iter().map(|waiter| place.granted(waiter).0).collect();
    let slots: BTreeSet<u32> = leases.iter().filter_map(Lease::slot).collect();
    assert_eq!(slots.len(), MANY, "each has another one");
    // Each comes, and gets one; a few more where two have looked for the same.
    let asked = txns(&place) - before;
    assert!(asked < 5 * MANY as u64, "{asked} transactions for {MANY}");
    leases.iter().for_each(|lease| place.wait(lease.release()).unwrap());
    assert!(place.keys().is_empty(), "{:?}", place.keys());
}
