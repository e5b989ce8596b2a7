//! Who waits, who is woken, and what others see of it.

use super::{
    AFTER_SHORT, Client, LONG, On, SHORT, busy, claim, free, grant, has_wake_now, held, name,
    next_wake, renewed, short, try_only, woken,
};
use crate::backend::{Answer, Claim, Renewal, Wake};

pub async fn busy_tells_when_the_lease_ends(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    grant(&a, &claim("x")).await;
    let (free_in, first) = busy(&b, &claim("x")).await;
    assert!(free_in.is_none_or(|left| left <= LONG), "{free_in:?} is more than the ttl");
    let (_, second) = busy(&b, &claim("x")).await;
    assert_eq!(second, first + 1, "one more waits already");
}

pub async fn the_line_is_first_come_first_served(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let holder = grant(&a, &claim("x")).await;
    let (first, second, newcomer) = (claim("x"), claim("x"), try_only("x"));
    busy(&b, &first).await;
    busy(&c, &second).await;
    assert!(free(&a, &holder).await);
    busy(&a, &newcomer).await;
    busy(&c, &second).await;
    let lease = grant(&b, &first).await;
    assert!(free(&b, &lease).await);
    busy(&a, &newcomer).await;
    grant(&c, &second).await;
}

pub async fn a_try_leaves_no_place_behind(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let holder = grant(&a, &claim("x")).await;
    busy(&b, &try_only("x")).await;
    assert!(free(&a, &holder).await);
    grant(&a, &try_only("x")).await;
}

pub async fn a_place_lapses_unless_it_is_refreshed(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let holder = grant(&a, &claim("x")).await;
    let (dead, alive) = (Claim { place: Some(SHORT), ..claim("x") }, claim("x"));
    busy(&b, &dead).await;
    busy(&c, &alive).await;
    on.pass(AFTER_SHORT).await;
    assert!(free(&a, &holder).await);
    grant(&c, &alive).await;
}

/// The two who waited, in their order, just after the holder's release.
async fn two_in_line_for_a_free_lock(on: &On) -> [(Client, Claim); 2] {
    let holder = on.client().await;
    let lease = grant(&holder, &claim("x")).await;
    let waiters = [(on.client().await, claim("x")), (on.client().await, claim("x"))];
    for (client, claim) in &waiters {
        busy(client, claim).await;
    }
    assert!(free(&holder, &lease).await);
    waiters
}

pub async fn a_release_wakes_the_first_of_the_line_only(on: On) {
    let [(b, first), (c, second)] = two_in_line_for_a_free_lock(&on).await;
    woken(&b, "x").await;
    assert!(!has_wake_now(&c).await, "the second was woken too");
    let lease = grant(&b, &first).await;
    assert!(free(&b, &lease).await);
    woken(&c, "x").await;
    grant(&c, &second).await;
}

pub async fn a_lock_is_handed_on_for_no_longer_than_its_ttl(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (holder, waits) = (grant(&a, &claim("x")).await, Claim { ttl: SHORT, ..claim("x") });
    busy(&b, &waits).await;
    assert!(free(&a, &holder).await);
    let lasts = match next_wake(&b, "x").await {
        Wake::Granted(grant) => Some(grant.lasts),
        Wake::Name(_) | Wake::All => None,
    };
    // A backend that only wakes the first hands nothing on.
    let asked = b.ttl(SHORT);
    assert!(lasts.is_none_or(|lasts| lasts <= asked), "{lasts:?} for a ttl of {asked:?}");
}

pub async fn a_woken_waiter_that_leaves_wakes_the_next(on: On) {
    let [(b, first), (c, second)] = two_in_line_for_a_free_lock(&on).await;
    b.withdraw(&first).await.expect("withdraw");
    woken(&c, "x").await;
    grant(&c, &second).await;
}

pub async fn a_release_hands_the_lock_over_in_the_same_request(on: On) {
    let client = on.client().await;
    let (holder, local) = (grant(&client, &claim("x")).await, claim("x"));
    let released = client.release(&holder, Some(&local)).await.expect("release");
    assert_eq!((released.held, released.others), (true, 0));
    let Some(Answer::Granted { fence, .. }) = released.next else { panic!("{released:?}") };
    assert!(fence > holder.fence);
    assert_eq!(grant(&client, &local).await.fence, fence);
    busy(&client, &try_only("x")).await;
    assert!(free(&client, &held(&local, fence)).await);
}

pub async fn who_is_handed_the_lock_overtakes_or_stands_in_line(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let holder = grant(&a, &claim("x")).await;
    let (local, remote) = (claim("x"), claim("x"));
    busy(&b, &remote).await;
    busy(&a, &local).await;
    let released = a.release(&holder, Some(&local)).await.expect("release");
    assert!(released.held);
    assert_eq!(released.others, 1, "the remote waiter, and not the one that was served");
    if let Some(Answer::Granted { fence, .. }) = released.next {
        assert!(fence > holder.fence);
        assert_eq!(grant(&a, &local).await.fence, fence);
        busy(&b, &remote).await;
        assert!(free(&a, &held(&local, fence)).await);
        grant(&b, &remote).await;
    } else {
        let first = grant(&b, &remote).await;
        busy(&a, &local).await;
        assert!(free(&b, &first).await);
        assert!(grant(&a, &local).await.fence > first.fence);
    }
}

pub async fn a_withdrawn_claim_is_not_handed_the_lock(on: On) {
    let client = on.client().await;
    let holder = grant(&client, &claim("x")).await;
    let left = claim("x");
    client.withdraw(&left).await.expect("withdraw");
    let released = client.release(&holder, Some(&left)).await.expect("release");
    assert_eq!((released.held, released.next), (true, Some(Answer::Retired)));
    grant(&client, &claim("x")).await;
}

pub async fn a_lost_lease_hands_nothing_over(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let lost = grant(&a, &short("x")).await;
    on.pass(AFTER_SHORT).await;
    let holder = grant(&b, &claim("x")).await;
    let released = a.release(&lost, Some(&claim("x"))).await.expect("release");
    assert!(!released.held);
    let busy = matches!(released.next, Some(Answer::Busy { .. } | Answer::Tied));
    assert!(busy, "{released:?}");
    assert_eq!(renewed(&b, &holder).await, Renewal::Kept);
}

pub async fn an_eviction_frees_the_lock_and_tells_both_sides(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let holder = grant(&a, &claim("x")).await;
    let waiter = claim("x");
    busy(&b, &waiter).await;
    assert!(c.evict(&holder.name).await.expect("evict"));
    woken(&a, "x").await;
    assert_eq!(renewed(&a, &holder).await, Renewal::Gone);
    woken(&b, "x").await;
    assert!(grant(&b, &waiter).await.fence > holder.fence);
    assert!(!c.evict(&name("never held")).await.expect("evict"));
}

pub async fn inspect_shows_who_holds_and_who_waits(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    assert!(a.inspect(None).await.expect("inspect").is_empty());
    let (holder, waiter) = (claim("x"), claim("x"));
    let lease = grant(&a, &holder).await;
    busy(&b, &waiter).await;
    grant(&b, &claim("a")).await;
    let all = b.inspect(None).await.expect("inspect");
    let names: Vec<_> = all.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(names, ["a", "x"]);
    let status = &b.inspect(Some(&lease.name)).await.expect("inspect")[0];
    assert_eq!((status.fence, &status.waiters), (lease.fence, &vec![waiter.label.clone()]));
    let shown = status.holder().expect("a holder");
    assert_eq!(shown.label, holder.label);
    assert!(shown.free_in <= LONG && shown.held_for < LONG, "{shown:?}");
    b.withdraw(&waiter).await.expect("withdraw");
    assert!(free(&a, &lease).await);
    assert_eq!(status.holders[0].fence, lease.fence);
    assert!(a.inspect(Some(&lease.name)).await.expect("inspect").is_empty());
}
