//! What is given back while a server does not hear it, or does not do it.

use std::time::Duration;

use crate::place::{Place, SECOND, url_of};
use leasehold::{Client, Kind};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::proxy::Proxy;

/// Far less than the ttl of a lease that is held by `hold`.
#[track_caller]
fn is_free_soon(place: &Place, name: &str) {
    let free = || place.votes(name).iter().all(Option::is_none).then_some(());
    until(LIMIT.min(20 * SECOND), free).unwrap_or_else(|| panic!("{:?}", place.votes(name)));
}

/// Three servers, the third far away, and a client that has given back what all held.
fn given_back(slowly: impl FnOnce(&Place, &Proxy)) -> (Place, Proxy, Client) {
    let place = Place::of(3);
    let proxy = Proxy::before(place.servers[2].port());
    let ports = [place.servers[0].port(), place.servers[1].port(), proxy.port()];
    let client = place.client_of(&url_of(&ports, "max_ttl=2m"));
    let lease = place.hold(&client, "x");
    place.held_by("x", &[0, 1, 2]);
    slowly(&place, &proxy);
    place.wait(lease.release()).unwrap();
    (place, proxy, client)
}

#[test]
fn a_release_that_a_slow_server_did_not_get_is_told_to_it_again() {
    let (place, proxy, _client) = given_back(|_, proxy| proxy.stall_upstream(true));
    assert!(place.votes("x")[2].is_some(), "it has heard of it");
    proxy.cut();
    proxy.stall_upstream(false);
    is_free_soon(&place, "x");
}

#[test]
fn a_release_that_a_server_refuses_is_told_to_it_again() {
    let place = Place::of(3);
    let client = place.client();
    let lease = place.hold(&client, "x");
    place.held_by("x", &[0, 1, 2]);
    // As while an administrator loads another list of users.
    place.servers[1].command(&["ACL", "SETUSER", "default", "resetkeys"]);
    place.wait(lease.release()).unwrap();
    place.pass(SECOND);
    place.servers[1].command(&["ACL", "SETUSER", "default", "allkeys"]);
    assert!(place.votes("x")[1].is_some(), "it was given back in spite of that");
    is_free_soon(&place, "x");
}

#[test]
fn a_release_of_which_a_server_has_forgotten_the_script_is_told_to_it_again() {
    let place = Place::of(3);
    let client = place.client();
    for round in 0..20 {
        let name = format!("x{round}");
        let lease = place.hold(&client, &name);
        place.held_by(&name, &[0, 1, 2]);
        place.servers[round % 3].command(&["SCRIPT", "FLUSH"]);
        place.wait(lease.release()).unwrap();
        is_free_soon(&place, &name);
    }
}

#[test]
fn a_server_is_told_nothing_of_what_it_was_never_asked() {
    let place = Place::of(3);
    let client = place.client();
    let lease = place.hold(&client, "before");
    place.held_by("before", &[0, 1, 2]);
    place.servers[2].stop();
    place.wait(lease.release()).unwrap();
    for turn in 0..300 {
        place.turn(&client, &format!("turn {turn}"));
    }
    place.servers[2].restart();
    let calls = || place.servers[2].calls_by_command();
    let joined = || calls().contains_key("script|load").then_some(());
    until(LIMIT, joined).expect("connected again");
    place.pass(Duration::from_millis(1500));
    let told = calls().get("evalsha").copied().unwrap_or_default();
    assert!(told <= 5, "{told} requests about what it does not know");
}

#[test]
fn a_client_that_is_closed_tells_a_slow_server_first() {
    for forgets in [false, true] {
        let (place, _proxy, client) = given_back(|place, proxy| {
            proxy.delay_commands(SECOND / 2);
            if forgets {
                place.servers[2].command(&["SCRIPT", "FLUSH"]);
            }
        });
        place.wait(client.close());
        assert_eq!(place.votes("x"), [None, None, None], "forgets {forgets}");
    }
}

#[test]
fn a_client_that_is_closed_tells_a_server_again_that_did_not_hear_it() {
    let (place, proxy, client) = given_back(|_, proxy| proxy.stall_upstream(true));
    let closing = place.spawn({
        let client = client.clone();
        async move { client.close().await }
    });
    let is_closed = || {
        let error = place.wait(client.lock("y").try_acquire()).err()?;
        (error.kind() == Kind::Closed).then_some(())
    };
    until(LIMIT, is_closed).expect("closing");
    proxy.cut();
    proxy.stall_upstream(false);
    place.wait(closing).unwrap();
    assert_eq!(place.votes("x"), [None, None, None]);
}

#[test]
fn a_client_that_is_closed_does_not_wait_long_for_a_server_that_hangs_or_is_dead() {
    let hangs: fn(&Place) = |place| place.servers[2].freeze();
    let is_dead: fn(&Place) = |place| place.servers[2].kill();
    for ails in [hangs, is_dead] {
        let (place, _proxy, client) = given_back(|place, _| ails(place));
        let began = now();
        place.wait(client.close());
        assert!(began.elapsed() < 20 * SECOND, "{:?}", began.elapsed());
    }
}
