//! What is in the table, and what it costs to write it.

use crate::dialect::{self, LATE};
use crate::place::{Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::servers::PostgresSettings;

#[test]
fn a_table_has_the_name_that_the_url_says_and_tells_what_it_is() {
    let place = Place::new();
    place.server.sql("CREATE SCHEMA \"my jobs\"");
    let url = format!("{}&table=my jobs.Lo\"cks", place.server.url());
    let client = place.client_of(&url);
    let _lease = place.hold(&client, "x");
    let holders = "SELECT count(*) FROM \"my jobs\".\"Lo\"\"cks\" WHERE owner IS NOT NULL";
    assert_eq!(place.server.sql(holders), "1");
    let said = "SELECT obj_description('\"my jobs\".\"Lo\"\"cks\"'::regclass)";
    assert!(place.server.sql(said).contains("Leasehold"));
    // Another table has other locks.
    assert!(place.try_hold(&place.client(), "x").is_some());
}

#[test]
fn a_database_that_cannot_store_every_name_is_refused() {
    let place = Place::new();
    place.server.sql("CREATE DATABASE old TEMPLATE template0 ENCODING 'LATIN1'");
    let error = place.no_client_of(&place.server.url().replace("/postgres?", "/old?"));
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("UTF8"), "{error}");
}

#[test]
fn a_pair_is_two_statements_and_its_updates_leave_the_index_alone() {
    let place = Place::on(PostgresSettings::default().config("log_statement", "all"));
    place.client();
    // It is known to be small, as it is not for ever.
    place.server.sql("ANALYZE leasehold");
    let client = place.client();
    let pair = || {
        let lease = place.hold(&client, "x");
        place.wait(lease.release()).unwrap();
    };
    pair();
    let statements = || {
        let log = place.server.log();
        let count = |what: &str| log.matches(what).count();
        [
            count("Take a lock for one holder"),
            count("Give back what is held"),
            count("LOG:  execute"),
        ]
    };
    let before = statements();
    (0..1000).for_each(|_| pair());
    let after = statements();
    let did: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    // Now and then it looks for old rows.
    assert!(did[0] == 1000 && did[1] == 1000 && did[2] <= 2010, "{did:?}");
    let hot = "SELECT n_tup_upd, n_tup_hot_upd, seq_scan FROM pg_stat_user_tables \
               WHERE relname = 'leasehold'";
    let share = || {
        let said = place.server.sql(hot);
        let counts: Vec<f64> = said.split('|').filter_map(|count| count.parse().ok()).collect();
        (counts[0] >= 1990.0).then(|| (counts[1] / counts[0], counts[2]))
    };
    let (share, searched) = until(LIMIT, share).unwrap();
    assert!(share >= 0.99, "{share}");
    assert!(searched < 10.0, "the whole table was read {searched} times");
    let size = place.server.sql("SELECT pg_relation_size('leasehold')");
    assert!(size.parse::<u64>().unwrap() <= 65_536, "{size}");
}

#[test]
fn the_shorter_claim_takes_nothing_that_is_not_free() {
    let place = Place::new();
    let client = place.client();
    let change = |to: &str| place.server.sql(&format!("UPDATE leasehold SET {to}"));
    let is_taken = |why: &str| {
        let said = dialect::take(&place.server);
        assert_eq!(said.is_empty(), !said.contains(LATE), "{said}");
        assert_eq!(place.is("x", &format!("owner = '{LATE}'")), !said.is_empty(), "{why}");
        !said.is_empty()
    };
    assert!(!is_taken("it has no row"));
    let lease = place.hold(&client, "x");
    assert!(!is_taken("it is held"));
    place.wait(lease.release()).unwrap();
    change("careful = now() + interval '1 hour' WHERE name = 'x'");
    assert!(!is_taken("what is late changes nothing"));
    change("careful = now() - interval '1 s' WHERE name = 'x'");
    change("line = '[{\"owner\": \"0000000000000000000000000000face\"}]' WHERE name = 'x'");
    assert!(!is_taken("somebody else stands first"));
    change("line = NULL, sharers = '[]' WHERE name = 'x'");
    assert!(!is_taken("it is shared"));
    change("sharers = NULL WHERE name = 'x'");
    let mut work = place.server.talk();
    work.say("BEGIN; SELECT FROM leasehold WHERE name = 'x' FOR KEY SHARE");
    assert!(!is_taken("somebody guards it"));
    work.say("COMMIT");
    let id = place.column("", "label");
    change("label = 'another' WHERE name = ''");
    // The statement is given the id that is there; a session has the one that it has seen.
    let error = place.wait(client.lock("x").try_acquire()).unwrap_err();
    assert!(error.to_string().contains("made anew"), "{error}");
    change(&format!("label = '{id}' WHERE name = ''"));
    assert!(is_taken("it is free"));
    assert!(is_taken("it is its own"));
}

#[test]
fn leases_are_renewed_together() {
    let place = Place::on(PostgresSettings::default().config("log_statement", "all"));
    let client = place.client();
    let lock = |number: u32| client.lock(format!("x{number}")).ttl(6 * SECOND);
    let alone: Vec<_> = (0..300).map(|n| place.wait(lock(n).acquire()).unwrap()).collect();
    let shared: Vec<_> =
        (300..400).map(|n| place.wait(lock(n).shared().acquire()).unwrap()).collect();
    let before = place.server.logged("Restart the ttls of what is held alone");
    let before_shared = place.server.logged("Restart the ttls of those who share");
    place.pass(6 * SECOND);
    let renewals = place.server.logged("Restart the ttls of what is held alone") - before;
    let of_shared = place.server.logged("Restart the ttls of those who share") - before_shared;
    assert!((2..=9).contains(&renewals), "{renewals} renewals");
    assert!((2..=9).contains(&of_shared), "{of_shared} renewals");
    assert!(alone.iter().chain(&shared).all(leasehold::Lease::is_valid));
}

#[test]
fn a_table_in_which_a_lock_may_have_two_rows_is_refused() {
    let place = Place::new();
    let client = place.client();
    place.server.sql("ALTER TABLE leasehold DROP CONSTRAINT leasehold_pkey");
    let error = place.wait(client.lock("x").try_acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("ADD PRIMARY KEY (name)"), "{error}");
}

#[test]
fn a_table_that_a_crash_empties_is_told() {
    let place = Place::new();
    assert_eq!(place.client().caveats().len(), 1, "only of fsync");
    place.server.sql("ALTER TABLE leasehold SET UNLOGGED");
    let caveats = place.client().caveats();
    assert!(caveats.iter().any(|caveat| caveat.contains("UNLOGGED")), "{caveats:?}");
}

#[test]
fn a_schema_that_is_not_there_is_refused() {
    let place = Place::new();
    let error = place.no_client_of(&format!("{}&table=nowhere.x", place.server.url()));
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("schema"), "{error}");
}
