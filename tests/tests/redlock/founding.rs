//! Which servers are trusted, from when on, and by whom.

use crate::place::{Place, SECOND, url_of};
use leasehold::Kind;
use leasehold_tests::own_keys::EPOCH;
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::proxy::Proxy;
use leasehold_tests::servers::Settings;

#[test]
fn new_servers_are_trusted_at_once() {
    let place = Place::of(3);
    let client = place.client();
    assert!(place.try_hold(&client, "x").is_some());
    assert!((0..3).all(|node| !place.in_quarantine(node)));
}

#[test]
fn two_clients_may_found_it_together() {
    for _ in 0..10 {
        let place = Place::of(3);
        let clients = [(); 2].map(|()| {
            let url = place.url();
            place.spawn(async move { leasehold::connect(&url).await })
        });
        for client in clients {
            let client = place.wait(client).unwrap().unwrap();
            place.turn(&client, "x");
        }
        assert!((0..3).all(|node| !place.in_quarantine(node)));
    }
}

#[test]
fn strict_trusts_nobody_at_first() {
    let place = Place::of(3);
    let url = url_of(&place.ports(), "max_ttl=1s&ttl=1s&quarantine=strict");
    let client = place.client_of(&url);
    let error = place.wait(client.lock("x").try_acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("quarantine"), "{error}");
    assert!((0..3).all(|node| place.in_quarantine(node)));
    let fence = place.turn(&client, "x");
    let over = |fence| (0..3).filter(|node| place.quarantine(*node).0 < fence).count();
    assert!(over(fence) >= 2, "a fence from the quarantine");
    // That of the third may have begun later.
    let is_over = || (0..3).all(|node| !place.in_quarantine(node)).then_some(());
    until(LIMIT, is_over).expect("the end of all quarantines");
    assert_eq!(over(place.turn(&client, "x")), 3, "a fence from the quarantine");
}

#[test]
fn with_one_of_them_unseen_the_others_are_not_taken_for_new() {
    let place = Place::of(3);
    place.servers[2].kill();
    let client = place.client_of(&place.short_url());
    assert!(place.in_quarantine(0) && place.in_quarantine(1));
    place.turn(&client, "x");
}

#[test]
fn a_server_that_comes_back_empty_grants_nothing_for_a_while() {
    let place = Place::of(3);
    let client = place.client_of(&place.short_url());
    let before = place.turn(&client, "x");
    place.servers[1].restart_empty();
    until(LIMIT, || place.in_quarantine(1).then_some(())).expect("a quarantine");
    let lease = place.wait(client.lock("x").acquire()).unwrap();
    assert!(lease.fence() > before);
    assert!(place.in_quarantine(1), "too slow to tell");
    assert_eq!(place.votes("x")[1], None, "a vote in quarantine");
    place.held_by("x", &[0, 1, 2]);
    assert!(!place.in_quarantine(1));
    assert!(lease.is_valid());
    assert!(place.quarantine(1).0 > lease.fence(), "it is older than what the node now grants");
}

#[test]
fn a_server_that_was_flushed_is_found_out_by_claims_and_by_renewals() {
    let place = Place::of(3);
    let client = place.client_of(&place.short_url());
    let lease = place.wait(client.lock("x").acquire()).unwrap();
    for node in [0, 1] {
        place.servers[node].command(&["FLUSHALL"]);
        if node == 1 {
            drop(place.wait(client.lock("y").try_acquire()));
        }
        until(LIMIT, || place.in_quarantine(node).then_some(())).expect("a quarantine");
        if node == 0 {
            place.held_by("x", &[0, 1, 2]);
        }
    }
    assert!(lease.is_valid());
}

#[test]
fn two_servers_that_forget_everything_do_not_let_a_second_holder_in() {
    let place = Place::of(3);
    let holder_url = place.short_url();
    let holder = place.client_of(&holder_url);
    let lease = place.wait(holder.lock("x").auto_renew(false).acquire()).unwrap();
    let other = place.client_of(&place.short_url());
    place.servers[0].restart_empty();
    place.servers[1].restart_empty();
    let (next, _) = place.granted(place.queue(other.lock("x")));
    assert!(!lease.is_valid(), "two hold it");
    assert!(next.fence() > lease.fence());
}

#[test]
fn a_server_that_was_replaced_for_a_while_is_found_out() {
    let place = Place::of(3);
    let proxy = Proxy::before(place.servers[2].port());
    let ports = [place.servers[0].port(), place.servers[1].port(), proxy.port()];
    let client = place.client_of(&url_of(&ports, "max_ttl=1s&ttl=900ms"));
    place.servers[2].restart_empty();
    until(LIMIT, || place.in_quarantine(2).then_some(())).expect("its second epoch");
    until(LIMIT, || (!place.in_quarantine(2)).then_some(())).expect("the end of it");
    place.turn(&client, "x");
    // As if the first had come back, which knows nothing of the second.
    place.servers[2].command(&["HSET", EPOCH, "number", "1"]);
    proxy.cut();
    until(LIMIT, || place.in_quarantine(2).then_some(())).expect("another quarantine");
}

#[test]
fn whoever_counts_otherwise_is_refused() {
    let place = Place::of(5);
    let [a, b, c, d, e] = place.ports()[..] else { panic!() };
    let client = place.client_of(&url_of(&[a, b, c], "max_ttl=1s&ttl=1s"));
    place.turn(&client, "x");
    let same = place.client_of(&url_of(&[c, a, b], "max_ttl=1s&ttl=1s"));
    place.turn(&same, "x");
    for (ports, options, word) in [
        (&[a, b, c][..], "max_ttl=2s", "max_ttl=2s"),
        (&[a, b, d], "max_ttl=1s", &format!("{d}")),
        (&[a, b, c, d, e], "max_ttl=1s", "3 of"),
    ] {
        let error = place.no_client_of(&url_of(ports, options));
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        for word in [word, "2 of", "leasehold:\\x00epoch"] {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
    }
    let single = format!("redis://127.0.0.1:{a}?quarantine=on&max_ttl=1s");
    assert_eq!(place.no_client_of(&single).kind(), Kind::Refused);
}

#[test]
fn what_makes_no_quorum_is_refused() {
    let place = Place::of(4);
    let [a, b, c, d] = place.ports()[..] else { panic!() };
    for (ports, word) in [
        (&[a][..], "redis://"),
        (&[a, b], "even number"),
        (&[a, b, c, d], "even number"),
        (&[a, b, b], "one server"),
    ] {
        let error = place.no_client_of(&url_of(ports, ""));
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    // Another name for the same server, and another database of it.
    for twin in [format!("localhost:{a}"), format!("127.0.0.1:{a}/3")] {
        let error = place.no_client_of(&format!("redlock://127.0.0.1:{a},127.0.0.1:{b},{twin}"));
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains("one server"), "{error}");
    }
}

#[test]
fn bad_urls_are_refused_by_name() {
    let place = Place::of(3);
    for (options, word) in [
        ("quarantine=off", "strict"),
        ("max_ttl=soon", "max_ttl"),
        ("prefx=a", "prefx"),
        ("db=3", "db"),
    ] {
        let error = place.no_client_of(&url_of(&place.ports(), options));
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let client = place.client();
    let error = place.wait(client.lock("x").ttl(SECOND * 121).acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains("max_ttl"), "{error}");
}

#[test]
fn each_node_may_have_its_own_way_in() {
    let place = Place::on(vec![
        Settings::default().password("a,b"),
        Settings::default().tls(),
        Settings::default().unix_socket(),
    ]);
    let [a, b, c] = &place.servers[..] else { panic!() };
    let url = format!(
        "redlock:redis://:a%2Cb@127.0.0.1:{},{},redis+unix://{}",
        a.port(),
        b.tls_url(),
        c.unix_path().display()
    );
    // The certificate is not one that the system trusts.
    let error = place.no_client_of(&url);
    assert!(error.to_string().contains("certificate"), "{error}");
    let ca = format!("ca={}", b.ca_path().display());
    let client = place.client_of(&format!("{url}?{ca}&max_ttl=2m"));
    let _lease = place.hold(&client, "x");
    place.held_by("x", &[0, 1, 2]);
    assert!(!client.backend().contains("a%2Cb") && !client.backend().contains("a,b"));
}
