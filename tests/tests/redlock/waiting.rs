//! Waiting for a lock that several servers decide about.

use std::future::Future;
use std::time::Duration;

use crate::place::{LONG, Place, SECOND};
use leasehold::{Client, Kind, Outcome};
use leasehold_tests::own_keys::{line, side};
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::servers::Server;
use leasehold_tests::world::cut_at;

/// Far below the 600 ms after which a waiter looks again by itself, so that
/// whatever took less came by a message.
const PROMPT: Duration = Duration::from_millis(300);

#[test]
fn the_lock_goes_to_those_who_wait_in_their_order_and_at_once() {
    let place = Place::of(3);
    let mut lease = place.hold(&place.client(), "x");
    let clients: Vec<Client> = (0..5).map(|_| place.client()).collect();
    let waiters: Vec<_> = clients.iter().map(|c| place.stand_in_line(c, "x")).collect();
    for waiter in waiters {
        let (next, took) = place.hand_over(lease, waiter);
        assert!(took < PROMPT, "handed over after {took:?}");
        place.held_by("x", &[0, 1, 2]);
        lease = next;
    }
}

#[test]
fn a_newcomer_does_not_overtake() {
    let place = Place::of(3);
    let holder = place.client();
    let lease = place.hold(&holder, "x");
    let (first, second) = (place.client(), place.client());
    let [first, second] = [&first, &second].map(|client| place.stand_in_line(client, "x"));
    place.wait(lease.release()).unwrap();
    // The holder itself, and one who has never seen the lock.
    assert!(place.try_hold(&holder, "x").is_none());
    assert!(place.try_hold(&place.client(), "x").is_none());
    let (lease, _) = place.granted(first);
    assert!(!second.is_finished());
    assert!(place.hand_over(lease, second).1 < PROMPT);
}

#[test]
fn when_the_node_with_the_line_dies_the_wait_goes_on() {
    let place = Place::of(3);
    let holder = place.client();
    let arbiter = place.arbiter(&holder, "x");
    let lease = place.hold(&holder, "x");
    let waiting = place.client();
    let waiter = place.stand_in_line(&waiting, "x");
    place.servers[arbiter].kill();
    // It stands in another line as soon as it looks again.
    until(LIMIT, || (place.line("x") == 1).then_some(())).expect("a place elsewhere");
    let (next, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "handed over after {took:?}");
    place.wait(next.release()).unwrap();
}

#[test]
fn when_the_node_with_the_line_hangs_the_wait_goes_on() {
    let place = Place::of(3);
    // So long it takes to see that it hangs.
    let url = format!("{}&response_timeout=1s", place.url());
    let holder = place.client_of(&url);
    let arbiter = place.arbiter(&holder, "x");
    let lease = place.hold(&holder, "x");
    let waiting = place.client_of(&url);
    let waiter = place.stand_in_line(&waiting, "x");
    place.servers[arbiter].freeze();
    let (next, took) = place.hand_over(lease, waiter);
    // Nobody can tell it, so it looks again by itself.
    assert!(took < 3 * SECOND, "handed over after {took:?}");
    place.servers[arbiter].thaw();
    place.held_by("x", &[0, 1, 2]);
    place.wait(next.release()).unwrap();
}

#[test]
fn a_dead_waiter_costs_the_next_no_time() {
    let place = Place::of(3);
    let lease = place.hold(&place.client(), "x");
    let waiting = place.client();
    let waiter = place.stand_in_line(&waiting, "x");
    for server in &place.servers {
        // A client whose process is gone, and its place with nobody at its channel.
        let Some(line) = line(server, "leasehold:x") else { continue };
        server.command(&["ZADD", &line, "0", "dead"]);
        let place = "99999999999999 60000 leasehold:nobody a dead client";
        server.command(&["HSET", &side(server, "leasehold:x").unwrap(), "dead", place]);
    }
    let (_, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "handed over after {took:?}");
}

#[test]
fn ten_clients_that_wait_ask_little() {
    let place = Place::of(3);
    let _lease = place.hold(&place.client(), "x");
    let clients: Vec<Client> = (0..10).map(|_| place.client()).collect();
    let waiters: Vec<_> = clients.iter().map(|c| place.stand_in_line(c, "x")).collect();
    let asked = |server: &Server| {
        let calls = server.calls_by_command();
        calls.get("evalsha").copied().unwrap_or_default()
    };
    let all = || place.servers.iter().map(asked).sum::<u64>();
    let before = all();
    place.pass(3 * SECOND);
    // Each looks once in 600 ms, at one node.
    let asked = all() - before;
    assert!(asked < 10 * 3 * 3, "{asked} requests in three seconds");
    waiters.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Drop `work` at its `polls`-th await point; false if it was done before.
fn cut<T>(place: &Place, polls: u32, work: impl Future<Output = T>) -> bool {
    place.wait(cut_at(polls, work)).is_none()
}

#[test]
fn an_acquire_that_is_cancelled_anywhere_leaves_nothing_behind() {
    let place = Place::of(3);
    let (client, other) = (place.client(), place.client());
    let mut cancelled = 0;
    for round in 0..200 {
        let lock = client.lock("x").ttl(LONG);
        let holder = (round % 5 == 0).then(|| place.hold(&other, "x"));
        // Whoever waits is polled again only when it looks again by itself.
        let polls = if holder.is_some() { round % 2 + 1 } else { round % 8 + 1 };
        cancelled += u32::from(cut(&place, polls, lock.acquire()));
        if let Some(lease) = holder {
            place.wait(lease.release()).unwrap();
        }
        // Far sooner than any ttl.
        let free = || place.votes("x").iter().all(Option::is_none) && place.line("x") == 0;
        until(SECOND * 2, || free().then_some(())).expect("nothing is left");
    }
    assert!(cancelled > 50, "only {cancelled} were cancelled");
}

#[test]
fn of_many_who_try_at_once_one_gets_a_free_lock() {
    let place = Place::of(5);
    let clients: Vec<Client> = (0..8).map(|_| place.client()).collect();
    for round in 0..20 {
        let tries = clients.iter().map(|client| {
            let lock = client.lock(format!("x{round}")).ttl(LONG);
            place.spawn(async move { lock.try_acquire().await })
        });
        let tries: Vec<_> = tries.collect();
        let got = tries.into_iter().filter_map(|attempt| place.wait(attempt).unwrap().unwrap());
        let got: Vec<_> = got.collect();
        assert_eq!(got.len(), 1, "in round {round}");
    }
}

#[test]
fn of_many_who_wait_at_once_each_gets_a_free_lock_soon() {
    let place = Place::of(3);
    let clients: Vec<Client> = (0..8).map(|_| place.client()).collect();
    let started = leasehold_tests::patience::now();
    for round in 0..20 {
        let turns = clients.iter().map(|client| {
            let lock = client.lock(format!("x{round}")).ttl(LONG);
            place.spawn(async move { lock.acquire().await?.release().await })
        });
        for turn in turns.collect::<Vec<_>>() {
            place.wait(turn).unwrap().unwrap();
        }
    }
    let each = started.elapsed() / (20 * 8);
    assert!(each < Duration::from_millis(100), "{each:?} for a turn");
}

#[test]
fn nodes_have_a_lease_for_its_delay_and_for_the_ttl_it_was_renewed_by_up_to_max_ttl() {
    let place = Place::of(3);
    let client = place.client();
    let left = |server: &Server| {
        let reply = server.command(&["PTTL", "leasehold:x"]);
        Duration::from_millis(reply.as_int().and_then(|left| left.try_into().ok()).unwrap())
    };
    let all_near = |ttl: Duration| {
        let near = |left: Duration| left > ttl - 3 * SECOND && left <= ttl;
        until(LIMIT, || place.servers.iter().map(left).all(near).then_some(())).is_some()
    };
    let lock = client.lock("x").ttl(10 * SECOND).delay(30 * SECOND).auto_renew(false);
    let lease = place.wait(lock.acquire()).unwrap();
    assert!(all_near(40 * SECOND) && lease.remaining() <= 10 * SECOND);
    place.wait(lease.renew_for(80 * SECOND)).unwrap();
    assert!(all_near(110 * SECOND) && lease.remaining() > 70 * SECOND);
    place.wait(lease.renew_for(4 * SECOND)).unwrap();
    assert!(all_near(34 * SECOND) && lease.remaining() <= 4 * SECOND);
    let long = place.wait(lease.renew_for(100 * SECOND)).unwrap_err();
    assert_eq!((long.kind(), long.outcome()), (Kind::Invalid, Outcome::Held), "{long}");
    assert!(long.to_string().contains("max_ttl"), "{long}");
    let long = place.wait(client.lock("y").delay(115 * SECOND).acquire()).unwrap_err();
    assert!(long.kind() == Kind::Invalid && long.to_string().contains("delay"), "{long}");
}

#[test]
fn whoever_holds_the_lock_is_not_shown_as_a_waiter() {
    let place = Place::of(3);
    let (holder, other) = (place.client(), place.client());
    let _lease = place.hold(&holder, "x");
    let waiter = place.stand_in_line(&other, "x");
    // The holder stood in line on that node, which heard of the lease by a renewal.
    let keeps_line = |server: &&Server| line(server, "leasehold:x").is_some();
    let server = place.servers.iter().find(keeps_line).unwrap();
    let value = server.command(&["GET", "leasehold:x"]);
    let (owner, who) = value.as_str().unwrap().split_once(' ').unwrap();
    server.command(&["ZADD", &line(server, "leasehold:x").unwrap(), "-1", owner]);
    let stands = format!("99999999999999 60000 {who}");
    server.command(&["HSET", &side(server, "leasehold:x").unwrap(), owner, &stands]);
    let status = place.wait(holder.status("x")).unwrap().unwrap();
    assert_eq!(status.waiters.len(), 1, "{status:?}");
    waiter.abort();
}
