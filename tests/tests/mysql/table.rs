//! What is in the table, and what it costs to write it.

use crate::place::{Place, SECOND};
use leasehold::Kind;

#[test]
fn a_table_has_the_name_that_the_url_says_and_tells_what_it_is() {
    let place = Place::new();
    place.server.sql("CREATE DATABASE `my jobs`");
    let url = format!("{}&table=my jobs.Lo`cks", place.server.url());
    let client = place.client_of(&url);
    let _lease = place.hold(&client, "x");
    let holders = "SELECT COUNT(*) FROM `my jobs`.`Lo``cks` WHERE owner IS NOT NULL";
    assert_eq!(place.server.sql(holders), "1");
    let said = "SELECT table_comment FROM information_schema.tables \
                WHERE table_schema = 'my jobs'";
    assert!(place.server.sql(said).contains("Leasehold"));
    // Another table has other locks.
    assert!(place.try_hold(&place.client(), "x").is_some());
}

#[test]
fn a_table_that_innodb_does_not_keep_is_refused() {
    let place = Place::new();
    let kept = "CREATE TABLE leasehold (name VARBINARY(1024) PRIMARY KEY) ENGINE = Aria";
    place.server.sql(kept);
    let error = place.no_client_of(&place.server.url());
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("InnoDB"), "{error}");
}

/// How often the server has done this.
fn counted(place: &Place, what: &str) -> u64 {
    let said = place.server.sql(&format!("SHOW GLOBAL STATUS LIKE '{what}'"));
    said.split('\t').nth(1).and_then(|count| count.parse().ok()).unwrap()
}

#[test]
fn a_pair_is_two_updates_of_one_row() {
    let place = Place::new();
    let client = place.client();
    let pair = || {
        let lease = place.hold(&client, "x");
        place.wait(lease.release()).unwrap();
    };
    pair();
    let (updates, rows) = (counted(&place, "Com_update"), counted(&place, "Handler_update"));
    (0..100).for_each(|_| pair());
    let updates = counted(&place, "Com_update") - updates;
    let written = counted(&place, "Handler_update") - rows;
    assert!(updates == 200 && written == 200, "{updates} updates, {written} rows");
}

#[test]
fn leases_are_renewed_together() {
    let place = Place::new();
    let client = place.client();
    let lock = |number: u32| client.lock(format!("x{number}")).ttl(6 * SECOND);
    let alone: Vec<_> = (0..300).map(|n| place.wait(lock(n).acquire()).unwrap()).collect();
    let before = counted(&place, "Com_update");
    place.pass(6 * SECOND);
    let renewals = counted(&place, "Com_update") - before;
    assert!((2..=9).contains(&renewals), "{renewals} renewals");
    assert!(alone.iter().all(leasehold::Lease::is_valid));
}

#[test]
fn a_table_in_which_a_lock_may_have_two_rows_is_refused() {
    let place = Place::new();
    place.client();
    for key in ["DROP PRIMARY KEY", "ADD PRIMARY KEY (name(10))"] {
        place.server.sql(&format!("ALTER TABLE leasehold {key}"));
        let error = place.no_client_of(&place.server.url());
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains("ADD PRIMARY KEY (name)"), "{error}");
    }
}
