//! Locks that rest, on a real server.

use crate::place::records::{is_idle, records};
use crate::place::{Place, SECOND};
use leasehold_tests::resp::Reply;

const DAY: i64 = 24 * 60 * 60 * 1000;

#[test]
fn those_of_the_published_algorithm_stay_out_while_a_lock_rests() {
    let place = Place::new();
    let client = place.client();
    let lock = client.lock("x").min_hold(SECOND * 60);
    place.wait(place.wait(lock.acquire()).unwrap().release()).unwrap();
    let set = place.server.command(&["SET", "leasehold:x", "theirs", "NX", "PX", "60000"]);
    assert_ne!(set, Reply::Status("OK".into()));
    let status = place.wait(client.status("x")).unwrap().unwrap();
    assert!(status.holder().unwrap().resting, "{status:?}");
    assert!(place.wait(client.break_lock("x")).unwrap());
    assert!(is_idle(&place.server));
}

#[test]
fn the_last_fence_of_a_lock_outlives_its_rest() {
    let place = Place::new();
    let client = place.client();
    let days = 30;
    let lock = client.lock("x").min_hold(SECOND * 24 * 3600 * days as u32);
    let lease = place.wait(lock.acquire()).unwrap();
    place.wait(lease.release()).unwrap();
    let found = records(&place.server);
    let fence = found.iter().find(|record| record.is_fence()).unwrap();
    assert!(fence.lives > DAY * (days + 1) - 60_000, "{found:?}");
    assert_eq!(fence.value, lease.fence().to_string());
}
