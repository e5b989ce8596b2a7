//! What a lease is in the table: its row, its name, its end.

use crate::dialect;
use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::{Kind, Loss};
use leasehold_tests::handing::hand_over_a_dead_body;
use leasehold_tests::patience::{LIMIT, now, until};

#[test]
fn a_row_tells_who_holds_who_waits_and_until_when() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.wait(a.lock("invoices/42").ttl(LONG).label("charging").acquire()).unwrap();
    let waiter = place.stand_in_line(&b, "invoices/42");
    assert!(place.column("invoices/42", "label").ends_with(" charging"));
    assert_eq!(place.column("invoices/42", "fence"), lease.fence().to_string());
    assert!(place.is("invoices/42", &format!("{} BETWEEN 50 AND 60", dialect::SECONDS_LEFT)));
    assert_eq!(place.column("invoices/42", &dialect::length("line")), "1");
    let (next, _) = place.hand_over(lease, waiter);
    place.wait(next.release()).unwrap();
    assert!(place.is("invoices/42", "owner IS NULL AND line IS NULL"));
    assert_eq!(place.column("invoices/42", "fence"), next.fence().to_string());
}

#[test]
fn names_are_told_apart_by_their_bytes() {
    let place = Place::new();
    let client = place.client();
    let longest = "é".repeat(512);
    let leases: Vec<_> = ["a", "A", "a ", "á", "a\u{301}", "a%", "a_", "ß", "ss", &longest]
        .map(|name| place.hold(&client, name))
        .into();
    assert!(leases.iter().all(leasehold::Lease::is_valid));
}

#[test]
fn a_lease_that_is_broken_is_lost_in_time() {
    let place = Place::new();
    // Where nobody is told, it is seen at the next renewal.
    let (ttl, within) = if dialect::TELLS { (LONG, PROMPT) } else { (3 * SECOND, 3 * SECOND / 2) };
    let lease = place.wait(place.client().lock("x").ttl(ttl).acquire()).unwrap();
    let broken = now();
    assert!(place.wait(place.client().break_lock("x")).unwrap());
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
    assert!(broken.elapsed() < within, "{:?}", broken.elapsed());
}

#[test]
fn a_row_that_is_deleted_is_a_lost_lease() {
    let place = Place::new();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(3 * SECOND).acquire()).unwrap();
    place.server.sql("DELETE FROM leasehold WHERE name = 'x'");
    let deleted = now();
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
    assert!(deleted.elapsed() < 3 * SECOND / 2, "{:?}", deleted.elapsed());
    assert!(place.hold(&client, "x").fence() > lease.fence());
}

#[test]
fn a_ticket_outlives_the_process_that_gave_it() {
    let place = Place::new();
    let url = place.server.url();
    hand_over_a_dead_body(env!("CARGO_BIN_EXE_worker"), &url, &url);
}

#[test]
fn a_table_that_somebody_locks_is_unavailable_and_held_leases_are_lost_in_time() {
    let place = Place::new();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(3 * SECOND).acquire()).unwrap();
    let mut rude = place.server.talk();
    rude.say(dialect::LOCK_TABLE);
    let locked = now();
    let error = place.wait(client.lock("y").try_acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(place.wait(lease.lost()), Loss::Expired);
    assert!(locked.elapsed() < 3 * SECOND + LONG / 4, "{:?}", locked.elapsed());
    rude.say(dialect::UNLOCK_TABLE);
    let again = || place.wait(client.lock("y").try_acquire()).ok().flatten();
    assert!(until(LIMIT, again).is_some());
}

#[test]
fn a_leader_proclaims_another_value_and_a_former_one_cannot() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let shown = |client: &leasehold::Client| {
        place.wait(client.election("x").leader()).unwrap().map(|leader| leader.value)
    };
    let term = place.wait(client.election("x").value("a").ttl(LONG).campaign()).unwrap();
    for value in ["after", "", " a  b ", "ready"] {
        place.wait(term.proclaim(value)).unwrap();
        assert_eq!(shown(&other).as_deref(), Some(value));
    }
    assert!(place.wait(other.break_lock("x")).unwrap());
    let next = place.wait(other.election("x").value("b").ttl(LONG).campaign()).unwrap();
    assert_eq!(place.wait(term.proclaim("c")).unwrap_err().kind(), Kind::Lost);
    assert_eq!(shown(&client).as_deref(), Some("b"));
    place.wait(next.resign()).unwrap();
    assert_eq!(shown(&client), None);
}

#[test]
fn a_row_that_somebody_locks_ends_no_lease_but_its_own() {
    let place = Place::new();
    let client = place.client();
    let take = |name: &str| place.wait(client.lock(name).ttl(3 * SECOND).acquire()).unwrap();
    let share =
        |name: &str| place.wait(client.lock(name).ttl(3 * SECOND).shared().acquire()).unwrap();
    let (locked, locked_share) = (take("b"), share("d"));
    let others = [take("a"), take("c"), share("e"), share("f")];
    let mut rude = place.server.talk();
    rude.say("BEGIN");
    for name in ["b", "d"] {
        // One by one: it is to lock no other row.
        rude.say(&format!("SELECT version FROM leasehold WHERE name = '{name}' FOR UPDATE"));
    }
    assert_eq!(place.wait(locked.lost()), Loss::Expired);
    assert_eq!(place.wait(locked_share.lost()), Loss::Expired);
    place.pass(2 * SECOND);
    assert!(others.iter().all(leasehold::Lease::is_valid));
    rude.say("ROLLBACK");
    others.iter().for_each(|lease| place.wait(lease.release()).unwrap());
}

#[test]
fn a_share_is_renewed_however_often_others_change_its_row() {
    let place = Place::new();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(2 * SECOND).shared().acquire()).unwrap();
    let other = place.wait(client.lock("x").ttl(LONG).shared().acquire()).unwrap();
    dialect::keep_changing(&place.server);
    assert!(lease.is_valid() && other.is_valid());
    assert_eq!(place.column("x", &dialect::length("sharers")), "2");
    place.wait(lease.release()).unwrap();
    place.wait(other.release()).unwrap();
    assert!(place.is("x", "sharers IS NULL"));
}
