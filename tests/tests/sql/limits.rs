//! What a wrong clock does to those who hold a lock.

use crate::dialect::Settings;
use crate::place::{Place, SECOND};
use leasehold::Loss;
use leasehold_tests::patience::{LIMIT, until};

#[test]
fn a_clock_that_jumps_costs_leases_and_no_order_of_fences() {
    let place = Place::on(Settings::default().shifted_clock());
    let (a, b) = (place.client(), place.client());
    let mut last = 0;
    // Forward: the lease is over, and its holder hears of it with the next renewal.
    let lease = place.wait(a.lock("x").ttl(3 * SECOND).acquire()).unwrap();
    place.server.shift_clock(3600.0);
    let next = until(LIMIT, || place.try_hold(&b, "x")).unwrap();
    assert!(next.fence() > lease.fence());
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
    place.wait(next.release()).unwrap();
    // Back: what is given back is free.
    for seconds in [-7200.0, 10.0, -86400.0] {
        place.server.shift_clock(seconds);
        let lease = place.hold(&a, "x");
        assert!(lease.fence() > last && lease.fence() > next.fence(), "{seconds}");
        last = lease.fence();
        assert!(place.try_hold(&b, "x").is_none());
        place.wait(lease.renew()).unwrap();
        place.wait(lease.release()).unwrap();
    }
}
