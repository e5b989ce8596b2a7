//! A replica that takes over, and the primary before it.

use crate::place::{LONG, Place, SECOND};
use leasehold::{Kind, Lease};
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::proxy::Proxy;
use leasehold_tests::servers::{Postgres, PostgresSettings};

const TTL: std::time::Duration = std::time::Duration::from_secs(6);

/// A primary, its replica, and the address that leads to one of them.
struct Pair {
    place: Place,
    replica: Postgres,
    address: Proxy,
}

impl Pair {
    fn new() -> Self {
        let settings = PostgresSettings::default();
        let place = Place::on(settings.host("host replication all 127.0.0.1/32 trust"));
        // The table is there when it is copied.
        place.client();
        let (replica, address) = (place.server.replica(), Proxy::of_bytes(place.server.port()));
        Self { place, replica, address }
    }

    /// A commit waits for the replica.
    fn synchronous() -> Self {
        let pair = Self::new();
        pair.place.server.wait_for_replicas();
        pair
    }

    fn url(&self) -> String {
        let port = |port: u16| format!(":{port}/");
        self.place.server.url().replace(&port(self.place.server.port()), &port(self.address.port()))
    }

    fn fail_over(&self) {
        self.place.server.kill();
        self.replica.promote();
        self.lead_to(&self.replica);
    }

    fn lead_to(&self, server: &Postgres) {
        self.address.lead_to(server.port());
        self.address.cut();
    }
}

/// By what the server knows that answers now.
fn is_held(place: &Place, lease: &Lease) {
    let renewed = until(LIMIT, || match place.wait(lease.renew()) {
        Err(error) if error.kind() == Kind::Unavailable => None,
        renewed => Some(renewed),
    });
    renewed.unwrap().unwrap();
}

#[test]
fn nothing_is_lost_by_a_failover_to_a_synchronous_replica() {
    let pair = Pair::synchronous();
    let place = &pair.place;
    let (a, b) = (place.client_of(&pair.url()), place.client_of(&pair.url()));
    let held = place.hold(&a, "x");
    let waiter = place.stand_in_line(&b, "x");
    // Granted while it happens.
    let takers: Vec<_> = (0..4)
        .map(|number| {
            let client = place.client_of(&pair.url());
            place.spawn(async move {
                let mut taken: Vec<Lease> = Vec::new();
                for round in 0.. {
                    let lock = client.lock(format!("{number}/{round}")).ttl(LONG);
                    match lock.try_acquire().await {
                        Ok(lease) => taken.extend(lease),
                        Err(_) => break,
                    }
                }
                taken
            })
        })
        .collect();
    place.pass(SECOND / 2);
    pair.fail_over();
    let mut taken = 0;
    for leases in takers.into_iter().map(|taker| place.wait(taker).unwrap()) {
        taken += leases.len();
        for lease in leases {
            is_held(place, &lease);
        }
    }
    assert!(taken > 20, "{taken}");
    is_held(place, &held);
    let (next, took) = place.hand_over(held, waiter);
    assert!(took < 2 * SECOND, "{took:?}");
    place.wait(next.release()).unwrap();
}

#[test]
fn a_grant_that_did_not_wait_for_the_replica_is_none() {
    let pair = Pair::synchronous();
    let place = &pair.place;
    let client = place.client_of(&pair.url());
    pair.replica.kill();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let asked = place.spawn(async move { client.lock("x").ttl(LONG).try_acquire().await });
    assert!(until(LIMIT, || (place.server.sql(waits) != "0").then_some(())).is_some());
    place
        .server
        .sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    let error = place.wait(asked).unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("replica"), "{error}");
}

#[test]
fn what_a_replica_had_not_got_is_lost_and_said_and_fences_rise() {
    let pair = Pair::new();
    let place = &pair.place;
    let (a, b) = (place.client_of(&pair.url()), place.client_of(&pair.url()));
    pair.replica.kill();
    let lease = place.wait(a.lock("x").ttl(TTL).acquire()).unwrap();
    place.server.kill();
    pair.replica.restart();
    pair.fail_over();
    let taken = || place.wait(b.lock("x").ttl(LONG).try_acquire()).ok().flatten();
    let taken = until(LIMIT, taken).unwrap();
    assert!(taken.fence() > lease.fence());
    // It hears with its next renewal.
    place.wait(lease.lost());
    assert!(taken.is_valid());
}

#[test]
fn a_former_primary_that_comes_back_is_not_believed() {
    let pair = Pair::new();
    let place = &pair.place;
    let client = place.client_of(&pair.url());
    place.wait(client.lock("x").ttl(LONG).try_acquire()).unwrap().unwrap();
    pair.fail_over();
    let held = || place.wait(client.lock("y").ttl(LONG).try_acquire()).ok().flatten();
    let held = until(LIMIT, held).unwrap();
    // It knows nothing of `y`, and would grant it to whoever asks.
    place.server.restart();
    pair.lead_to(&place.server);
    let told = until(LIMIT, || {
        let error = place.wait(client.lock("z").ttl(LONG).try_acquire()).unwrap_err();
        error.to_string().contains("former primary").then_some(error)
    });
    assert_eq!(told.unwrap().kind(), Kind::Unavailable);
    pair.lead_to(&pair.replica);
    assert!(until(LIMIT, || place.wait(held.renew()).ok()).is_some());
    // One that follows nobody and cannot be written to is no better.
    let replica = pair.replica.replica();
    pair.lead_to(&replica);
    let told = until(LIMIT, || {
        let error = place.wait(client.lock("z").ttl(LONG).try_acquire()).unwrap_err();
        error.to_string().contains("is a replica").then_some(error)
    });
    assert_eq!(told.unwrap().kind(), Kind::Unavailable);
}
