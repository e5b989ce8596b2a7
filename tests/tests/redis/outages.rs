//! What a client owes a server that is dead, or refuses to be paid.

use std::time::Duration;

use crate::place::{LONG, Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::servers::Settings;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn attempts_at_a_dead_server_leave_nothing_to_wait_for() {
    let place = Place::new();
    let client = place.client();
    place.wait(place.hold(&client, "warm up").release()).unwrap();
    place.server.kill();
    // This one may have been sent before the connection was seen to be broken.
    place.wait(client.lock("first").ttl(SECOND).try_acquire()).unwrap_err();
    for number in 0..200 {
        let lock = client.lock(format!("x{number}")).ttl(HOUR);
        let error = place.wait(lock.try_acquire()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    }
    let closing = now();
    place.wait(client.close());
    assert!(closing.elapsed() < SECOND * 5, "{:?}", closing.elapsed());
}

#[test]
fn what_is_refused_while_the_users_are_reloaded_is_given_back_afterwards() {
    let allowed = "user bob on >pw ~* &leasehold:* +@all";
    let place = Place::on(Settings::default().acl(allowed));
    let url = format!("redis://bob:pw@127.0.0.1:{}", place.server.port());
    let client = place.client_of(&url);
    let (released, dropped) = (place.hold(&client, "released"), place.hold(&client, "dropped"));
    place.server.command(&["ACL", "SETUSER", "bob", "-evalsha", "-eval"]);
    let error = place.wait(released.release()).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    drop(dropped);
    place.pass(SECOND / 2);
    assert_eq!(place.server.command(&["EXISTS", "leasehold:released"]).as_int(), Some(1));
    place.server.command(&["ACL", "SETUSER", "bob", "+@all"]);
    let begun = now();
    let exist = ["EXISTS", "leasehold:released", "leasehold:dropped"];
    let gone = || (place.server.command(&exist).as_int() == Some(0)).then_some(());
    until(LIMIT, gone).expect("given back");
    assert!(begun.elapsed() < LONG / 4, "{:?}", begun.elapsed());
}

#[test]
fn what_was_owed_in_an_outage_is_paid_when_the_server_is_back() {
    let place = Place::new();
    let client = place.client();
    let leases: Vec<_> =
        (0..100).map(|number| place.hold(&client, &format!("x{number}"))).collect();
    place.server.freeze();
    drop(leases);
    place.pass(SECOND * 3);
    place.server.thaw();
    let free = || place.wait(client.list()).ok().filter(Vec::is_empty);
    until(LIMIT, free).expect("all of them");
}
