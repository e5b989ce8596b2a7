//! Sessions that end or hear nothing while somebody waits, and statements that come late.

use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, now, until};

#[test]
fn who_waits_is_woken_after_its_session_was_made_anew() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let (lease, waiter) = (place.hold(&a, "x"), place.stand_in_line(&b, "x"));
    place.end_sessions();
    place.pass(SECOND);
    let (lease, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "{took:?}");
    place.wait(lease.release()).unwrap();
}

/// The first hand-over of a session is on its way no later than what takes it back.
#[test]
fn who_gives_up_while_the_lock_is_handed_over_leaves_it_free() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    // What takes back has been said before, and what hands over has not.
    let held = place.hold(&other, "warm");
    let waits = client.lock("warm").ttl(LONG).wait(SECOND / 5);
    assert_eq!(place.wait(waits.acquire()).unwrap_err().kind(), Kind::Timeout);
    place.wait(held.release()).unwrap();
    let lease = place.hold(&client, "x");
    let waiter = place.queue(client.lock("x").ttl(LONG).wait(SECOND));
    place.pass(SECOND / 2);
    place.server.freeze();
    let releases = place.spawn(async move { lease.release().await });
    // By now it has given up.
    place.pass(SECOND);
    place.server.thaw();
    place.wait(releases).unwrap().unwrap();
    assert_eq!(place.wait(waiter).unwrap().unwrap_err().kind(), Kind::Timeout);
    let asked = now();
    let free = || place.try_hold(&other, "x");
    assert!(until(LIMIT, free).is_some());
    assert!(asked.elapsed() < LONG / 4, "nobody has it: {:?}", asked.elapsed());
}

#[test]
fn who_began_to_wait_while_nothing_was_heard_is_woken_once_it_is_again() {
    let place = Place::new();
    let client = place.client_of(&place.plain_user("ann"));
    let lease = place.hold(&place.client(), "x");
    place.server.sql("ALTER ROLE ann NOLOGIN");
    let ear = "FROM pg_stat_activity WHERE usename = 'ann' AND query LIKE 'LISTEN%'";
    place.server.sql(&format!("SELECT pg_terminate_backend(pid) {ear}"));
    let is_deaf = || (client.caveats().len() == 2).then_some(());
    assert!(until(LIMIT, is_deaf).is_some());
    let waiter = place.stand_in_line(&client, "x");
    let hears = || (place.column("x", "line -> 0 ->> 'client'") != "0").then_some(());
    assert!(hears().is_none());
    place.server.sql("ALTER ROLE ann LOGIN");
    assert!(until(LIMIT, hears).is_some(), "its place is where nothing is heard");
    let (lease, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "{took:?}");
    place.wait(lease.release()).unwrap();
}

#[test]
fn sessions_that_are_given_up_do_not_pile_up_while_a_standby_is_away() {
    let place = Place::new();
    let client = place.client_of(&format!("{}&response_timeout=500ms", place.server.url()));
    place.server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    place.server.sql("SELECT pg_reload_conf()");
    for number in 0..8 {
        // It is not granted, as no standby has it.
        drop(place.wait(client.lock(format!("x{number}")).try_acquire()));
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    // What is withdrawn waits, too, one after the other.
    let few = until(5 * SECOND, || {
        place.server.sql(waiting).parse::<u32>().is_ok_and(|n| n <= 2).then_some(())
    });
    assert!(few.is_some(), "{} sessions", place.server.sql(waiting));
}
