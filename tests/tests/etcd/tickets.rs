//! Leases that are handed to another process, on a real cluster.

use leasehold_tests::handing::hand_over_a_dead_body;

use crate::place::{LONG, Place};

#[test]
fn a_ticket_outlives_the_process_that_gave_it() {
    let place = Place::new();
    let url = place.cluster.url();
    hand_over_a_dead_body(env!("CARGO_BIN_EXE_worker"), &url, &url);
}

#[test]
fn a_lease_that_is_handed_on_keeps_its_key_and_the_revision_that_created_it() {
    let place = Place::new();
    let (web, job) = (place.client(), place.client());
    let lease = place.wait(web.lock("x").ttl(LONG).label("web").acquire()).unwrap();
    let key = place.only_key();
    let ticket = place.wait(lease.into_ticket()).unwrap();
    assert_eq!(place.only_key(), key);
    let said = place.keys()[0].1.clone();
    assert!(said.contains(" web, handed on since 20"), "{said}");
    let adopted = place.wait(job.adopt(ticket.as_str())).unwrap();
    assert_eq!((adopted.key(), adopted.fence()), (Some(key.clone()), lease.fence()));
    let said = place.keys()[0].1.clone();
    assert!(said.contains(" web, held since 20"), "{said}");
    // Whoever gave it cleans up nothing of it, and makes no key of that name again.
    place.wait(web.close());
    assert_eq!(place.only_key(), key);
    place.wait(adopted.renew()).unwrap();
    place.wait(adopted.release()).unwrap();
    assert_eq!(place.keys(), []);
    let next = place.hold(&job, "x");
    assert_ne!(place.only_key(), key);
    place.wait(next.release()).unwrap();
}
