//! `quarantine=on`: what a server may have forgotten in a restart is granted to
//! nobody until it is over.

use crate::place::records::records;
use crate::place::{PROMPT, Place, SECOND};
use leasehold::{Client, Kind};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::proxy::Proxy;
use leasehold_tests::servers::Settings;

const OPTIONS: &str = "quarantine=on&max_ttl=1s&ttl=1s";

fn client(place: &Place) -> Client {
    place.client_of(&format!("{}?{OPTIONS}", place.server.url()))
}

/// A server whose first quarantine is over.
fn seasoned(settings: Settings) -> (Place, Client, Client) {
    let place = Place::on(settings);
    let (one, other) = (client(&place), client(&place));
    place.wait(async { one.lock("first").acquire().await.unwrap().release().await.unwrap() });
    (place, one, other)
}

#[test]
fn the_first_connect_ever_waits_for_max_ttl_and_no_other_does() {
    let place = Place::new();
    let started = now();
    let one = client(&place);
    let first = place.wait(one.lock("x").acquire()).unwrap();
    let took = started.elapsed();
    assert!(took > SECOND && took < SECOND * 3, "{took:?}");
    place.wait(first.release()).unwrap();
    for client in [one, client(&place)] {
        let started = now();
        let lease = place.wait(client.lock("x").acquire()).unwrap();
        assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
        place.wait(lease.release()).unwrap();
    }
}

#[test]
fn a_lease_that_was_forgotten_is_over_before_the_next_is_granted() {
    let (place, _, other) = seasoned(Settings::default());
    let proxy = Proxy::before(place.server.port());
    let holder = place.client_of(&format!("{}?{OPTIONS}", proxy.url()));
    let lease = place.wait(holder.lock("x").acquire()).unwrap();
    // It cannot learn that it is forgotten, and believes in its lease to the end.
    proxy.refuse(true);
    proxy.cut();
    place.server.restart_empty();
    let restarted = now();
    let waiter = place.spawn({
        let lock = other.lock("x");
        async move {
            let next = lock.acquire().await.unwrap();
            (next, lease.is_valid(), lease)
        }
    });
    let left = until(LIMIT, || {
        let error = place.wait(other.lock("y").try_acquire()).err()?;
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        let message = error.to_string();
        message.contains("in quarantine").then(|| message.rsplit(' ').next().unwrap().to_owned())
    });
    let left = left.expect("it says so");
    assert!(left.starts_with(|c: char| c.is_ascii_digit()) && left.ends_with('s'), "{left}");
    let (next, is_valid, lease) = place.wait(waiter).unwrap();
    assert!(!is_valid, "two believe that they hold it");
    assert!(next.fence() > lease.fence());
    assert!(restarted.elapsed() > SECOND * 9 / 10, "{:?}", restarted.elapsed());
}

#[test]
fn a_ttl_longer_than_the_quarantine_is_refused() {
    let place = Place::new();
    let client = client(&place);
    let error = place.wait(client.lock("x").ttl(SECOND * 2).acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    for word in ["2s", "1s", "max_ttl"] {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_release_hands_nothing_on_during_quarantine() {
    let kept = Settings::default().config("appendonly", "yes").config("appendfsync", "no");
    let (place, one, other) = seasoned(kept);
    let names = ["to another client", "inside the client"];
    let leases = names.map(|name| place.wait(one.lock(name).acquire()).unwrap());
    let waiters = [other.lock(names[0]), one.lock(names[1])].map(|lock| place.queue(lock));
    until(LIMIT, || (place.line(names[0]) == 1).then_some(())).unwrap();
    place.server.kill();
    place.server.restart();
    let restarted = now();
    let channels = || place.server.command(&["PUBSUB", "CHANNELS", "leasehold:*"]);
    let all_hear = || channels().as_list().unwrap().len() == 2;
    until(LIMIT, || all_hear().then_some(())).expect("both would be told of a grant");
    for lease in &leases {
        // Nothing was lost, so it is held and renewed all the same.
        until(LIMIT, || place.wait(lease.renew()).ok()).expect("connected again");
        place.wait(lease.release()).unwrap();
    }
    assert!(restarted.elapsed() < SECOND, "too slow to tell: {:?}", restarted.elapsed());
    for (waiter, lease) in waiters.into_iter().zip(&leases) {
        let (next, at) = place.granted(waiter);
        assert!(at - restarted > SECOND * 9 / 10, "handed on after {:?}", at - restarted);
        assert!(next.fence() > lease.fence());
    }
}

#[test]
fn a_wait_that_ends_during_quarantine_is_not_told_that_somebody_holds_the_lock() {
    let place = Place::new();
    let error = place.wait(client(&place).lock("x").wait(SECOND / 2).acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("quarantine"), "{error}");
}

#[test]
fn the_epoch_is_remembered_for_longer_than_any_lock() {
    let (place, ..) = seasoned(Settings::default());
    let day = 24 * 60 * 60 * 1000;
    let epoch = records(&place.server).into_iter().find(|record| record.key.contains("epoch"));
    let lives = epoch.unwrap().lives;
    assert!(lives > 300 * day, "{lives} ms");
}

#[test]
fn a_node_of_a_cluster_cannot_quarantine_and_says_so() {
    let place = Place::on(Settings::default().config("cluster-enabled", "yes"));
    place.server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let state = || place.server.command(&["CLUSTER", "INFO"]);
    let is_up = || state().as_str().unwrap().contains("cluster_state:ok");
    until(LIMIT, || is_up().then_some(())).unwrap();
    let client = client(&place);
    let error = place.wait(client.lock("x").acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    assert!(error.to_string().contains("cluster"), "{error}");
}
