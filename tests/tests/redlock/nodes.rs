//! Nodes that die, hang, come back, and go by other clocks.

use std::time::Duration;

use crate::place::{LONG, Place, SECOND, url_of};
use leasehold::{Client, Kind, Lease, Loss, Outcome};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::proxy::{Fault, Gate, Proxy};
use leasehold_tests::servers::Settings;

/// Far below every timeout of ours.
const PROMPT: Duration = Duration::from_millis(500);

#[track_caller]
fn many_turns_are_prompt(place: &Place, client: &Client) {
    let started = now();
    for turn in 0..50 {
        place.turn(client, &format!("turn {turn}"));
    }
    assert!(started.elapsed() < 4 * PROMPT, "{:?} for 50 turns", started.elapsed());
}

#[test]
fn two_dead_nodes_of_five_cost_no_time() {
    let place = Place::of(5);
    let client = place.client();
    many_turns_are_prompt(&place, &client);
    place.servers[1].kill();
    place.servers[3].kill();
    many_turns_are_prompt(&place, &client);
    // Nor does it cost a new client any.
    let started = now();
    many_turns_are_prompt(&place, &place.client());
    assert!(started.elapsed() < 5 * PROMPT, "{:?}", started.elapsed());
}

#[test]
fn two_hung_nodes_of_five_cost_no_time() {
    let place = Place::of(5);
    let client = place.client();
    many_turns_are_prompt(&place, &client);
    for node in [0, 2] {
        place.servers[node].freeze();
    }
    many_turns_are_prompt(&place, &client);
    // Long enough for their connections to be given up.
    place.pass(SECOND * 5);
    many_turns_are_prompt(&place, &client);
    let started = now();
    many_turns_are_prompt(&place, &place.client());
    assert!(started.elapsed() < 5 * PROMPT, "{:?}", started.elapsed());
    place.servers[0].thaw();
    place.servers[2].thaw();
    let _lease = place.hold(&client, "x");
    place.held_by("x", &[0, 1, 2, 3, 4]);
}

#[test]
fn without_a_majority_it_is_broken_and_not_busy() {
    let place = Place::of(3);
    let client = place.client();
    let lease = place.hold(&client, "held");
    place.servers[0].kill();
    place.servers[2].kill();
    let error = place.wait(client.lock("x").try_acquire()).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::NotHeld));
    for word in ["of 3", "takes 2", &place.servers[0].port().to_string()] {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    let error = place.wait(client.lock("x").wait(SECOND).acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let error = place.wait(lease.renew()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(lease.is_valid());
    let error = place.no_client_of(&place.url());
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("1 of 3"), "{error}");
}

#[test]
fn a_lease_outlives_one_node_after_the_other() {
    let place = Place::of(3);
    let client = place.client_of(&place.short_url());
    let lease = place.wait(client.lock("x").acquire()).unwrap();
    for (first, second) in [(0, 1), (1, 2), (2, 0)] {
        place.servers[first].restart_empty();
        place.held_by("x", &[0, 1, 2]);
        place.servers[second].kill();
        // For longer than a ttl.
        place.pass(SECOND);
        assert!(lease.is_valid(), "lost after {first} and {second}: {:?}", lease.loss());
        place.servers[second].restart();
        place.held_by("x", &[0, 1, 2]);
    }
    place.wait(lease.release()).unwrap();
    assert!(until(LIMIT, || place.votes("x").iter().all(Option::is_none).then_some(())).is_some());
}

#[test]
fn a_lease_comes_back_to_a_node_that_kept_its_data_and_outlived_it_there() {
    let place = Place::on(vec![Settings::default().appendonly(); 3]);
    let client = place.client_of(&place.short_url());
    let lease = place.wait(client.lock("x").acquire()).unwrap();
    place.held_by("x", &[0, 1, 2]);
    place.servers[1].kill();
    place.pass(SECOND * 3 / 2);
    place.servers[1].restart();
    // Others ask for it meanwhile, and use up larger ballots there.
    let other = place.client_of(&place.short_url());
    for _ in 0..3 {
        assert!(place.wait(other.lock("x").try_acquire()).unwrap_or(None).is_none());
        place.pass(SECOND);
    }
    place.held_by("x", &[0, 1, 2]);
    assert!(lease.is_valid());
}

#[test]
fn a_lease_that_was_released_is_nowhere_taken_in_again() {
    let place = Place::of(3);
    let proxies: Vec<Proxy> = place.ports().into_iter().map(Proxy::before).collect();
    let ports: Vec<u16> = proxies.iter().map(Proxy::port).collect();
    let client = place.client_of(&url_of(&ports, "max_ttl=2m"));
    let lease = place.hold(&client, "x");
    // A renewal of which one node hears only after the release.
    let gate = Gate::new();
    let is_renewal =
        |command: &[Vec<u8>]| command[0] == b"EVALSHA" && command[5].ends_with(b"\0epoch");
    let late = proxies[0].next(is_renewal, Fault::Late(gate.clone()));
    place.wait(lease.renew()).unwrap();
    late.wait();
    // The node hears of the release over the next connection.
    until(LIMIT, || (proxies[0].connections() == 2).then_some(())).expect("connected anew");
    place.wait(lease.renew()).unwrap();
    place.wait(lease.release()).unwrap();
    until(LIMIT, || place.votes("x").iter().all(Option::is_none).then_some(())).expect("free");
    gate.open();
    gate.wait_executed();
    assert!(place.votes("x").iter().all(Option::is_none), "{:?}", place.votes("x"));
}

#[test]
fn an_evicted_lease_is_lost_at_once_and_not_healed() {
    let place = Place::of(3);
    let client = place.client();
    let lease = place.hold(&client, "x");
    let broken = now();
    assert!(place.wait(place.client().break_lock("x")).unwrap());
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
    assert!(broken.elapsed() < PROMPT, "{:?}", broken.elapsed());
    place.pass(SECOND / 5);
    assert!(place.votes("x").iter().all(Option::is_none), "{:?}", place.votes("x"));
    let next = place.hold(&place.client(), "x");
    assert!(next.fence() > lease.fence());
    assert!(!place.wait(client.break_lock("y")).unwrap());
}

/// A lease that one node does not have yet, and that is on one that is down.
fn on_few_nodes(place: &Place, client: &Client, is_shared: bool) -> Lease {
    let lock = client.lock("x").ttl(LONG);
    let lock = if is_shared { lock.shared() } else { lock };
    let lease = place.wait(lock.acquire()).unwrap();
    place.held_by("x", &[0, 1, 2]);
    for key in place.servers[1].keys().iter().filter(|key| key.starts_with("leasehold:x")) {
        place.servers[1].command(&["DEL", key]);
    }
    place.servers[2].kill();
    lease
}

#[test]
fn a_broken_lease_is_not_brought_back_by_a_node_that_had_it_not() {
    for is_shared in [false, true] {
        let place = Place::of(3);
        let (client, other) = (place.client(), place.client());
        let lease = on_few_nodes(&place, &client, is_shared);
        assert!(place.wait(other.break_lock("x")).unwrap());
        assert_eq!(place.wait(lease.lost()), Loss::Gone, "shared: {is_shared}");
        assert!(place.votes_on("x", &[0, 1]).iter().all(Option::is_none));
    }
}

#[test]
fn a_lock_is_not_called_broken_that_may_come_back() {
    for is_shared in [false, true] {
        let place = Place::of(3);
        let (client, other) = (place.client(), place.client());
        let lease = on_few_nodes(&place, &client, is_shared);
        place.servers[1].command(&["CONFIG", "SET", "maxmemory", "1"]);
        let failure = place.wait(other.break_lock("x")).unwrap_err();
        assert_eq!(failure.kind(), Kind::Unavailable);
        assert!(failure.to_string().contains("break it again"), "{failure}");
        place.servers[1].command(&["CONFIG", "SET", "maxmemory", "0"]);
        // What is left of the first one counts.
        place.wait(other.break_lock("x")).unwrap();
        assert_eq!(place.wait(lease.lost()), Loss::Gone, "shared: {is_shared}");
    }
}

#[test]
fn a_lease_that_only_a_minority_has_is_lost_at_the_next_renewal() {
    let place = Place::of(3);
    let lease = place.hold(&place.client(), "x");
    place.held_by("x", &[0, 1, 2]);
    place.servers[0].command(&["SET", "leasehold:x", "somebody else"]);
    place.wait(lease.renew()).unwrap();
    place.servers[2].command(&["SET", "leasehold:x", "somebody else"]);
    assert_eq!(place.wait(lease.renew()).unwrap_err().kind(), Kind::Lost);
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
}

#[test]
fn scripts_that_all_nodes_forget_fail_nobody() {
    let place = Place::of(3);
    let client = place.client();
    for _ in 0..10 {
        for server in &place.servers {
            server.command(&["SCRIPT", "FLUSH"]);
        }
        let lease = place.hold(&client, "x");
        // A node that knew no script, and was not waited for, learns them.
        let spreads = || {
            place.wait(lease.renew()).unwrap();
            place.votes("x").iter().all(Option::is_some).then_some(())
        };
        until(LIMIT, spreads).expect("a node still knows no script");
        place.wait(lease.release()).unwrap();
    }
}

#[test]
fn one_wild_clock_neither_stops_locks_nor_moves_fences() {
    for shift in [-3600.0, -2.0, 2.0, 3600.0, 1e6] {
        let place = Place::on(vec![Settings::default().shifted_clock(); 3]);
        place.servers[1].shift_clock(shift);
        let client = place.client();
        let mut last = 0;
        for _ in 0..20 {
            let fence = place.turn(&client, "x");
            assert!(fence > last, "{fence} after {last} with a clock at {shift} s");
            last = fence;
        }
        let (_, right) = place.quarantine(0);
        assert!(last.abs_diff(right) < 5_000_000, "{last} at {right} with a clock at {shift} s");
    }
}

#[test]
fn a_clock_that_jumps_ahead_harms_no_lease_that_all_nodes_hold() {
    let place = Place::on(vec![Settings::default().shifted_clock(); 3]);
    let (client, other) = (place.client(), place.client());
    let lease = place.hold(&client, "x");
    place.wait(lease.renew()).unwrap();
    place.held_by("x", &[0, 1, 2]);
    place.servers[1].shift_clock(100.0);
    until(LIMIT, || place.votes("x")[1].is_none().then_some(())).expect("it ends there");
    assert!(place.try_hold(&other, "x").is_none());
    place.wait(lease.renew()).unwrap();
    place.wait(lease.release()).unwrap();
    assert!(place.hold(&other, "x").fence() > lease.fence());
}

#[test]
fn clocks_that_all_go_back_stop_nothing_for_longer_than_that() {
    let place = Place::on(vec![Settings::default().shifted_clock(); 3]);
    let client = place.client();
    let before = place.turn(&client, "x");
    for server in &place.servers {
        server.shift_clock(-3.0);
    }
    assert!(place.turn(&client, "x") > before);
}

#[test]
fn closing_waits_for_no_dead_node() {
    let place = Place::of(3);
    let client = place.client();
    let lease = place.hold(&client, "x");
    let (name, held) = ("y", place.hold(&place.client(), "y"));
    let waiter = place.stand_in_line(&client, name);
    place.servers[2].kill();
    let started = now();
    place.wait(client.close());
    assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
    assert_eq!(place.wait(waiter).unwrap().unwrap_err().kind(), Kind::Closed);
    assert!(!lease.is_valid() && held.is_valid());
    let other = place.client();
    place.wait(other.lock("x").ttl(LONG).try_acquire()).unwrap().expect("it was given back");
}

#[test]
fn others_that_follow_the_published_algorithm_exclude_us_and_we_them() {
    let place = Place::of(3);
    let client = place.client();
    // What it held before is over, by a number that is larger than theirs.
    place.wait(place.hold(&client, "x").release()).unwrap();
    let set = |node: usize, owner: &str| {
        let arguments = ["SET", "leasehold:x", owner, "NX", "PX", "60000"];
        place.servers[node].command(&arguments).as_str() == Some("OK")
    };
    assert!(set(0, "theirs") && set(2, "theirs"));
    assert!(place.try_hold(&client, "x").is_none());
    let status = place.wait(client.status("x")).unwrap().unwrap();
    assert_eq!(&*status.holder().unwrap().label, "a client of another library");
    assert!(place.wait(client.break_lock("x")).unwrap());
    // Long before it would have ended by itself.
    until(LIMIT / 6, || place.votes("x").iter().all(Option::is_none).then_some(()))
        .expect("broken");
    assert!(!place.wait(client.break_lock("x")).unwrap(), "nobody holds it");
    assert!(set(0, "theirs") && set(2, "theirs"));
    // Alone on one node it is in nobody's way, as it is no majority.
    place.servers[0].command(&["DEL", "leasehold:x"]);
    let lease = place.hold(&client, "x");
    assert!(!set(0, "theirs") && !set(1, "theirs"));
    place.servers[2].command(&["DEL", "leasehold:x"]);
    place.wait(lease.renew()).unwrap();
    assert!(!set(2, "theirs"), "the lease did not take the node that came free");
}

#[test]
fn a_waiter_is_there_soon_after_another_library_released() {
    let place = Place::of(3);
    let client = place.client();
    let set = ["SET", "leasehold:x", "another library's", "PX", "60000"];
    let mut late = Duration::ZERO;
    for _ in 0..10 {
        place.servers.iter().for_each(|server| drop(server.command(&set)));
        let waiter = place.stand_in_line(&client, "x");
        place.pass(Duration::from_millis(fastrand::u64(0..600)));
        let released = now();
        for server in &place.servers {
            server.command(&["DEL", "leasehold:x"]);
        }
        let (lease, at) = place.wait(waiter).unwrap().unwrap();
        late += at - released;
        place.wait(lease.release()).unwrap();
    }
    // Some 50 ms each, where those libraries look ten times in a second.
    assert!(late < SECOND * 3 / 2, "{late:?} for ten");
}

#[test]
fn servers_that_evict_are_named_one_by_one() {
    let place = Place::of(3);
    assert_eq!(place.client().caveats(), [""; 0]);
    for (name, value) in [("maxmemory", "100mb"), ("maxmemory-policy", "volatile-lru")] {
        place.servers[1].command(&["CONFIG", "SET", name, value]);
    }
    let caveats = place.client().caveats();
    assert_eq!(caveats.len(), 1, "{caveats:?}");
    for word in [&*place.servers[1].port().to_string(), "volatile-lru", "noeviction"] {
        assert!(caveats[0].contains(word), "{word} is not in {caveats:?}");
    }
}
