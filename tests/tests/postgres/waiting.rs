//! Who waits, and how they are woken.

use std::time::Duration;

use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::servers::PostgresSettings;

use crate::place::{PROMPT, Place, SECOND};

#[test]
fn a_release_wakes_who_waits() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    for round in 0..10 {
        let name = format!("x{round}");
        let (lease, waiter) = (place.hold(&a, &name), place.stand_in_line(&b, &name));
        let (_, took) = place.hand_over(lease, waiter);
        assert!(took < PROMPT, "{took:?}");
    }
    assert_eq!(a.caveats().len(), 1, "only of fsync: {:?}", a.caveats());
}

#[test]
fn a_release_wakes_who_waits_behind_one_who_is_gone() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    for round in 0..5 {
        let name = format!("x{round}");
        let (lease, waiter) = (place.hold(&a, &name), place.stand_in_line(&b, &name));
        place.server.sql(&format!(
            "UPDATE leasehold SET line = jsonb_build_array((line -> 0) || \
             '{{\"owner\": \"000000000000000000000000000000aa\", \"client\": 1, \"until\": 1}}') || line \
             WHERE name = '{name}'"
        ));
        let (_, took) = place.hand_over(lease, waiter);
        assert!(took < PROMPT, "{took:?}");
    }
}

#[test]
fn nobody_is_told_where_nobody_waits() {
    let place = Place::on(PostgresSettings::default().config("log_statement", "all"));
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    assert!(place.try_hold(&b, "x").is_none());
    place.wait(lease.release()).unwrap();
    let mut ear = place.server.talk();
    ear.say("LISTEN leasehold_0");
    let lease = place.hold(&a, "x");
    place.wait(lease.release()).unwrap();
    let said = ear.say("SELECT pg_notification_queue_usage()");
    assert_eq!(said, "0");
}

#[test]
fn who_does_not_listen_asks_again() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client_of(&format!("{}&listen=off", place.server.url())));
    assert_eq!(b.caveats().len(), 1, "only of fsync: {:?}", b.caveats());
    let (lease, waiter) = (place.hold(&a, "x"), place.stand_in_line(&b, "x"));
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(place.server.sql(listening), "1", "the other one");
    let (_, took) = place.hand_over(lease, waiter);
    assert!(took < 2 * SECOND, "{took:?}");
}

/// On a busy machine it may take long until it is one's turn to change a row. That is not what
/// somebody's open transaction does, which ends by itself never.
#[test]
fn a_row_that_others_change_is_asked_for_again() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    let mut other = place.server.talk();
    let given_up = || place.server.logged("canceling statement due to lock timeout");
    // Where this test is slow, the row has not changed when it is asked for again.
    let told = until(LIMIT / 2, || {
        let before = given_up();
        other.say("BEGIN");
        other.say("UPDATE leasehold SET version = version + 1 WHERE name = 'x'");
        let lock = b.lock("x").wait(Duration::from_millis(20));
        let waiter = place.spawn(async move { lock.acquire().await });
        until(LIMIT, || (given_up() > before).then_some(())).expect("it waits for the row");
        other.say("COMMIT");
        let error = place.wait(waiter).unwrap().unwrap_err();
        (error.kind() == Kind::Timeout).then_some(())
    });
    assert!(told.is_some(), "a row that changes is not kept by a transaction");
    place.wait(lease.release()).unwrap();
}
