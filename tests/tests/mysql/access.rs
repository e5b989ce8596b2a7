//! Who is let in, and by what.

use crate::place::{Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::servers::MysqlSettings;

#[test]
fn encryption_is_what_happens_unless_it_is_turned_off() {
    let place = Place::on(MysqlSettings::default().tls());
    let url = format!("mysql://ann@localhost:{}/jobs", place.server.port());
    let ca = place.server.ca_path().display().to_string();
    place.plain_user("ann");
    place.server.sql("ALTER USER ann@'%' REQUIRE SSL");
    for option in ["ca", "ssl-ca"] {
        let client = place.client_of(&format!("{url}?{option}={ca}&sslmode=VERIFY_IDENTITY"));
        place.hold(&client, option);
    }
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("?ca=FILE"), "{error}");
    let error = place.no_client_of(&place.server.url_as("ann"));
    assert_eq!(error.kind(), Kind::Refused, "not encrypted: {error}");
    let plain = Place::new();
    let url = format!("mysql://rig@localhost:{}/jobs?ca={ca}", plain.server.port());
    let error = plain.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("sslmode=disable"), "{error}");
}

#[test]
fn defaults_of_the_server_change_nothing() {
    let place = Place::new();
    let url = place.plain_user("ann");
    for setting in [
        "tx_isolation = 'SERIALIZABLE'",
        "autocommit = 0",
        "completion_type = 'RELEASE'",
        "sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,SIMULTANEOUS_ASSIGNMENT'",
        "lock_wait_timeout = 1",
        "wait_timeout = 1",
        "sql_safe_updates = 1",
        "sql_select_limit = 1",
        "time_zone = '+05:45'",
        "character_set_client = 'latin1'",
        "tx_read_only = 1",
        "max_join_size = 1",
    ] {
        place.server.sql(&format!("SET GLOBAL {setting}"));
    }
    let (a, b) = (place.client_of(&url), place.client_of(&url));
    let both: Vec<_> = [a.clone(), b]
        .map(|client| {
            place.spawn(async move {
                for _ in 0..50 {
                    let lease = client.lock("contended").acquire().await.unwrap();
                    lease.release().await.unwrap();
                }
            })
        })
        .into();
    both.into_iter().for_each(|one| place.wait(one).unwrap());
    let lease = place.wait(a.lock("é 'x\\").ttl(3 * SECOND).label("ü").acquire()).unwrap();
    // What another session sees has been committed.
    let label = "SET sql_big_selects = 1; \
                 SELECT label FROM jobs.leasehold WHERE owner IS NOT NULL AND name <> ''";
    assert!(place.server.sql(label).ends_with(" ü"));
    place.pass(3 * SECOND / 2);
    place.server.restart();
    assert!(place.try_hold(&place.client(), "é 'x\\").is_none(), "it was forgotten");
    // That the session has ended is seen by asking.
    assert!(until(LIMIT, || place.wait(lease.renew()).ok()).is_some());
}

#[test]
fn a_server_that_cannot_be_written_to_says_so() {
    let place = Place::new();
    let url = place.plain_user("ann");
    let client = place.client_of(&url);
    place.server.sql("SET GLOBAL read_only = 1");
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("read_only"), "{error}");
    let error = place.wait(client.lock("x").try_acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    place.server.sql("SET GLOBAL read_only = 0");
    let again = || place.wait(client.lock("x").try_acquire()).ok().flatten();
    assert!(until(LIMIT, again).is_some());
}

#[test]
fn a_transaction_that_the_server_begins_for_a_session_is_ended() {
    let place = Place::new();
    let url = place.plain_user("ann");
    place.server.sql("SET GLOBAL init_connect = 'BEGIN'");
    let lease = place.hold(&place.client_of(&url), "x");
    assert!(!place.column("x", "owner").is_empty(), "it is not committed");
    assert!(place.try_hold(&place.client(), "x").is_none());
    place.wait(lease.release()).unwrap();
}
