//! A row that somebody keeps locked.

use crate::place::{Place, SECOND};
use leasehold_tests::patience::now;

#[test]
fn who_waits_at_a_row_that_somebody_locks_keeps_no_other_lock_waiting() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let lease = place.hold(&other, "x");
    let mut rude = place.server.talk();
    rude.say("BEGIN");
    rude.say("SELECT name FROM leasehold WHERE name = 'x' FOR UPDATE");
    let asked = now();
    let error = place.wait(client.lock("x").wait(SECOND).acquire()).unwrap_err();
    assert!(error.to_string().contains("keeps the lock's row"), "{error}");
    assert!(asked.elapsed() < 2 * SECOND, "{:?}", asked.elapsed());
    let waiter = place.queue(client.lock("x"));
    let (began, mut longest) = (now(), std::time::Duration::ZERO);
    while began.elapsed() < 5 * SECOND {
        let asked = now();
        let pair = place.hold(&client, "y");
        place.wait(pair.release()).unwrap();
        longest = longest.max(asked.elapsed());
    }
    assert!(longest < SECOND, "{longest:?}");
    assert!(!waiter.is_finished(), "it goes on waiting");
    rude.say("ROLLBACK");
    place.wait(lease.release()).unwrap();
    place.granted(waiter);
}
