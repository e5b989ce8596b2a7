//! Who is let in, and by what.

use crate::place::{Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::servers::MysqlSettings;

#[test]
fn a_user_needs_the_right_password() {
    let place = Place::new();
    place.plain_user("ann");
    place.server.sql("SET PASSWORD FOR ann@'%' = PASSWORD('p@ss:/')");
    let client = place.client_of(&place.server.url_as("ann:p%40ss%3A%2F"));
    place.hold(&client, "x");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "p@ss:/\n").unwrap();
    let url = format!("{}&password_file={}", place.server.url_as("ann"), file.display());
    place.hold(&place.client_of(&url), "y");
    for user in ["ann:wrong", "ann"] {
        let error = place.no_client_of(&place.server.url_as(user));
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains("does not accept"), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    let error = place.no_client_of(&place.server.url().replace("/jobs", "/nothing"));
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("no such database"), "{error}");
}

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
fn a_unix_socket_is_an_address_too() {
    let place = Place::new();
    let socket = place.server.socket().display().to_string();
    let client = place.client_of(&format!("mariadb://rig@localhost/jobs?socket={socket}"));
    place.hold(&client, "x");
    assert!(client.backend().contains("socket"), "{}", client.backend());
}

#[test]
fn who_may_not_make_the_table_is_told_how_it_is_made() {
    let place = Place::new();
    place.server.sql("CREATE USER ann@'%'; GRANT SELECT ON jobs.* TO ann@'%'");
    let url = place.server.url_as("ann");
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    let said = error.to_string();
    assert!(said.contains("may not make it") && said.contains("table=database.name"), "{said}");
    // It can be run as it is.
    let ddl = &said[said.find("CREATE TABLE").unwrap()..=said.rfind(";\n").unwrap()];
    place.server.sql(ddl);
    place.server.sql("GRANT SELECT, INSERT, UPDATE ON jobs.leasehold TO ann@'%'");
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("GRANT SELECT, INSERT, UPDATE, DELETE"), "{error}");
    place.server.sql("GRANT DELETE ON jobs.leasehold TO ann@'%'");
    place.hold(&place.client_of(&url), "x");
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
fn what_is_no_mysql_is_unavailable_and_says_so() {
    let place = Place::new();
    let dead = place.no_client_of("mysql://ann@127.0.0.1:1/db?sslmode=disable");
    assert_eq!(dead.kind(), Kind::Unavailable, "{dead}");
    assert!(dead.to_string().contains("127.0.0.1:1"), "{dead}");
    let redis = leasehold_tests::servers::Settings::default().start();
    let port = redis.port();
    for options in ["sslmode=disable&connect_timeout=300ms", "connect_timeout=300ms"] {
        let url = format!("mysql://ann@127.0.0.1:{port}/db?{options}");
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

#[test]
fn a_client_uses_two_sessions() {
    let place = Place::new();
    let url = place.plain_user("ann");
    let client = place.client_of(&url);
    let leases: Vec<_> = (0..20).map(|number| place.hold(&client, &number.to_string())).collect();
    let sessions = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'ann'";
    assert_eq!(place.server.sql(sessions), "2");
    drop(leases);
    place.wait(client.close());
    let ended = until(LIMIT, || (place.server.sql(sessions) == "0").then_some(()));
    assert!(ended.is_some());
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
