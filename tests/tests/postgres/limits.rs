//! What a full server does to those who hold a lock.

use crate::place::{Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::servers::PostgresSettings;

#[test]
fn a_server_without_a_connection_left_says_so_and_keeps_those_that_it_has() {
    let settings = PostgresSettings::default().config("max_connections", "11");
    let place = Place::on(settings.config("superuser_reserved_connections", "5"));
    let url = place.plain_user("ann");
    let gone = || {
        (place.server.sql(
            "SELECT count(*) FROM pg_stat_activity \
        WHERE application_name = 'leasehold'",
        ) == "0")
            .then_some(())
    };
    assert!(until(LIMIT, gone).is_some());
    let clients = [(); 3].map(|()| place.client_of(&url));
    let lease = place.wait(clients[0].lock("x").ttl(2 * SECOND).acquire()).unwrap();
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("max_connections"), "{error}");
    place.pass(3 * SECOND);
    assert!(lease.is_valid(), "lost: {:?}", lease.loss());
    place.wait(clients[2].close());
    let connected = until(LIMIT, || place.wait(leasehold::connect(&url)).ok());
    assert!(place.try_hold(&connected.unwrap(), "x").is_none());
}
