//! What the scripts leave on a server.

use crate::place::records::records;
use crate::place::{LONG, Place, SECOND};
use leasehold::{Client, Lease, Lock};
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::resp::Reply;
use leasehold_tests::servers::{Flavor, Server, Settings};
use leasehold_tests::world::cut_at;

const HOUR: i64 = 60 * 60 * 1000;

const NAMES: [&str; 12] = [
    "plain",
    "invoices/42",
    "{a}b",
    "b{a}",
    "{}",
    "{}a",
    "}{",
    "a}b",
    "{a",
    "{{a}}",
    "x}:leasehold:side",
    "🔒}\r\n \u{1}",
];

/// Everything that can happen to a lock in a short time.
async fn be_busy(lock: Lock) {
    for round in 0..10 {
        let short = lock.clone().ttl(SECOND / 10).auto_renew(false);
        match round % 5 {
            0 => drop(lock.acquire().await.unwrap()),
            1 => lock.acquire().await.unwrap().release().await.unwrap(),
            2 => drop(cut_at(fastrand::u32(1..4), lock.acquire()).await),
            3 => drop(lock.try_acquire().await.unwrap()),
            // Granted in time, it expires.
            _ => std::mem::forget(short.try_acquire().await),
        }
    }
}

#[test]
fn every_key_lives_for_a_day_after_its_last_use_at_most_an_hour_longer() {
    let place = Place::new();
    let clients = [place.client(), place.client()];
    let lock = |client: &Client, name: &str| client.lock(name).ttl(LONG);
    let both =
        |name: &str| clients.each_ref().map(|client| place.spawn(be_busy(lock(client, name))));
    let tasks: Vec<_> = NAMES.iter().flat_map(|name| both(name)).collect();
    tasks.into_iter().for_each(|task| place.wait(task).unwrap());
    let alone = place.hold(&clients[0], "nobody waits");
    place.wait(alone.release()).unwrap();
    // One of each is in use when we look.
    let _held = place.hold(&clients[0], "plain");
    let waiter = place.stand_in_line(&clients[1], "plain");
    let all = records(&place.server);
    for record in &all {
        let expected = match &*record.kind {
            "hash" => 24 * HOUR + 1..=25 * HOUR,
            "zset" => 1..=24 * HOUR,
            "string" if record.is_fence() => 24 * HOUR + 1..=25 * HOUR,
            // None in the last millisecond of its life; -1 is for ever.
            "string" => 0..=60_000,
            _ => panic!("{record:?}"),
        };
        assert!(expected.contains(&record.lives), "{record:?}");
    }
    let count = |kind: &str| all.iter().filter(|record| record.kind == kind).count();
    assert_eq!((count("hash"), count("zset")), (1, 1), "who waits stands there, and nobody else");
    assert_eq!(all.iter().filter(|record| record.is_fence()).count(), NAMES.len() + 1);
    waiter.abort();
}

/// A cluster of one node.
fn cluster(flavor: Flavor) -> Place {
    let place = Place::on(Settings::default().flavor(flavor).config("cluster-enabled", "yes"));
    place.server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let state = || place.server.command(&["CLUSTER", "INFO"]);
    let is_up = || state().as_str().unwrap().contains("cluster_state:ok");
    until(LIMIT, || is_up().then_some(())).unwrap();
    place
}

/// The server knows of four keys for the lock, and all that is done to it works.
#[track_caller]
fn assert_in_one_slot(place: &Place, [client, other]: [&Client; 2], prefix: &str, name: &str) {
    let slot = |key: &str| place.server.command(&["CLUSTER", "KEYSLOT", key]);
    let lease = place.hold(client, name);
    let waiter = place.queue(other.lock(name));
    let keys = until(LIMIT, || Some(place.server.keys()).filter(|keys| keys.len() == 4));
    let keys = keys.unwrap_or_else(|| panic!("{:?}", place.server.keys()));
    let slots: Vec<Reply> = keys.iter().map(|key| slot(key)).collect();
    assert!(slots.iter().all(|slot| *slot == slots[0]), "{keys:?} {slots:?}");
    assert!(keys.contains(&format!("{prefix}{name}")), "{keys:?}");
    let (lease, _) = place.hand_over(lease, waiter);
    place.wait(lease.renew()).unwrap();
    assert_eq!(place.wait(other.list()).unwrap()[0].name.as_str(), name);
    assert!(place.wait(client.break_lock(name)).unwrap());
    drop(lease);
    place.server.command(&["FLUSHALL"]);
}

#[track_caller]
fn assert_served_in_a_cluster(flavor: Flavor, prefixes: &[(&str, &[&str])]) {
    let place = cluster(flavor);
    for (prefix, names) in prefixes {
        let url = format!("{}?prefix={}", place.server.url(), prefix.replace('}', "%7D"));
        let [client, other] = [(); 2].map(|()| place.client_of(&url));
        names.iter().for_each(|name| assert_in_one_slot(&place, [&client, &other], prefix, name));
    }
    // Renewed together, though they are in many slots.
    let client = place.client();
    let hold = |n| place.wait(client.lock(format!("n{n}")).ttl(SECOND).acquire()).unwrap();
    let leases = (0..20).map(hold).collect::<Vec<_>>();
    place.pass(SECOND * 3 / 2);
    assert!(leases.iter().all(Lease::is_valid), "{leases:?}");
}

#[test]
fn all_keys_of_a_name_share_a_slot_and_a_redis_cluster_of_one_node_serves_them() {
    let names = [&NAMES[..], &["job}7"]].concat();
    assert_served_in_a_cluster(Flavor::Redis, &[("leasehold:", &names)]);
}

#[test]
fn all_keys_of_a_name_share_a_slot_and_a_valkey_cluster_of_one_node_serves_them() {
    let prefixes: [(&str, &[&str]); 3] =
        [("", &["x", "{}a"]), ("}", &["plain", "{}", "}{"]), ("{app}:", &NAMES)];
    assert_served_in_a_cluster(Flavor::Valkey, &prefixes);
}

/// What a client can do to a lock, without end.
fn be_busy_elsewhere(place: &Place, clients: &[Client; 2], round: usize) {
    let name = format!("busy {}", round % 7);
    let [one, other] = clients.each_ref().map(|client| client.lock(&name).ttl(SECOND));
    let tasks = [place.spawn(be_busy(one)), place.spawn(be_busy(other))];
    tasks.into_iter().for_each(|task| place.wait(task).unwrap());
}

#[track_caller]
fn assert_each_has_an_end(server: &Server) {
    for record in records(server) {
        assert!(record.lives >= 0, "it lives for ever: {record:?}");
    }
}

/// For two days by the clock of the server, a lock is held and waited for, and
/// everything is done to others.
#[track_caller]
fn assert_lasts_and_ends(options: &str, hours_back: f64) {
    let place = Place::on(Settings::default().shifted_clock());
    let url = format!("{}?{options}", place.server.url());
    let clients = [(); 2].map(|()| place.client_of(&url));
    let third = place.client_of(&url);
    // Of a quarantine.
    place.server.shift_clock(120.0);
    let held = clients[0].lock("held").ttl(LONG).label("for two days").auto_renew(false);
    let lease = place.wait(held.acquire()).unwrap();
    let waiter = place.stand_in_line(&clients[1], "held");
    let next_in_line = place.stand_in_line(&third, "held");
    // And one that nobody waits for.
    let alone = place.wait(clients[0].lock("alone").ttl(LONG).auto_renew(false).acquire()).unwrap();
    for round in 0..48 * 60 * 60 / 45 {
        place.server.shift_clock(45.0);
        place.wait(lease.renew()).unwrap();
        place.wait(alone.renew()).unwrap();
        if round % 100 == 0 {
            be_busy_elsewhere(&place, &clients, round);
            assert_each_has_an_end(&place.server);
        }
    }
    assert_each_has_an_end(&place.server);
    let list = place.wait(clients[1].list()).unwrap();
    let find = |name| list.iter().find(|status| status.name.as_str() == name);
    assert_eq!(find("alone").expect("it is held").fence, alone.fence());
    let status = find("held").expect("it is held");
    assert!(status.holder().unwrap().label.contains("for two days"), "{status:?}");
    assert_eq!(status.fence, lease.fence());
    // Both have asked again since the clock moved.
    let wait = || place.wait(third.status("held")).unwrap().unwrap().waiters.len() == 2;
    until(LIMIT, || wait().then_some(())).expect("they wait");
    // The line may have ended between two questions, so their order is not known.
    next_in_line.abort();
    let waits = || place.wait(third.status("held")).unwrap().unwrap().waiters.len() == 1;
    until(LIMIT, || waits().then_some(())).expect("one of them has left");
    let next_in_line = place.stand_in_line(&third, "held");
    // Nothing was forgotten: fences rise though the clock went back before the last.
    place.server.shift_clock(-hours_back * 60.0 * 60.0);
    let (next, _) = place.hand_over(lease, waiter);
    assert!(!next_in_line.is_finished());
    next_in_line.abort();
    place.wait(next.release()).unwrap();
    place.wait(alone.release()).unwrap();
    let again = place.wait(clients[1].lock("alone").acquire()).unwrap();
    assert!(again.fence() > alone.fence());
    place.wait(again.release()).unwrap();
    // What is cleared away late is remembered from then on.
    place.server.shift_clock(100.0 * 60.0 * 60.0);
    let left = || {
        place.server.shift_clock(30.0 * 60.0 * 60.0);
        let keys = place.server.keys();
        let ours = keys.iter().filter(|key| !key.ends_with("epoch")).count();
        (ours == 0).then_some(())
    };
    until(LIMIT, left).unwrap_or_else(|| panic!("left for good: {:?}", records(&place.server)));
}

#[test]
fn however_long_a_lock_is_held_its_records_last_as_long_and_end() {
    assert_lasts_and_ends("", 49.0);
}

#[test]
fn however_long_a_lock_is_held_its_records_last_as_long_and_end_with_a_short_memory() {
    assert_lasts_and_ends("remember=1h", 49.0);
}

#[test]
fn however_long_a_lock_is_held_its_records_last_as_long_and_end_with_a_quarantine() {
    // It would begin anew before its end.
    assert_lasts_and_ends("quarantine=on&max_ttl=60s", 0.0);
}

#[test]
fn a_short_memory_is_as_short_as_it_says() {
    let place = Place::on(Settings::default().shifted_clock());
    let client = place.client_of(&format!("{}?remember=1h", place.server.url()));
    let turn = |ttl| {
        let lease = place.wait(client.lock("x").ttl(ttl).acquire()).unwrap();
        place.wait(lease.release()).unwrap();
    };
    let lives = || {
        let records = records(&place.server);
        let fence = records.iter().find(|record| record.is_fence());
        fence.map_or(0, |record| record.lives)
    };
    turn(SECOND);
    assert!((HOUR + 1..=HOUR + HOUR / 24).contains(&lives()), "{}", lives());
    // A lease may last longer than that.
    turn(60 * 60 * 20 * SECOND);
    assert!(lives() > 20 * HOUR, "{}", lives());
    for (url, word) in [("remember=59m", "1h"), ("remember=31d", "30d"), ("remember=1", "1h")] {
        let error = place.no_client_of(&format!("{}?{url}", place.server.url()));
        assert_eq!(error.kind(), leasehold::Kind::Invalid, "{error}");
        assert!(
            error.to_string().contains("remember") && error.to_string().contains(word),
            "{error}"
        );
    }
}
