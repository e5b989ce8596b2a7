//! A row that somebody keeps locked, and leases with long names.

use crate::place::{LONG, Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::now;
use leasehold_tests::servers::MysqlSettings;

#[test]
fn a_row_that_somebody_keeps_locked_is_nobodys_next() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.wait(a.lock("x").ttl(LONG).acquire()).unwrap();
    place.wait(lease.release()).unwrap();
    let mut guard = place.server.talk();
    guard.say("BEGIN");
    guard.say("SELECT fence FROM leasehold WHERE name = 'x' LOCK IN SHARE MODE");
    let asked = now();
    let error = place.wait(b.lock("x").try_acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("keeps the lock's row"), "{error}");
    assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
    let waiter = place.queue(b.lock("x").ttl(LONG));
    place.pass(SECOND);
    assert!(!waiter.is_finished());
    guard.say("COMMIT");
    assert!(place.granted(waiter).0.fence() > lease.fence());
}

#[test]
fn many_leases_with_long_names_are_renewed_where_requests_are_small() {
    let place = Place::on(MysqlSettings::default().option("--max-allowed-packet=1M"));
    let client = place.client();
    let leases: Vec<_> = (0..600)
        .map(|number| {
            let lock = client.lock(format!("{number:0>1000}")).ttl(9 * SECOND);
            place.wait(lock.acquire()).unwrap()
        })
        .collect();
    place.pass(10 * SECOND);
    assert!(leases.iter().all(leasehold::Lease::is_valid));
}
