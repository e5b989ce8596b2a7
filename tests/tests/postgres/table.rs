//! What is in the table, and what it costs to write it.

use crate::place::{LONG, Place, SECOND};
use leasehold::{Kind, Loss};
use leasehold_tests::patience::{LIMIT, now, until};
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
fn many_who_come_first_make_one_table() {
    let place = Place::new();
    let url = place.server.url();
    let all: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            place.spawn(async move { leasehold::connect(&url).await })
        })
        .collect();
    let all: Vec<_> = all.into_iter().map(|one| place.wait(one).unwrap().unwrap()).collect();
    let _lease = place.hold(&all[0], "x");
    assert!(all[1..].iter().all(|other| place.try_hold(other, "x").is_none()));
}

#[test]
fn a_table_of_another_kind_or_a_newer_version_is_refused() {
    let place = Place::new();
    place.client();
    place.server.sql("UPDATE leasehold SET version = 2 WHERE name = ''");
    let error = place.no_client_of(&place.server.url());
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("layout 2"), "{error}");
    place.server.sql("CREATE TABLE theirs (id int)");
    let error = place.no_client_of(&format!("{}&table=theirs", place.server.url()));
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("not one of Leasehold"), "{error}");
}

#[test]
fn a_table_that_is_made_anew_is_not_trusted() {
    let place = Place::new();
    let client = place.client();
    let lease = place.hold(&client, "x");
    place.server.sql("DROP TABLE leasehold");
    place.client();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name = 'leasehold'";
    place.server.sql(end);
    let error = until(LIMIT, || match place.wait(client.lock("y").try_acquire()) {
        Err(error) if error.kind() == Kind::Unavailable => None,
        answer => Some(answer.unwrap_err()),
    });
    let error = error.unwrap();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("made anew"), "{error}");
    drop(lease);
}

#[test]
fn a_table_that_is_made_anew_under_open_sessions_is_not_trusted() {
    let place = Place::new();
    let client = place.client();
    let (held, shared) = (place.hold(&client, "x"), client.lock("s").shared().ttl(LONG));
    let shared = place.wait(shared.acquire()).unwrap();
    place.server.sql("DROP TABLE leasehold");
    let other = place.client();
    let theirs = place.hold(&other, "x");
    for name in ["y", "z"] {
        let locks = [client.lock(name), client.lock(name).shared(), client.lock(name).permits(2)];
        for lock in locks {
            let error = place.wait(lock.ttl(LONG).try_acquire()).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{error}");
            assert!(error.to_string().contains("made anew"), "{error}");
        }
    }
    assert_eq!(place.column("y", "owner"), "", "it was taken");
    // What was held is lost as soon as that is known, and not when it is to be renewed.
    let known = now();
    for lease in [held, shared] {
        assert_eq!(place.wait(lease.lost()), Loss::Gone);
    }
    assert!(known.elapsed() < 5 * SECOND, "{:?}", known.elapsed());
    place.wait(theirs.renew()).unwrap();
}

#[test]
fn a_lock_is_not_handed_over_in_a_table_that_is_made_anew() {
    let place = Place::new();
    let client = place.client();
    let lease = place.hold(&client, "x");
    place.server.sql("CREATE TABLE kept AS SELECT * FROM leasehold WHERE name = 'x'");
    let waiter = place.queue(client.lock("x").ttl(LONG).wait(2 * SECOND));
    place.pass(SECOND / 2);
    place.server.sql("DROP TABLE leasehold");
    place.client();
    // The same row, as it may be in a table of another life.
    place.server.sql("INSERT INTO leasehold SELECT * FROM kept");
    drop(place.wait(lease.release()));
    assert!(place.wait(waiter).unwrap().is_err());
    assert_eq!(place.column("x", "fence"), lease.fence().to_string(), "it was handed over");
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
fn a_busy_claim_writes_nothing() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    place.hold(&b, "y");
    let written = || place.server.sql("SELECT pg_current_wal_insert_lsn()");
    // The server itself writes now and then.
    let quiet = until(LIMIT, || {
        let before = written();
        for _ in 0..50 {
            assert!(place.try_hold(&b, "x").is_none());
        }
        (written() == before).then_some(())
    });
    assert!(quiet.is_some());
    assert!(lease.is_valid());
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
fn rows_of_yesterday_are_dropped_and_fences_go_on_rising() {
    let place = Place::new();
    let client = place.client();
    let lease = place.hold(&client, "x");
    place.wait(lease.release()).unwrap();
    let held = place.hold(&client, "held");
    // As if the clock had been two days ahead then, and were put back.
    let ahead = lease.fence() + 2 * 86_400_000_000;
    place.server.sql(&format!("UPDATE leasehold SET fence = {ahead} WHERE name = 'x'"));
    place.client();
    place.pass(SECOND / 2);
    assert_eq!(place.column("x", "fence"), ahead.to_string(), "it is not old");
    let yesterday = lease.fence() - 90_000_000_000;
    place.server.sql(&format!("UPDATE leasehold SET fence = {yesterday} WHERE name <> ''"));
    let dropped = until(LIMIT, || {
        place.client();
        place.column("x", "fence").is_empty().then_some(())
    });
    assert!(dropped.is_some());
    assert_eq!(place.column("", "fence"), yesterday.to_string(), "it is not remembered");
    let ahead = lease.fence() + 5 * 86_400_000_000;
    place.server.sql(&format!("UPDATE leasehold SET fence = {ahead} WHERE name = ''"));
    assert!(place.hold(&client, "x").fence() > ahead);
    assert!(!place.column("held", "owner").is_empty(), "it is held");
    place.wait(held.renew()).unwrap();
}

#[test]
fn what_was_sent_before_a_withdraw_and_comes_late_changes_nothing() {
    let place = Place::new();
    let client = place.client();
    let holder = place.hold(&place.client(), "x");
    // A second session of its requests.
    place.server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'leasehold'",
    );
    let waits = client.lock("x").ttl(LONG).wait(SECOND);
    assert_eq!(place.wait(waits.acquire()).unwrap_err().kind(), Kind::Timeout);
    let careful = || (place.column("x", "careful > clock_timestamp()") == "t").then_some(());
    assert!(until(LIMIT, careful).is_some(), "nothing keeps out what comes late");
    place.wait(holder.release()).unwrap();
    // The statement that takes a free lock, as it would come from the session before.
    let claim = statement(include_str!("../../../core/src/backend/postgres/sql/claim.sql"));
    let id = place.column("", "label");
    place.server.sql(&format!(
        "PREPARE claim (text, text, bigint, bigint, text, text) AS {claim}; \
         EXECUTE claim ('x', '0000000000000000000000000000beef', 60000000, 0, '', '{id}')"
    ));
    assert_eq!(place.column("x", "owner"), "");
    // And who comes now is not kept out.
    let lease = place.hold(&client, "x");
    assert!(lease.fence() > holder.fence());
}

/// As it is said to the usual table.
fn statement(sql: &str) -> String {
    sql.replace("$table", "leasehold")
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
fn a_table_without_the_row_about_itself_is_told_as_what_it_is() {
    let place = Place::new();
    let client = place.client();
    let lease = place.hold(&client, "x");
    place.server.sql("DELETE FROM leasehold WHERE name = ''");
    for lock in [client.lock("y"), client.lock("y").shared()] {
        let error = place.wait(lock.ttl(LONG).try_acquire()).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains("no row without a name"), "{error}");
    }
    place.server.sql("TRUNCATE TABLE leasehold");
    drop(place.wait(client.lock("y").try_acquire()).unwrap_err());
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
}

#[test]
fn a_row_that_cannot_be_read_hides_no_other() {
    let place = Place::new();
    let client = place.client();
    let _lease = place.hold(&client, "x");
    place.server.sql(
        "INSERT INTO leasehold (name, version, fence, owner, expires) VALUES ('bad', 1, 1, 'somebody', clock_timestamp() + interval '1 minute')",
    );
    let names: Vec<_> =
        place.wait(client.list()).unwrap().into_iter().map(|lock| lock.name.to_string()).collect();
    assert_eq!(names, ["x"]);
    let error = place.wait(client.lock("bad").try_acquire()).unwrap_err();
    assert!(error.to_string().contains("has somebody else written to it"), "{error}");
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

#[test]
fn old_rows_are_dropped_however_many_younger_ones_sort_first() {
    let place = Place::new();
    let lease = place.hold(&place.client(), "x");
    let fence = lease.fence();
    place.server.sql(&format!(
        "INSERT INTO leasehold (name, version, fence) \
         SELECT 'aa' || number, 1, {fence} FROM generate_series(1, 3000) AS number"
    ));
    let yesterday = fence - 90_000_000_000;
    place.server.sql(&format!(
        "INSERT INTO leasehold (name, version, fence) \
         VALUES ('zy', 1, {yesterday}), ('zz', 1, {yesterday})"
    ));
    // One that cannot be read is in nobody's way.
    place
        .server
        .sql("INSERT INTO leasehold (name, version, fence, line) VALUES ('y', 1, 1, '[7]')");
    let left = "SELECT COUNT(*) FROM leasehold WHERE name LIKE 'z%'";
    let dropped = until(LIMIT, || {
        place.client();
        (place.server.sql(left) == "0").then_some(())
    });
    assert!(dropped.is_some());
    assert!(place.column("aa5", "fence") == fence.to_string(), "it is not old");
}
