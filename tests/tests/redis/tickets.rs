//! Leases that are handed to another process, on a real server.

use leasehold::Kind;
use leasehold_tests::handing::hand_over_a_dead_body;
use leasehold_tests::own_keys;
use leasehold_tests::resp::Reply;

use crate::place::{LONG, Place, SECOND};

#[test]
fn a_ticket_outlives_the_process_that_gave_it() {
    let place = Place::new();
    let url = place.server.url();
    hand_over_a_dead_body(env!("CARGO_BIN_EXE_worker"), &url, &url);
}

#[test]
fn those_of_the_published_algorithm_stay_out_while_a_lease_is_handed_on() {
    let place = Place::new();
    let (web, job) = (place.client(), place.client());
    let they_take = || {
        let set = place.server.command(&["SET", "leasehold:x", "theirs", "NX", "PX", "60000"]);
        set == Reply::Status("OK".into())
    };
    for shared in [false, true] {
        let lock = web.lock("x").ttl(LONG);
        let lock = if shared { lock.shared() } else { lock };
        let lease = place.wait(lock.acquire()).unwrap();
        let ticket = place.wait(lease.into_ticket()).unwrap();
        assert!(!they_take());
        let lease = place.wait(job.adopt(ticket.as_str())).unwrap();
        assert!(!they_take());
        place.wait(lease.release()).unwrap();
    }
    assert!(they_take());
}

#[test]
fn a_ticket_is_kept_with_the_fence_for_as_long_as_it_is_valid() {
    let place = Place::new();
    let client = place.client();
    let lease = place.hold(&client, "x");
    let valid = SECOND * 86_000;
    place.wait(lease.into_ticket_for(valid)).unwrap();
    let ttl = |key: &str| place.server.command(&["PTTL", key]).as_int().unwrap();
    let fence = own_keys::fence(&place.server, "leasehold:x").unwrap();
    let (holder, fence) = (ttl("leasehold:x"), ttl(&fence));
    assert!(holder > 85_000_000, "{holder}");
    assert!(fence > holder + 86_000_000, "{fence} and {holder}");
}

#[test]
fn with_a_quarantine_a_ticket_is_not_valid_for_longer_than_it_lasts() {
    let place = Place::new();
    let url = format!("{}?quarantine=on&max_ttl=1s&ttl=1s", place.server.url());
    let client = place.client_of(&url);
    let lease = place.wait(client.lock("x").acquire()).unwrap();
    let error = place.wait(lease.into_ticket_for(SECOND * 2)).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("max_ttl") && lease.is_valid(), "{error}");
    place.wait(lease.into_ticket()).unwrap();
}
