//! Locks that are given back and stay taken.

use std::time::Duration;

use super::{
    AFTER_SHORT, Client, LONG, On, SHORT, ask, busy, claim, free, grant, held, renewed, try_only,
};
use crate::backend::{Answer, Held, Renewal};
use crate::error::Kind;

/// Give it back to rest; answers whether it was held.
async fn rest(client: &Client, held: &Held, span: Duration) -> bool {
    client.rest(held, span).await.expect("a rest").held
}

pub async fn a_lock_that_is_to_rest_rests_or_is_refused(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let lease = grant(&a, &claim("x")).await;
    if a.supports_rest().is_ok() {
        assert!(rest(&a, &lease, LONG).await);
        busy(&b, &try_only("x")).await;
        return;
    }
    let refusal = a.rest(&lease, LONG).await.expect_err("a rest of what cannot");
    assert_eq!(refusal.kind(), Kind::Unsupported, "{refusal}");
    assert!(free(&a, &lease).await, "the refusal released it");
}

pub async fn a_lock_that_rests_is_nobodys_and_keeps_all_out_until_it_is_over(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let lease = grant(&a, &claim("x")).await;
    assert!(rest(&a, &lease, SHORT * 3).await);
    assert_eq!(renewed(&a, &lease).await, Renewal::Gone);
    for client in [&a, &b] {
        let (free_in, _) = busy(client, &try_only("x")).await;
        assert!(free_in.is_none_or(|left| left <= SHORT * 3), "{free_in:?} is more than the rest");
    }
    on.pass(AFTER_SHORT * 3).await;
    assert!(grant(&b, &claim("x")).await.fence > lease.fence);
}

pub async fn a_rest_outlives_the_ttl_of_its_lease(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let lease = grant(&a, &super::short("x")).await;
    assert!(rest(&a, &lease, LONG).await);
    on.pass(AFTER_SHORT).await;
    busy(&b, &try_only("x")).await;
}

pub async fn a_rest_outlives_its_client(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let lease = grant(&a, &claim("x")).await;
    assert!(rest(&a, &lease, LONG).await);
    drop(a);
    busy(&b, &try_only("x")).await;
    assert!(b.inspect(None).await.expect("inspect")[0].holder().expect("it rests").resting);
}

pub async fn a_release_that_is_repeated_does_not_end_the_rest(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let lease = grant(&a, &claim("x")).await;
    assert!(rest(&a, &lease, LONG).await);
    for _ in 0..2 {
        assert!(!rest(&a, &lease, SHORT).await, "it was given back before");
        assert!(!free(&a, &lease).await, "it was given back before");
    }
    on.pass(AFTER_SHORT).await;
    busy(&b, &try_only("x")).await;
    let again = claim("x");
    assert!(a.evict(&again.name).await.expect("evict"));
    let next = grant(&b, &again).await;
    assert!(!rest(&a, &lease, LONG).await && !free(&a, &lease).await);
    assert_eq!(renewed(&b, &next).await, Renewal::Kept);
}

pub async fn a_claim_after_its_rest_is_retired(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let first = claim("x");
    let lease = grant(&a, &first).await;
    assert!(rest(&a, &lease, LONG).await);
    assert_eq!(ask(&a, &first).await, Answer::Retired);
    a.withdraw(&first).await.expect("withdraw");
    assert_eq!(ask(&a, &first).await, Answer::Retired);
    busy(&b, &try_only("x")).await;
}

pub async fn a_rest_of_what_is_not_held_changes_nothing(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (first, stranger) = (claim("x"), claim("x"));
    let lease = grant(&a, &first).await;
    assert!(!rest(&b, &held(&stranger, lease.fence), LONG).await);
    assert_eq!(renewed(&a, &lease).await, Renewal::Kept);
    assert!(free(&a, &lease).await && !rest(&a, &lease, LONG).await);
    grant(&b, &claim("x")).await;
}

pub async fn a_broken_rest_is_over(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let lease = grant(&a, &claim("x")).await;
    assert!(rest(&a, &lease, LONG).await);
    let waiter = claim("x");
    busy(&b, &waiter).await;
    assert!(c.evict(&lease.name).await.expect("evict"));
    super::woken(&b, "x").await;
    let next = grant(&b, &waiter).await;
    assert!(next.fence > lease.fence && free(&b, &next).await);
    assert!(!c.evict(&lease.name).await.expect("evict"));
}

pub async fn who_waits_for_the_end_of_a_rest_gets_its_turn(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let lease = grant(&a, &claim("x")).await;
    let (first, second) = (claim("x"), claim("x"));
    busy(&b, &first).await;
    assert!(rest(&a, &lease, SHORT).await);
    busy(&b, &first).await;
    busy(&c, &second).await;
    on.pass(AFTER_SHORT).await;
    let next = grant(&b, &first).await;
    assert!(free(&b, &next).await);
    grant(&c, &second).await;
}

pub async fn inspect_shows_what_rests(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (first, waiter) = (claim("x"), claim("x"));
    let lease = grant(&a, &first).await;
    let shown = &b.inspect(None).await.expect("inspect")[0];
    assert!(!shown.holder().expect("a holder").resting);
    busy(&b, &waiter).await;
    assert!(rest(&a, &lease, LONG * 10).await);
    let all = b.inspect(None).await.expect("inspect");
    let [status] = &all[..] else { panic!("{all:?}") };
    assert_eq!((status.fence, &status.waiters), (lease.fence, &vec![waiter.label.clone()]));
    let [rests] = &status.holders[..] else { panic!("{status:?}") };
    assert_eq!((rests.resting, &rests.label), (true, &first.label));
    assert!(rests.free_in > LONG * 9 && rests.free_in <= LONG * 11, "{rests:?}");
    assert!(rests.held_for < LONG, "{rests:?}");
}
