//! Who is let in, and by what.

use crate::place::{Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{now, pause};
use leasehold_tests::servers::PostgresSettings;

#[test]
fn a_user_needs_the_right_password() {
    let settings = PostgresSettings::default().host("host all ann 127.0.0.1/32 scram-sha-256");
    let place = Place::on(settings);
    place.plain_user("ann");
    place.server.sql("ALTER ROLE ann PASSWORD 'p@ss:/'");
    let client = place.client_of(&place.server.url_as("ann:p%40ss%3A%2F"));
    place.hold(&client, "x");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "p@ss:/\n").unwrap();
    let url = format!("{}&password_file={}", place.server.url_as("ann"), file.display());
    place.hold(&place.client_of(&url), "y");
    for (user, word) in [("ann:wrong", "does not accept"), ("ann", "password_file")] {
        let error = place.no_client_of(&place.server.url_as(user));
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    let error = place.no_client_of(&place.server.url().replace("/postgres", "/nothing"));
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("no such database"), "{error}");
}

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
fn a_unix_socket_is_an_address_too() {
    let place = Place::new();
    // Its name has the port in it.
    let host = format!("{}:{}", place.server.socket_dir().display(), place.server.port());
    let client = place.client_of(&format!("postgres:///postgres?user=rig&host={host}"));
    place.hold(&client, "x");
    assert!(client.backend().contains("s.PGSQL"), "{}", client.backend());
}

#[test]
fn who_may_not_make_the_table_is_told_how_it_is_made() {
    let place = Place::new();
    place.server.sql("CREATE ROLE ann LOGIN");
    let url = place.server.url_as("ann");
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    let said = error.to_string();
    assert!(said.contains("may not make it") && said.contains("table=schema.name"), "{said}");
    // It can be run as it is.
    let ddl = &said[said.find("CREATE TABLE").unwrap()..=said.rfind(";\n").unwrap()];
    place.server.sql(ddl);
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    place.server.sql("GRANT SELECT, INSERT, UPDATE ON leasehold TO ann");
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("GRANT SELECT, INSERT, UPDATE, DELETE"), "{error}");
    place.server.sql("GRANT DELETE ON leasehold TO ann");
    place.hold(&place.client_of(&url), "x");
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

#[test]
fn what_is_no_postgresql_is_unavailable_and_says_so() {
    let place = Place::new();
    let dead = place.no_client_of("postgres://ann@127.0.0.1:1/db?sslmode=disable");
    assert_eq!(dead.kind(), Kind::Unavailable, "{dead}");
    assert!(dead.to_string().contains("127.0.0.1:1"), "{dead}");
    let redis = leasehold_tests::servers::Settings::default().start();
    let port = redis.port();
    for options in ["sslmode=disable", "connect_timeout=300ms"] {
        let url = format!("postgres://ann@127.0.0.1:{port}/db?{options}");
        let wrong = place.no_client_of(&url);
        let kind = wrong.kind();
        assert!(matches!(kind, Kind::Unavailable | Kind::Refused), "{wrong}");
    }
}

#[test]
fn how_long_the_server_is_waited_for_is_set_in_the_url() {
    let place = Place::new();
    let url = place.server.url();
    let client = place.client_of(&format!("{url}&response_timeout=300ms"));
    assert!(place.try_hold(&client, "x").is_some());
    place.server.freeze();
    let asked = now();
    let error = place.wait(client.lock("y").ttl(60 * SECOND).try_acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("_timeout"), "{error}");
    assert!(asked.elapsed() < 8 * SECOND, "{:?}", asked.elapsed());
    let asked = now();
    let error = place.no_client_of(&format!("{url}&connect_timeout=300ms"));
    assert!(error.to_string().contains("connect_timeout"), "{error}");
    assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
    place.server.thaw();
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

#[test]
fn a_client_uses_two_sessions() {
    let place = Place::new();
    let client = place.client_of(&format!("{}&application_name=jobs", place.server.url()));
    let leases: Vec<_> = (0..20).map(|number| place.hold(&client, &number.to_string())).collect();
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'jobs'";
    assert_eq!(place.server.sql(sessions), "2");
    drop(leases);
    place.wait(client.close());
    let ended = leasehold_tests::patience::until(leasehold_tests::patience::LIMIT, || {
        (place.server.sql(sessions) == "0").then_some(())
    });
    assert!(ended.is_some());
}
