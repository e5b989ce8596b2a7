//! What other libraries get wrong about fences, names and ttls, on a real server.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::place::records::records;
use crate::place::{LONG, Place, SECOND};
use leasehold::{Client, Error, Kind, Lock};
use leasehold_tests::own_keys;
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::servers::{Server, Settings};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const NAMES: usize = 10;
const TASKS: usize = 2;
const ROUNDS: usize = 500;

/// Take a lock again and again; every fiftieth time let it expire.
async fn take_rounds(lock: Lock, count: Arc<AtomicUsize>) -> Vec<u64> {
    let mut fences = Vec::new();
    let mut overrun = Vec::new();
    for round in 1..=ROUNDS {
        let expires = round % 50 == 0;
        let lock =
            if expires { lock.clone().ttl(SECOND / 10).auto_renew(false) } else { lock.clone() };
        let lease = lock.acquire().await.unwrap();
        fences.push(lease.fence());
        count.fetch_add(1, Ordering::SeqCst);
        if expires {
            overrun.push(lease);
        } else if let Err(e) = lease.release().await {
            assert!(matches!(e.kind(), Kind::Lost | Kind::Unavailable), "{e}");
        }
    }
    fences
}

/// Delete what the scripts remember.
fn delete(server: &Server, which: &str) {
    let keys = records(server).into_iter().map(|record| record.key);
    let keys: Vec<String> = keys.filter(|key| key.contains(which)).collect();
    let command = ["DEL"].into_iter().chain(keys.iter().map(String::as_str));
    if !keys.is_empty() {
        server.command(&command.collect::<Vec<_>>());
    }
}

#[test]
fn fences_rise_though_the_clock_has_gone_back() {
    let place = Place::new();
    let client = place.client();
    let first = place.hold(&client, "x").fence();
    until(LIMIT, || place.wait(client.status("x")).expect("a status").is_none().then_some(()))
        .expect("released by its drop");
    // As if it had been granted when the clock was an hour ahead.
    let ahead = first + 3_600_000_000;
    let fence = own_keys::fence(&place.server, "leasehold:x").expect("one key");
    place.server.command(&["SET", &fence, &ahead.to_string()]);
    assert_eq!(place.hold(&client, "x").fence(), ahead + 1);
}

#[test]
fn fences_rise_over_expiry_restarts_lost_data_and_deleted_keys() {
    // Of a killed process nothing is lost that it has written, even if not to the disk.
    let kept = Settings::default().config("appendonly", "yes").config("appendfsync", "no");
    let place = Place::on(kept);
    let clients: Vec<Client> = (0..TASKS).map(|_| place.client()).collect();
    let count = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for name in 0..NAMES {
        let start = |client: &Client| {
            let lock = client.lock(format!("fence {name}")).ttl(LONG);
            place.spawn(take_rounds(lock, count.clone()))
        };
        tasks.push(clients.iter().map(start).collect::<Vec<_>>());
    }
    let server = &place.server;
    let disturb: [&dyn Fn(); 9] = [
        &|| delete(server, "leasehold:fence"),
        &|| delete(server, "\0s"),
        &|| delete(server, "\0f"),
        &|| delete(server, "\0l"),
        &|| server.restart(),
        &|| drop(server.command(&["FLUSHALL"])),
        &|| {
            server.kill();
            server.restart();
        },
        &|| server.restart_empty(),
        &|| delete(server, "leasehold"),
    ];
    let all = NAMES * TASKS * ROUNDS;
    for (number, disturbance) in disturb.iter().enumerate() {
        let progress = all * (number + 1) / (disturb.len() + 1);
        until(LIMIT, || (count.load(Ordering::SeqCst) >= progress).then_some(())).unwrap();
        disturbance();
    }
    for tasks in tasks {
        let fences: Vec<Vec<u64>> =
            tasks.into_iter().map(|task| place.wait(task).unwrap()).collect();
        for fences in &fences {
            assert!(fences.is_sorted_by(|before, after| before < after), "{fences:?}");
        }
        let unique: HashSet<&u64> = fences.iter().flatten().collect();
        assert_eq!(unique.len(), TASKS * ROUNDS, "a fence was handed out twice");
    }
}

/// Granted once, busy for others, and free afterwards.
#[track_caller]
fn assert_exclusive(place: &Place, [one, other]: [&Client; 2], name: &str, ttl: Duration) {
    let attempt = |client: &Client| place.wait(client.lock(name).ttl(ttl).try_acquire()).unwrap();
    let lease = attempt(one).unwrap_or_else(|| panic!("{name:?} is not free"));
    assert_eq!(lease.name(), name);
    let key = format!("leasehold:{name}");
    let lives = place.server.command(&["PTTL", &key]).as_int().unwrap();
    let most = u64::try_from(ttl.as_micros().div_ceil(1000)).unwrap();
    assert!((1..=most).contains(&u64::try_from(lives).unwrap()), "{name:?}: {lives} ms");
    assert!(attempt(other).is_none(), "two hold {name:?}");
    place.wait(lease.release()).unwrap();
    let lease = attempt(other).unwrap_or_else(|| panic!("{name:?} is not free again"));
    place.wait(lease.release()).unwrap();
}

#[test]
fn names_of_any_kind_are_granted_and_exclusive() {
    let place = Place::new();
    let (one, other) = (place.client(), place.client());
    let longest = "n".repeat(1024);
    for name in [
        "🔒 é ß 漢字",
        "{",
        "}",
        "{}",
        "a{b}c",
        "}{",
        "{{x}}:leasehold:side",
        "two\nlines\r\n",
        " ",
        "%s %d \\ \" ' * ? [a-z]",
        "\u{1}\u{7f}\u{feff}",
        &longest,
    ] {
        assert_exclusive(&place, [&one, &other], name, SECOND * 30);
        // And where it is waited for, so that it travels with the message too.
        let lease = place.hold(&one, name);
        let waiter = place.queue(other.lock(name));
        let waits = || place.wait(other.status(name)).unwrap().unwrap().waiters.len() == 1;
        until(LIMIT, || waits().then_some(())).unwrap();
        let (lease, took) = place.hand_over(lease, waiter);
        assert!(took < SECOND / 2, "{name:?} was not in the message: {took:?}");
        place.wait(lease.release()).unwrap();
    }
}

#[test]
fn names_that_cannot_be_used_are_refused_and_say_why() {
    let place = Place::new();
    let client = place.client();
    let long = "n".repeat(10 * 1024);
    for (name, word) in [("", "empty"), (&*long, "1024"), ("a\0b", "NUL")] {
        let errors: [Error; 2] = [
            place.wait(client.lock(name).acquire()).unwrap_err(),
            place.wait(client.lock(name).try_acquire()).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
            assert!(error.to_string().contains(word), "{error}");
            assert!(error.to_string().len() < 500, "{error}");
        }
    }
    assert_eq!(place.server.keys(), [""; 0]);
}

#[test]
fn the_shortest_and_the_longest_ttl_work() {
    let place = Place::new();
    let (one, other) = (place.client(), place.client());
    assert_exclusive(&place, [&one, &other], "longest", DAY);
    assert_exclusive(&place, [&one, &other], "odd", Duration::from_micros(1_234_567));
    // On a busy machine it may be over before anybody has looked.
    let short = one.lock("shortest").ttl(SECOND / 10);
    let lease = place.wait(short.acquire()).unwrap();
    assert!(lease.remaining() < SECOND / 10);
    let lives = place.server.command(&["PTTL", "leasehold:shortest"]).as_int().unwrap();
    assert!(lives <= 100, "{lives} ms");
}

#[test]
fn ttls_that_cannot_be_kept_are_refused_and_say_why() {
    let place = Place::new();
    let client = place.client();
    for (ttl, shown) in [
        (Duration::ZERO, "0ns"),
        (Duration::from_millis(1), "1ms"),
        (Duration::from_micros(99_999), "99.999ms"),
        (DAY + Duration::from_nanos(1), "86400.000000001s"),
        (DAY * 365, "31536000s"),
        (Duration::MAX, "18446744073709551615"),
    ] {
        let error = place.wait(client.lock("x").ttl(ttl).acquire()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        for word in [shown, "100ms", "24h"] {
            assert!(error.to_string().contains(word), "{word} is not in {error}");
        }
    }
    assert_eq!(place.server.keys(), [""; 0]);
}

/// A name that is the rest of a key which is there already, and so of no lock.
#[test]
fn no_name_reaches_a_key_of_ours() {
    let place = Place::new();
    let url = |options: &str| format!("{}?{options}", place.server.url());
    // It makes the record of which server this is.
    drop(place.client_of(&url("quarantine=on&max_ttl=1m")));
    let at = |prefix: &str| place.client_of(&url(&format!("prefix={prefix}")));
    let lease = place.hold(&at("leasehold:"), "x");
    let waiter = place.queue(at("leasehold:").lock("x").ttl(LONG));
    until(LIMIT, || (place.server.keys().len() == 5).then_some(())).expect("one of each kind");
    let all = place.server.keys();
    for prefix in ["", "leasehold:", "leasehold:x", "{"] {
        let strangers = at(prefix);
        for key in &all {
            let Some(name) = key.strip_prefix(prefix).filter(|name| !name.is_empty()) else {
                continue;
            };
            match place.wait(strangers.lock(name).ttl(SECOND).try_acquire()) {
                Ok(None) => assert_eq!(key, "leasehold:x"),
                Ok(Some(_)) => panic!("{name:?} is a key of ours"),
                Err(error) => assert_eq!(error.kind(), Kind::Invalid, "{name:?}: {error}"),
            }
        }
        for name in ["epoch", "leasehold:epoch", "side", "line", "{x}:leasehold:side"] {
            let lease = place.hold(&strangers, name);
            place.wait(lease.release()).unwrap();
        }
    }
    place.hand_over(lease, waiter);
    let error = place.no_client_of(&url("prefix=a%00b"));
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
}
