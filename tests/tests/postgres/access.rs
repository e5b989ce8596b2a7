//! Who is let in, and by what.

use crate::place::{Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::pause;
use leasehold_tests::servers::PostgresSettings;

#[test]
fn encryption_is_what_happens_unless_it_is_turned_off() {
    let place = Place::on(PostgresSettings::default().tls());
    let url = format!("postgres://rig@localhost:{}/postgres", place.server.port());
    let ca = place.server.ca_path().display().to_string();
    for option in ["ca", "sslrootcert"] {
        let client = place.client_of(&format!("{url}?{option}={ca}&sslmode=verify-full"));
        place.hold(&client, option);
        let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                         WHERE application_name = 'leasehold'";
        assert_eq!(place.server.sql(encrypted), "t");
    }
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("?ca=FILE"), "{error}");
    let by_number = format!("{}?ca={ca}", url.replace("localhost", "127.0.0.2"));
    let error = place.no_client_of(&by_number);
    assert_eq!(error.kind(), Kind::Unavailable, "nobody listens there: {error}");
    let plain = Place::new();
    let url = format!("postgres://rig@localhost:{}/postgres?ca={ca}", plain.server.port());
    let error = plain.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("sslmode=disable"), "{error}");
}

#[test]
fn defaults_of_the_user_change_nothing() {
    // What is not committed to the disk stays in memory for a while, and is lost with it.
    let place = Place::on(PostgresSettings::default().config("wal_writer_delay", "10s"));
    let url = place.plain_user("ann");
    for setting in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "idle_session_timeout = '100ms'",
        "synchronous_commit = off",
        "search_path = 'nowhere'",
        "standard_conforming_strings = off",
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'German, DMY'",
    ] {
        place.server.sql(&format!("ALTER ROLE ann SET {setting}"));
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
    place.pass(SECOND / 5);
    let lease = place.hold(&a, "x");
    place.server.restart();
    let client = place.client();
    assert!(place.try_hold(&client, "x").is_none(), "it was forgotten");
    place.wait(lease.renew()).unwrap();
}

#[test]
fn a_server_that_cannot_be_written_to_says_so() {
    let place = Place::new();
    let url = place.plain_user("ann");
    place.server.sql("ALTER ROLE ann SET default_transaction_read_only = on");
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("default_transaction_read_only"), "{error}");
}

/// The release is asked first, so its time is over first, and it ends the session of both.
#[test]
fn who_asks_while_a_session_ends_is_told_why_it_ended() {
    let place = Place::new();
    let url = place.server.url();
    let client = place.client_of(&format!("{url}&response_timeout=600ms&connect_timeout=300ms"));
    let lease = place.hold(&client, "x");
    let lock = client.lock("y").ttl(60 * SECOND);
    place.server.freeze();
    drop(lease);
    pause(SECOND / 5);
    let error = place.wait(lock.try_acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("_timeout"), "{error}");
    place.server.thaw();
}
