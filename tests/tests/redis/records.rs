//! What the scripts leave on a server.

use crate::place::records::records;
use crate::place::{LONG, Place, SECOND};
use leasehold::{Client, Lease, Lock};
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::resp::Reply;
use leasehold_tests::servers::{Flavor, Settings};
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
            // None in the last millisecond of its life; -1 is for ever.
            "string" => 0..=60_000,
            _ => panic!("{record:?}"),
        };
        assert!(expected.contains(&record.lives), "{record:?}");
    }
    let count = |kind: &str| all.iter().filter(|record| record.kind == kind).count();
    assert_eq!((count("hash"), count("zset")), (NAMES.len() + 1, 1));
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

/// The server knows of three keys for the lock, and all that is done to it works.
#[track_caller]
fn assert_in_one_slot(place: &Place, [client, other]: [&Client; 2], prefix: &str, name: &str) {
    let slot = |key: &str| place.server.command(&["CLUSTER", "KEYSLOT", key]);
    let lease = place.hold(client, name);
    let waiter = place.queue(other.lock(name));
    let keys = until(LIMIT, || Some(place.server.keys()).filter(|keys| keys.len() == 3));
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

// Where a lone brace stands, a tag has to be searched for, slowly in a build
// for tests: of those, here are some that are found soon.

#[test]
fn all_keys_of_a_name_share_a_slot_and_a_redis_cluster_of_one_node_serves_them() {
    let names = ["plain", "invoices/42", "{a}b", "b{a}", "{a", "{{a}}", "}{", "a}b"];
    assert_served_in_a_cluster(Flavor::Redis, &[("leasehold:", &names)]);
}

#[test]
fn all_keys_of_a_name_share_a_slot_and_a_valkey_cluster_of_one_node_serves_them() {
    let prefixes: [(&str, &[&str]); 3] =
        [("", &["x", "{}a"]), ("}", &["plain", "{}", "}{"]), ("{app}:", &NAMES)];
    assert_served_in_a_cluster(Flavor::Valkey, &prefixes);
}
