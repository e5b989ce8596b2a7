//! Locks that several share, and locks with permits, on a real server.

use std::collections::BTreeSet;

use crate::place::records::{is_idle, records};
use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::{Client, Kind, Lease, Lock};
use leasehold_tests::own_keys;
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::resp::Reply;
use leasehold_tests::servers::Settings;

const HOUR: i64 = 60 * 60 * 1000;

fn shared(client: &Client) -> Lock {
    client.lock("x").ttl(LONG).shared()
}

#[track_caller]
fn share(place: &Place, client: &Client) -> Lease {
    place.wait(shared(client).acquire()).unwrap()
}

/// As the published algorithm has it; whether it got the lock.
fn they_take(place: &Place) -> bool {
    let set = place.server.command(&["SET", "leasehold:x", "theirs", "NX", "PX", "60000"]);
    set == Reply::Status("OK".into())
}

#[test]
fn those_of_the_published_algorithm_stay_out_while_anybody_shares_and_the_reverse() {
    let place = Place::new();
    let clients = [place.client(), place.client()];
    let leases = clients.each_ref().map(|client| share(&place, client));
    for lease in leases {
        assert!(!they_take(&place));
        place.wait(lease.renew()).unwrap();
        assert!(!they_take(&place));
        place.wait(lease.release()).unwrap();
    }
    let gpu = clients[0].lock("x").ttl(LONG).permits(2);
    let permit = place.wait(gpu.acquire()).unwrap();
    assert!(!they_take(&place));
    place.wait(permit.release()).unwrap();
    assert!(they_take(&place));
    assert!(place.wait(shared(&clients[0]).try_acquire()).unwrap().is_none());
    assert_eq!(place.wait(gpu.try_acquire()).unwrap_err().kind(), Kind::Refused);
    let waiters = clients.each_ref().map(|client| place.queue(shared(client)));
    place.until_in_line("x", 2);
    place.server.command(&["DEL", "leasehold:x"]);
    let leases = waiters.map(|waiter| place.granted(waiter).0);
    assert_eq!(leases[0].fence(), leases[1].fence());
}

#[test]
fn a_released_writer_admits_a_hundred_readers_in_one_step_by_a_message_each() {
    let place = Place::new();
    let writer = place.client();
    let lease = place.hold(&writer, "x");
    let readers: Vec<Client> = (0..100).map(|_| place.client()).collect();
    let waiters: Vec<_> = readers.iter().map(|client| place.queue(shared(client))).collect();
    place.until_in_line("x", 100);
    let published = || {
        let stats = place.server.command(&["INFO", "commandstats"]);
        let calls = stats.as_str().unwrap().split("cmdstat_publish:calls=").nth(1);
        calls.map_or(0, |rest| rest.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    let (before, released) = (published(), now());
    place.wait(lease.release()).unwrap();
    assert_eq!(published() - before, 100, "when the release is answered");
    let granted = waiters.into_iter().map(|waiter| place.granted(waiter));
    let (leases, times): (Vec<Lease>, Vec<_>) = granted.unzip();
    let took = times.into_iter().max().unwrap() - released;
    assert!(took < PROMPT * 3, "{took:?}");
    assert_eq!(leases.iter().map(Lease::fence).collect::<BTreeSet<_>>().len(), 1);
    // None lasts for the window of its grant only.
    place.pass(SECOND * 5 / 2);
    assert!(leases.iter().all(|lease| place.wait(lease.renew()).is_ok()));
}

#[test]
fn nothing_is_left_of_those_who_shared_but_the_fence_and_each_key_has_an_end() {
    let place = Place::new();
    let url = format!("{}?remember=1h", place.server.url());
    let clients = [place.client_of(&url), place.client_of(&url)];
    let day = SECOND * 20 * 60 * 60;
    for kind in [|lock: Lock| lock.shared(), |lock: Lock| lock.permits(2)] {
        let leases = clients.each_ref().map(|client| {
            let lock = kind(client.lock("x").ttl(day).auto_renew(false));
            place.wait(lock.acquire()).unwrap()
        });
        place.wait(leases[1].renew()).unwrap();
        let all = records(&place.server);
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(all.iter().all(|record| record.lives > 19 * HOUR), "{all:?}");
        for lease in leases {
            place.wait(lease.release()).unwrap();
        }
        assert!(is_idle(&place.server));
        let keys = place.server.keys();
        assert!(matches!(&keys[..], [fence] if fence.contains("\0f")), "{keys:?}");
    }
    // The end of those who die unseen.
    let short = clients[0].lock("x").ttl(SECOND / 5).auto_renew(false).shared();
    place.wait(short.acquire()).unwrap();
    let gone = until(LIMIT, || {
        let holders = place.wait(clients[1].status("x")).unwrap();
        holders.is_none().then_some(())
    });
    gone.expect("it is over");
    let lease = share(&place, &clients[1]);
    assert_eq!(place.server.command(&["HLEN", &side(&place)]), Reply::Int(1));
    place.wait(lease.release()).unwrap();
}

fn side(place: &Place) -> String {
    own_keys::side(&place.server, "leasehold:x").unwrap()
}

#[test]
fn a_turn_whose_key_was_deleted_is_over_for_all_who_shared_it() {
    let place = Place::new();
    let (one, other) = (place.client(), place.client());
    let lock = |client: &Client| client.lock("x").ttl(LONG).auto_renew(false).permits(1);
    let lease = place.wait(lock(&one).acquire()).unwrap();
    place.server.command(&["DEL", "leasehold:x"]);
    let next = place.wait(lock(&other).try_acquire()).unwrap().expect("it is free");
    assert!(next.slot() == Some(0) && next.fence() > lease.fence());
    assert_eq!(place.wait(lease.renew()).unwrap_err().kind(), Kind::Lost);
    place.wait(next.renew()).unwrap();
    assert!(place.wait(lock(&one).try_acquire()).unwrap().is_none());
    place.wait(next.release()).unwrap();
    assert!(place.wait(lock(&one).try_acquire()).unwrap().is_some());
}

#[test]
fn who_shares_a_lock_renews_and_releases_it_also_when_the_server_has_no_memory_left() {
    let place = Place::new();
    let (one, other) = (place.client(), place.client());
    let leases = [share(&place, &one), share(&place, &other)];
    place.server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for lease in &leases {
        place.wait(lease.renew()).unwrap();
    }
    assert!(place.wait(shared(&one).try_acquire()).is_err());
    for lease in leases {
        place.wait(lease.release()).unwrap();
    }
    assert!(is_idle(&place.server));
}

#[test]
fn nobody_shares_a_lock_in_quarantine() {
    let place = Place::new();
    let url = format!("{}?quarantine=on&max_ttl=1s&ttl=1s", place.server.url());
    let client = place.client_of(&url);
    let lock = client.lock("x").shared();
    let (started, quarantine) = (now(), SECOND * 9 / 10);
    let lease = place.wait(lock.acquire()).unwrap();
    assert!(started.elapsed() > quarantine, "{:?}", started.elapsed());
    place.server.restart_empty();
    let restarted = now();
    let refused = until(LIMIT, || {
        let error = place.wait(client.lock("y").shared().try_acquire()).err()?;
        error.to_string().contains("in quarantine").then_some(())
    });
    refused.expect("it says so");
    let next = place.wait(lock.acquire()).unwrap();
    assert!(!lease.is_valid() && next.fence() > lease.fence());
    assert!(restarted.elapsed() > quarantine, "{:?}", restarted.elapsed());
}

#[test]
fn a_cluster_of_one_node_renews_leases_of_all_kinds_together() {
    let place = Place::on(Settings::default().config("cluster-enabled", "yes"));
    place.server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let state = || place.server.command(&["CLUSTER", "INFO"]);
    let is_up = || state().as_str().unwrap().contains("cluster_state:ok");
    until(LIMIT, || is_up().then_some(())).unwrap();
    let client = place.client();
    let hold = |number: usize| {
        let lock = client.lock(format!("n{number}")).ttl(SECOND);
        let lock = match number % 3 {
            0 => lock,
            1 => lock.shared(),
            _ => lock.permits(3),
        };
        place.wait(lock.acquire()).unwrap()
    };
    let leases = (0..21).map(hold).collect::<Vec<_>>();
    place.pass(SECOND * 3 / 2);
    assert!(leases.iter().all(Lease::is_valid), "{leases:?}");
}

#[test]
fn a_reader_that_dies_in_a_full_turn_keeps_the_writer_for_its_ttl_and_the_line_in_order() {
    let place = Place::new();
    let clients = [place.client(), place.client(), place.client()];
    let dead = clients[0].lock("x").ttl(SECOND).auto_renew(false).shared();
    let dead = place.wait(dead.acquire()).unwrap();
    let alive = share(&place, &clients[1]);
    let writer = place.stand_in_line(&clients[2], "x");
    let late = place.queue(shared(&clients[0]));
    until(LIMIT, || waits(&place, &clients[1], 2).then_some(())).expect("a reader that waits");
    place.wait(alive.release()).unwrap();
    let (lease, _) = place.granted(writer);
    assert!(!dead.is_valid() && lease.fence() > alive.fence());
    assert!(!late.is_finished());
    let (late, took) = place.hand_over(lease, late);
    assert!(took < PROMPT, "{took:?}");
    assert!(place.wait(late.renew()).is_ok());
}

/// Readers that are held by nobody: so many, for so many ms.
const READERS: &str = "
local time = redis.call('TIME')
local ends = time[1] * 1000 + ARGV[2]
for number = 1, tonumber(ARGV[1]) do
  local owner = string.format('ab%030d', ends + number)
  redis.call('ZADD', KEYS[1], string.format('%.0f', -1e15 + ends), owner)
  redis.call('HSET', KEYS[2], owner, 'held 0 1 1 leasehold:00000000000000000000000000000000 seeded')
end
return redis.call('PEXPIRE', KEYS[3], 60000)";

#[test]
fn of_the_places_of_a_lock_a_thousand_are_left_for_those_who_wait() {
    let place = Place::new();
    let clients = [place.client(), place.client()];
    let _first = share(&place, &clients[0]);
    let lock = "leasehold:x";
    let line = own_keys::line(&place.server, lock).unwrap();
    let side = own_keys::side(&place.server, lock).unwrap();
    let seed = |many: &str| {
        let seeded =
            place.server.command(&["EVAL", READERS, "3", &line, &side, lock, many, "60000"]);
        assert_eq!(seeded, Reply::Int(1));
    };
    let reads = || place.wait(shared(&clients[1]).try_acquire()).unwrap();
    seed("8998");
    let last = reads().expect("there is room for one");
    assert!(reads().is_none(), "9 000 share it");
    place.wait(last.release()).unwrap();
    // A writer has a place, and nobody passes it.
    let _writer = place.stand_in_line(&clients[0], "x");
    assert!(waits(&place, &clients[1], 1));
    assert!(reads().is_none());
}

#[test]
fn all_who_share_are_shown_and_none_of_those_whose_time_is_over() {
    let place = Place::new();
    let client = place.client();
    let _lease = share(&place, &client);
    let lock = "leasehold:x";
    let line = own_keys::line(&place.server, lock).unwrap();
    let side = own_keys::side(&place.server, lock).unwrap();
    for [many, lasts] in [["1500", "-2000"], ["2500", "100000"], ["1", "110000"]] {
        let seed = ["EVAL", READERS, "3", &line, &side, lock, many, lasts];
        assert_eq!(place.server.command(&seed), Reply::Int(1));
    }
    let shown = place.wait(client.status("x")).unwrap().map(|status| status.holders.len());
    assert_eq!(shown, Some(2502));
}

fn waits(place: &Place, client: &Client, many: usize) -> bool {
    place.wait(client.status("x")).unwrap().is_some_and(|status| status.waiters.len() == many)
}
