//! How soon who waits is served, and what a crash forgets.

use crate::place::{Place, SECOND};
use leasehold_tests::servers::MysqlSettings;

#[test]
fn the_first_of_the_line_asks_ten_times_in_a_second() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let took = (0..20).map(|round| {
        let name = format!("x{round}");
        let (lease, waiter) = (place.hold(&a, &name), place.stand_in_line(&b, &name));
        place.hand_over(lease, waiter).1
    });
    let took: std::time::Duration = took.sum();
    assert!(took < 4 * SECOND, "{took:?}");
    assert!(a.caveats().is_empty(), "{:?}", a.caveats());
}

#[test]
fn a_crash_that_may_forget_leases_is_told() {
    let option = "--innodb-flush-log-at-trx-commit=2";
    let place = Place::on(MysqlSettings::default().option(option));
    let caveats = place.client().caveats();
    assert!(caveats.len() == 1 && caveats[0].contains("innodb_flush"), "{caveats:?}");
}
