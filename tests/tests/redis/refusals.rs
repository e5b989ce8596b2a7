//! What a server that answers cannot or may not do: each has its kind, and its
//! message says what to do about it.

use std::io::{Read, Write};

use crate::place::{PROMPT, Place, SECOND};
use leasehold::{Client, Error, Kind, Loss};
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::resp::Reply;
use leasehold_tests::servers::{Flavor, Server, Settings};

#[track_caller]
fn assert_says(error: &Error, kind: Kind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word} is not in {error}");
    }
}

#[track_caller]
fn assert_try(place: &Place, client: &Client, kind: Kind, words: &[&str]) {
    let error = place.wait(client.lock("x").try_acquire()).unwrap_err();
    assert_says(&error, kind, &[words, &["\"x\"", &place.server.url()]].concat());
}

#[track_caller]
fn configure(server: &Server, name: &str, value: &str) {
    assert_eq!(server.command(&["CONFIG", "SET", name, value]), Reply::status("OK"));
}

#[test]
fn a_server_that_is_loading_is_waited_for() {
    // A second of it: a millisecond for each key, and answers in between.
    let slow = Settings::default()
        .config("key-load-delay", "1000")
        .config("loading-process-events-interval-bytes", "1024");
    let place = Place::on(slow);
    let fill = "for i = 1, 1000 do redis.call('SET', i, string.rep('x', 100)) end";
    place.server.command(&["EVAL", fill, "0"]);
    let client = place.client();
    assert_eq!(place.server.command(&["SAVE"]), Reply::status("OK"));
    let lock = client.lock("waited for");
    let waiter = std::thread::scope(|scope| {
        let restarted = scope.spawn(|| place.server.restart());
        let loading = until(LIMIT, || {
            let error = place.wait(client.lock("x").try_acquire()).err()?;
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            error.to_string().contains("still loading its data").then_some(())
        });
        loading.expect("it says so");
        let error = place.wait(client.lock("x").wait(SECOND / 10).acquire()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        let waiter = place.queue(lock);
        restarted.join().unwrap();
        waiter
    });
    place.granted(waiter);
}

#[test]
fn a_replica_is_refused_until_it_is_the_primary() {
    let place = Place::new();
    let primary = Settings::default().config("repl-diskless-sync-delay", "0").start();
    let client = place.client();
    let port = primary.port().to_string();
    place.server.command(&["REPLICAOF", "127.0.0.1", &port]);
    let linked = || place.server.info("replication").contains("master_link_status:up");
    until(LIMIT, || linked().then_some(())).unwrap();
    assert_try(&place, &client, Kind::Unavailable, &["replica", "primary"]);
    let waiter = place.queue(client.lock("x"));
    place.pass(SECOND / 5);
    assert!(!waiter.is_finished());
    place.server.command(&["REPLICAOF", "NO", "ONE"]);
    place.granted(waiter);
}

#[test]
fn a_server_without_memory_says_so_and_still_releases() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let lease = place.hold(&client, "held");
    let alone = place.hold(&client, "alone");
    let waiter = place.stand_in_line(&other, "held");
    configure(&place.server, "maxmemory", "1");
    assert_try(&place, &client, Kind::Unavailable, &["out of memory", "maxmemory"]);
    place.wait(lease.renew()).unwrap();
    place.wait(alone.release()).unwrap();
    // Who waits has its place already, and no more memory is needed than that.
    let (lease, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "{took:?}");
    place.wait(lease.release()).unwrap();
    assert!(place.server.keys().iter().all(|key| key.contains('\0')), "a lock is held");
    let waiter = place.queue(client.lock("x"));
    place.pass(SECOND / 5);
    assert!(!waiter.is_finished());
    configure(&place.server, "maxmemory", "0");
    place.granted(waiter);
}

#[test]
fn a_user_who_may_not_is_told_what_is_needed() {
    let without_keys = "user bob on >pw ~lease:* &leasehold:* +@all";
    let without_channel = "user dan on >pw ~* resetchannels +@all";
    let without_scripts = "user eve on >pw ~* &leasehold:* +@all -evalsha";
    let users = Settings::default().acl(without_keys).acl(without_channel).acl(without_scripts);
    let place = Place::on(users);
    let url = |user: &str| format!("redis://{user}:pw@127.0.0.1:{}", place.server.port());
    let words = ["ACL SETUSER", "leasehold:*"];
    for user in ["bob", "eve"] {
        let error = place.wait(place.client_of(&url(user)).lock("x").acquire()).unwrap_err();
        assert_says(&error, Kind::Refused, &words);
    }
    assert_says(&place.no_client_of(&url("dan")), Kind::Refused, &words);
}

#[test]
fn a_user_with_what_is_documented_can_do_everything() {
    let carl = "user carl on >pw ~leasehold:* &leasehold:* +@all -@admin";
    let place = Place::on(Settings::default().acl(carl));
    let url = format!("redis://carl:pw@127.0.0.1:{}", place.server.port());
    for url in [url.clone(), format!("{url}?quarantine=on&max_ttl=200ms")] {
        let (client, other) = (place.client_of(&url), place.client_of(&url));
        for name in ["x", "a}b", "{a}b"] {
            let lease = place.wait(client.lock(name).ttl(SECOND / 5).acquire()).unwrap();
            let waiter = place.queue(other.lock(name).ttl(SECOND / 5));
            let waits = || place.wait(client.status(name)).unwrap().unwrap().waiters.len() == 1;
            until(LIMIT, || waits().then_some(())).unwrap();
            place.wait(lease.renew()).unwrap();
            let (lease, _) = place.hand_over(lease, waiter);
            assert_eq!(place.wait(client.list()).unwrap().len(), 1);
            assert!(place.wait(client.break_lock(name)).unwrap());
            assert_eq!(place.wait(lease.lost()), Loss::Gone);
        }
    }
}

#[test]
fn a_key_that_is_no_lock_is_left_alone() {
    let place = Place::new();
    let client = place.client();
    let _lease = place.hold(&client, "x");
    let waiter = place.stand_in_line(&place.client(), "x");
    let keys = place.server.keys();
    assert_eq!(keys.len(), 4, "{keys:?}");
    waiter.abort();
    until(LIMIT, || (place.server.keys().len() == 2).then_some(())).expect("it has left");
    place.server.command(&["FLUSHALL"]);
    for key in &keys {
        let kind = if key.contains("\0s") { ["SET", key, "a string"] } else { ["LPUSH", key, "1"] };
        place.server.command(&kind);
        if key.contains("\0l") {
            // It is looked at only where somebody is to wait.
            place.server.command(&["SET", "leasehold:x", "somebody", "PX", "60000"]);
        }
        let error = place.wait(client.lock("x").acquire()).unwrap_err();
        assert_says(&error, Kind::Refused, &["holds something else", "?prefix="]);
        assert_eq!(place.server.command(&["EXISTS", key]), Reply::Int(1));
        place.server.command(&["FLUSHALL"]);
    }
    place.server.command(&["LPUSH", "leasehold:x", "1"]);
    let elsewhere = place.client_of(&format!("{}?prefix=mine:", place.server.url()));
    assert!(place.try_hold(&elsewhere, "x").is_some());
}

/// By the script alone, as a client withdraws what was refused.
#[test]
fn a_claim_that_is_refused_for_its_fence_holds_nothing() {
    const CLAIM: &str = concat!(
        include_str!("../../../core/src/backend/redis/lua/claim_free.lua"),
        include_str!("../../../core/src/backend/redis/lua/line.lua"),
        include_str!("../../../core/src/backend/redis/lua/share.lua"),
        include_str!("../../../core/src/backend/redis/lua/hand_on.lua"),
        include_str!("../../../core/src/backend/redis/lua/claim.lua"),
    );
    for flavor in [Flavor::Redis, Flavor::Valkey] {
        let place = Place::on(Settings::default().flavor(flavor));
        place.server.command(&["LPUSH", "fence", "1"]);
        let refused = claim_by(CLAIM, &place.server);
        assert!(
            matches!(&refused, Reply::Error(said) if said.contains("WRONGTYPE")),
            "{refused:?}"
        );
        assert_eq!(place.server.keys(), ["fence"]);
        place.server.command(&["DEL", "fence"]);
        let granted = claim_by(CLAIM, &place.server);
        assert_eq!(granted.as_list().unwrap()[0], Reply::Int(1), "{granted:?}");
    }
}

fn claim_by(script: &str, server: &Server) -> Reply {
    let keys = ["lock", "side", "line", "fence"];
    let arguments = ["86400000", "a", "channel label", "60000", "0", "90000000"];
    server.command(&[&["EVAL", script, "4"], &keys[..], &arguments].concat())
}

#[test]
fn a_script_of_somebody_that_does_not_end_makes_the_server_busy() {
    let place = Place::on(Settings::default().config("busy-reply-threshold", "50"));
    let client = place.client();
    let port = place.server.port();
    let stuck = std::thread::spawn(move || {
        let mut connection = leasehold_tests::servers::Connection::open(port).unwrap();
        connection.ask(&["EVAL", "while true do end", "0"]).unwrap()
    });
    let busy = until(LIMIT, || {
        let error = place.wait(client.lock("x").try_acquire()).err()?;
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        error.to_string().contains("somebody's script").then_some(())
    });
    busy.expect("it says so");
    let waiter = place.queue(client.lock("x"));
    place.server.command(&["SCRIPT", "KILL"]);
    place.granted(waiter);
    assert!(stuck.join().unwrap().is_error());
}

#[test]
fn a_server_that_needs_replicas_or_slots_and_has_none_is_unavailable() {
    let place = Place::new();
    let client = place.client();
    configure(&place.server, "min-replicas-to-write", "1");
    assert_try(&place, &client, Kind::Unavailable, &["too few replicas"]);
    configure(&place.server, "min-replicas-to-write", "0");
    assert!(place.try_hold(&client, "x").is_some());

    let place = Place::on(Settings::default().config("cluster-enabled", "yes"));
    assert_try(&place, &place.client(), Kind::Unavailable, &["cluster is down"]);
}

#[test]
fn a_server_that_evicts_is_named_and_what_to_do_about_it() {
    let evicts = |policy| Settings::default().config("maxmemory-policy", policy);
    let place = Place::on(evicts("allkeys-lru").config("maxmemory", "100mb"));
    let caveats = place.client().caveats();
    assert_eq!(caveats.len(), 1, "{caveats:?}");
    for word in ["allkeys-lru", "noeviction"] {
        assert!(caveats[0].contains(word), "{word} is not in {caveats:?}");
    }
    configure(&place.server, "maxmemory-policy", "noeviction");
    assert_eq!(place.client().caveats(), [""; 0]);
    // It cannot run out of what has no limit.
    let place = Place::on(evicts("volatile-ttl"));
    assert_eq!(place.client().caveats(), [""; 0]);
    // One who may not ask is told nothing.
    let blind = "user bob on >pw ~* &* +@all -info";
    let place = Place::on(evicts("allkeys-lru").config("maxmemory", "100mb").acl(blind));
    let client = place.client_of(&format!("redis://bob:pw@127.0.0.1:{}", place.server.port()));
    assert_eq!(client.caveats(), [""; 0]);
    drop(place.hold(&client, "x"));
}

/// Something that is no Redis server as we need it: it says this to whoever
/// connects, or when it is asked, and hangs up.
fn impostor(says: &'static str, unasked: bool) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            if !unasked {
                drop(client.read(&mut [0; 512]));
            }
            drop(client.write_all(says.as_bytes()));
            // What it was asked is not read: the connection is reset.
        }
    });
    format!("redis://127.0.0.1:{port}")
}

#[test]
fn a_server_that_turns_us_away_is_heard() {
    let place = Place::on(Settings::default().config("maxclients", "1"));
    let _only = leasehold_tests::servers::Connection::open(place.server.port()).unwrap();
    let error = place.no_client_of(&place.server.url());
    assert_says(&error, Kind::Unavailable, &["maxclients"]);

    let sentinel = "%1\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n";
    for (says, unasked, kind, word) in [
        ("-DENIED Redis is running in protected mode\r\n", true, Kind::Refused, "password"),
        ("-ERR max number of clients reached\r\n", true, Kind::Unavailable, "maxclients"),
        (sentinel, false, Kind::Unsupported, "sentinel"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", false, Kind::Unavailable, "no Redis"),
        ("", false, Kind::Unavailable, "rediss:"),
    ] {
        let error = place.no_client_of(&impostor(says, unasked));
        assert_says(&error, kind, &[word]);
    }
    let encrypted = Settings::default().tls().start();
    let plain = format!("redis://127.0.0.1:{}", encrypted.tls_port());
    assert_says(&place.no_client_of(&plain), Kind::Unavailable, &["rediss:"]);
}

#[test]
fn a_node_of_a_cluster_of_several_is_refused_when_a_client_connects() {
    let nodes = [(), ()].map(|()| Settings::default().config("cluster-enabled", "yes").start());
    let [one, other] = &nodes;
    one.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]);
    other.command(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]);
    // Or both would claim to be of the same age.
    one.command(&["CLUSTER", "SET-CONFIG-EPOCH", "1"]);
    other.command(&["CLUSTER", "SET-CONFIG-EPOCH", "2"]);
    one.command(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string()]);
    let place = Place::new();
    for node in &nodes {
        let state = || node.command(&["CLUSTER", "INFO"]);
        let is_up = || state().as_str().unwrap().contains("cluster_state:ok").then_some(());
        until(LIMIT, is_up).expect("a cluster");
        let error = place.no_client_of(&node.url());
        assert_says(&error, Kind::Unsupported, &["2 primaries", "redlock:"]);
    }
}

#[test]
fn a_sentinel_is_refused_when_a_client_connects() {
    let place = Place::new();
    let watched = format!("shop 127.0.0.1 {} 1", place.server.port());
    let sentinel = Settings::default().sentinel().config("sentinel monitor", &watched).start();
    let port = sentinel.port();
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("redis://127.0.0.1:{port}/1"),
        format!("redis://:secret@127.0.0.1:{port}"),
        format!("redis://127.0.0.1:{port}?quarantine=on"),
    ] {
        assert_says(&place.no_client_of(&url), Kind::Unsupported, &["sentinel", "primary"]);
    }
}
