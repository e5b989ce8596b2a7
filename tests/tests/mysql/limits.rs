//! What an administrator or a full server does to those who hold a lock.

use crate::place::{Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, until};

#[test]
fn a_server_without_a_connection_left_says_so_and_keeps_those_that_it_has() {
    let place = Place::new();
    let url = place.plain_user("ann");
    place.server.sql("ALTER USER ann@'%' WITH MAX_USER_CONNECTIONS 4");
    let clients = [(); 2].map(|()| place.client_of(&url));
    let lease = place.wait(clients[0].lock("x").ttl(2 * SECOND).acquire()).unwrap();
    let error = place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("max_user_connections"), "{error}");
    place.pass(3 * SECOND);
    assert!(lease.is_valid(), "lost: {:?}", lease.loss());
    place.wait(clients[1].close());
    let connected = until(LIMIT, || place.wait(leasehold::connect(&url)).ok());
    assert!(place.try_hold(&connected.unwrap(), "x").is_none());
}

#[test]
fn limits_of_the_user_and_statements_that_are_ended_cost_no_lease() {
    let place = Place::new();
    let url = place.plain_user("ann");
    place.server.sql("ALTER USER ann@'%' WITH MAX_STATEMENT_TIME 0.0001");
    let client = place.client_of(&url);
    let lease = place.wait(client.lock("x").ttl(2 * SECOND).acquire()).unwrap();
    let sessions = "SELECT id FROM information_schema.processlist WHERE user = 'ann'";
    for _ in 0..20 {
        for id in place.server.sql(sessions).lines() {
            // It may have ended by itself.
            drop(place.server.try_sql(&format!("KILL QUERY {id}")));
        }
        place.pass(SECOND / 5);
    }
    assert!(lease.is_valid(), "lost: {:?}", lease.loss());
    place.wait(lease.renew()).unwrap();
}
