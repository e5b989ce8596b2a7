//! What is in the table, and who trusts it.

use crate::dialect;
use crate::place::{LONG, Place, SECOND};
use leasehold::{Kind, Loss};
use leasehold_tests::patience::{LIMIT, now, until};

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
    place.end_sessions();
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
    if dialect::CHANGES_KNOW_THE_TABLE {
        assert_eq!(place.column("x", "fence"), lease.fence().to_string(), "it was handed over");
    } else {
        assert!(place.try_hold(&place.client(), "x").is_some(), "nobody has it");
    }
}

#[test]
fn a_busy_claim_writes_nothing() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    place.hold(&b, "y");
    let written = || place.server.sql(dialect::WRITTEN);
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
fn shared_leases_are_renewed() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let held: Vec<_> = (0..40)
        .map(|number| {
            let client = if number % 2 == 0 { &a } else { &b };
            let lock = client.lock(format!("x{}", number / 4)).ttl(2 * SECOND);
            place.wait(lock.shared().acquire()).unwrap()
        })
        .collect();
    place.pass(5 * SECOND);
    assert!(held.iter().all(leasehold::Lease::is_valid));
    held.into_iter().for_each(|lease| place.wait(lease.release()).unwrap());
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
    assert!(place.is("held", "owner IS NOT NULL"), "it is held");
    place.wait(held.renew()).unwrap();
}

/// Have a client look for old rows, up to that of this name, which is as old as others that are
/// dropped.
fn drop_old_rows_up_to(place: &Place, name: &str) {
    let first = place.hold(&place.client(), "a");
    place.wait(first.release()).unwrap();
    let names = format!("name IN ('a', '{name}')");
    place.server.sql(&format!("UPDATE leasehold SET fence = 1 WHERE {names}"));
    let dropped = until(LIMIT, || {
        place.client();
        place.column("a", "fence").is_empty().then_some(())
    });
    assert!(dropped.is_some());
}

#[test]
fn what_was_sent_before_a_withdraw_and_comes_late_changes_nothing() {
    let place = Place::new();
    let client = place.client();
    let holder = place.hold(&place.client(), "x");
    // A second session of its requests.
    place.end_sessions();
    let waits = client.lock("x").ttl(LONG).wait(SECOND);
    assert_eq!(place.wait(waits.acquire()).unwrap_err().kind(), Kind::Timeout);
    let careful = || place.is("x", dialect::IS_CAREFUL).then_some(());
    assert!(until(LIMIT, careful).is_some(), "nothing keeps out what comes late");
    // The holder's session has ended, too. That may be seen only when it was silent for a while.
    place.pass(2 * SECOND);
    place.wait(holder.release()).unwrap();
    drop_old_rows_up_to(&place, "x");
    assert!(place.is("x", dialect::IS_CAREFUL), "the row is dropped");
    // The statement that takes a free lock, as it would come from the session before.
    dialect::claim(&place.server);
    assert!(place.is("x", "owner IS NULL"));
    // And who comes now is not kept out.
    let lease = place.hold(&client, "x");
    assert!(lease.fence() > holder.fence());
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
    place.server.sql(&format!(
        "INSERT INTO leasehold (name, version, fence, owner, expires) \
         VALUES ('bad', 1, 1, 'somebody', {})",
        dialect::LATER
    ));
    let names: Vec<_> =
        place.wait(client.list()).unwrap().into_iter().map(|lock| lock.name.to_string()).collect();
    assert_eq!(names, ["x"]);
    let error = place.wait(client.lock("bad").try_acquire()).unwrap_err();
    assert!(error.to_string().contains("has somebody else written to it"), "{error}");
}

#[test]
fn old_rows_are_dropped_however_many_younger_ones_sort_first() {
    let place = Place::new();
    let lease = place.hold(&place.client(), "x");
    let fence = lease.fence();
    place.server.sql(&format!(
        "INSERT INTO leasehold (name, version, fence) \
         SELECT CONCAT('aa', number), 1, {fence} FROM {}",
        dialect::NUMBERS
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
