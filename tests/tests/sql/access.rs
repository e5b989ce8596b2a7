//! Who is let in, and by what.

use crate::dialect::{self, SCHEME};
use crate::place::{Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, now, until};

#[test]
fn a_user_needs_the_right_password() {
    let place = Place::on(dialect::asks_ann_for_a_password());
    place.plain_user("ann");
    place.server.sql(&dialect::set_password("ann", "p@ss:/"));
    let client = place.client_of(&place.server.url_as("ann:p%40ss%3A%2F"));
    place.hold(&client, "x");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "p@ss:/\n").unwrap();
    let url = format!("{}&password_file={}", place.server.url_as("ann"), file.display());
    place.hold(&place.client_of(&url), "y");
    for (user, word) in [("ann:wrong", "does not accept"), ("ann", dialect::NO_PASSWORD)] {
        let error = place.no_client_of(&place.server.url_as(user));
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    let (there, nothing) = (format!("/{}?", dialect::DATABASE), "/nothing?");
    let error = place.no_client_of(&place.server.url().replace(&there, nothing));
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("no such database"), "{error}");
}

#[test]
fn a_unix_socket_is_an_address_too() {
    let place = Place::new();
    let (url, word) = dialect::socket_url(&place.server);
    let client = place.client_of(&url);
    place.hold(&client, "x");
    assert!(client.backend().contains(word), "{}", client.backend());
}

#[test]
fn who_may_not_make_the_table_is_told_how_it_is_made() {
    let place = Place::new();
    place.server.sql(&dialect::make_user("ann"));
    place.server.sql(&dialect::let_look("ann"));
    let url = place.server.url_as("ann");
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    let said = error.to_string();
    assert!(said.contains("may not make it") && said.contains(dialect::TABLE), "{said}");
    // It can be run as it is.
    let ddl = &said[said.find("CREATE TABLE").unwrap()..=said.rfind(";\n").unwrap()];
    place.server.sql(ddl);
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    place.server.sql(&dialect::grant("SELECT, INSERT, UPDATE", "ann"));
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("GRANT SELECT, INSERT, UPDATE, DELETE"), "{error}");
    place.server.sql(&dialect::grant("DELETE", "ann"));
    place.hold(&place.client_of(&url), "x");
}

#[test]
fn a_server_of_another_kind_is_unavailable_and_says_so() {
    let place = Place::new();
    let dead = place.no_client_of(&format!("{SCHEME}://ann@127.0.0.1:1/db?sslmode=disable"));
    assert_eq!(dead.kind(), Kind::Unavailable, "{dead}");
    assert!(dead.to_string().contains("127.0.0.1:1"), "{dead}");
    let redis = leasehold_tests::servers::Settings::default().start();
    let port = redis.port();
    for options in [dialect::PLAIN, "connect_timeout=300ms"] {
        let url = format!("{SCHEME}://ann@127.0.0.1:{port}/db?{options}");
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
    let client = place.client_of(&dialect::named_jobs(&place.plain_user("ann")));
    let leases: Vec<_> = (0..20).map(|number| place.hold(&client, &number.to_string())).collect();
    let sessions = || place.server.sql(dialect::SESSIONS_OF_ANN);
    assert_eq!(sessions(), "2");
    drop(leases);
    place.wait(client.close());
    assert!(until(LIMIT, || (sessions() == "0").then_some(())).is_some());
}
