//! Who shares a lock, and who counts its permits.

use std::collections::BTreeSet;

use super::grant_of as grant;
use super::{AFTER_SHORT, Client, LONG, On, SHORT, ask, busy, claim, free, renewed, woken};
use crate::backend::{Answer, Claim, Held, Mode, Renewal};
use crate::error::Kind;

const FOUR: Mode = Mode::Counted { permits: 4 };

fn of(mode: Mode) -> Claim {
    Claim { mode, ..claim("x") }
}

fn shared() -> Claim {
    of(Mode::Shared)
}

/// The same without a place in the line.
fn tried(claim: Claim) -> Claim {
    Claim { place: None, ..claim }
}

/// In which ways several can hold a lock of this backend.
fn modes(client: &Client) -> impl Iterator<Item = Mode> {
    [Mode::Shared, FOUR].into_iter().filter(|mode| client.supports(*mode).is_ok())
}

async fn share(client: &Client) -> Held {
    grant(client, &shared()).await.0
}

/// What is refused, and how the lock is used instead.
async fn refused(client: &Client, claim: &Claim) -> Mode {
    match ask(client, claim).await {
        Answer::OtherKind { mode } => mode,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub async fn a_lock_that_is_to_be_shared_is_shared_or_refused(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    for mode in [Mode::Shared, Mode::Counted { permits: 2 }] {
        let (one, other) = (tried(of(mode)), tried(of(mode)));
        if a.supports(mode).is_ok() {
            let leases = [(&a, grant(&a, &one).await.0), (&b, grant(&b, &other).await.0)];
            for (client, lease) in leases {
                assert!(free(client, &lease).await, "{mode:?}");
            }
            continue;
        }
        let refusal = a.claim(&one).await.expect_err("a grant of what is not supported");
        assert_eq!(refusal.kind(), Kind::Unsupported, "{refusal}");
        let alone = claim("x");
        let holder = super::grant(&a, &alone).await;
        let refusal = a.release(&holder, Some(&other)).await.expect_err("it is handed on");
        assert_eq!(refusal.kind(), Kind::Unsupported, "{refusal}");
        assert!(free(&a, &holder).await, "the refusal released it");
    }
}

pub async fn those_who_share_hold_together_and_keep_an_exclusive_one_out(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let (first, second) = (share(&a).await, share(&b).await);
    let third = share(&a).await;
    let writer = claim("x");
    busy(&c, &writer).await;
    for (client, lease) in [(&a, &first), (&b, &second), (&a, &third)] {
        busy(&c, &writer).await;
        assert_eq!(renewed(client, lease).await, Renewal::Kept);
        assert!(free(client, lease).await);
        assert!(!free(client, lease).await, "it was given back before");
        assert_eq!(renewed(client, lease).await, Renewal::Gone);
    }
    woken(&c, "x").await;
    grant(&c, &writer).await;
}

pub async fn an_exclusive_one_keeps_those_who_would_share_out(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (writer, _) = grant(&a, &claim("x")).await;
    let reader = shared();
    busy(&a, &tried(shared())).await;
    busy(&b, &reader).await;
    assert!(free(&a, &writer).await);
    woken(&b, "x").await;
    grant(&b, &reader).await;
}

pub async fn who_would_share_does_not_pass_an_exclusive_one_that_waits(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let first = share(&a).await;
    let (writer, late) = (claim("x"), shared());
    busy(&b, &writer).await;
    let (_, ahead) = busy(&c, &late).await;
    assert_eq!(ahead, 1, "the writer stands before it");
    busy(&a, &tried(shared())).await;
    assert!(free(&a, &first).await);
    busy(&c, &late).await;
    let (lease, _) = grant(&b, &writer).await;
    busy(&c, &late).await;
    assert!(free(&b, &lease).await);
    assert!(grant(&c, &late).await.0.fence > lease.fence);
}

pub async fn a_release_admits_all_who_share_up_to_the_next_exclusive_one(on: On) {
    let (holder, writer) = (on.client().await, on.client().await);
    let (lease, _) = grant(&holder, &claim("x")).await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push((on.client().await, shared()));
        let (client, claim) = &readers[readers.len() - 1];
        busy(client, claim).await;
    }
    let (next, late) = (claim("x"), shared());
    busy(&writer, &next).await;
    busy(&holder, &late).await;
    assert!(free(&holder, &lease).await);
    let mut leases = Vec::new();
    for (client, claim) in &readers {
        woken(client, "x").await;
        leases.push((client, grant(client, claim).await.0));
    }
    busy(&writer, &next).await;
    busy(&holder, &late).await;
    for (client, lease) in leases {
        assert!(free(client, &lease).await);
    }
    woken(&writer, "x").await;
    let (lease, _) = grant(&writer, &next).await;
    busy(&holder, &late).await;
    assert!(free(&writer, &lease).await);
    grant(&holder, &late).await;
}

pub async fn who_is_handed_the_lock_to_share_it_is_followed_by_others(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (holder, _) = grant(&a, &claim("x")).await;
    let (local, remote) = (shared(), shared());
    busy(&b, &remote).await;
    let released = a.release(&holder, Some(&local)).await.expect("release");
    assert!(released.held);
    let (lease, _) = grant(&a, &local).await;
    assert!(lease.fence > holder.fence);
    if let Some(Answer::Granted { fence, .. }) = released.next {
        assert_eq!(lease.fence, fence);
    }
    woken(&b, "x").await;
    assert_eq!(grant(&b, &remote).await.0.fence, lease.fence);
    let (lease, more) = (share(&a).await, shared());
    let released = a.release(&lease, Some(&more)).await.expect("release of a share");
    assert!(released.held);
    assert!(matches!(released.next, Some(Answer::Granted { .. })), "{released:?}");
}

pub async fn a_turn_has_one_fence_and_the_next_a_larger_one(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (before, _) = grant(&a, &claim("x")).await;
    assert!(free(&a, &before).await);
    let mut last = before.fence;
    for _ in 0..3 {
        let (first, second) = (share(&a).await, share(&b).await);
        assert!(free(&a, &first).await);
        let third = share(&a).await;
        assert_eq!([second.fence, third.fence], [first.fence; 2], "one turn");
        assert!(first.fence > last, "fence {} after {last}", first.fence);
        last = first.fence;
        assert!(free(&b, &second).await && free(&a, &third).await);
    }
    assert!(grant(&b, &claim("x")).await.0.fence > last);
}

pub async fn each_who_shares_has_an_end_of_its_own(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (dead, _) = grant(&a, &Claim { ttl: SHORT, ..shared() }).await;
    let alive = share(&b).await;
    on.pass(AFTER_SHORT).await;
    assert_eq!(renewed(&a, &dead).await, Renewal::Gone);
    assert!(!free(&a, &dead).await, "its time was over");
    assert_eq!(renewed(&b, &alive).await, Renewal::Kept);
    busy(&a, &tried(claim("x"))).await;
    // The one that ends last may be given back first.
    let (dead, _) = grant(&a, &Claim { ttl: SHORT, ..shared() }).await;
    assert!(free(&b, &alive).await);
    on.pass(AFTER_SHORT).await;
    assert!(grant(&b, &tried(claim("x"))).await.0.fence > dead.fence);
}

pub async fn a_full_turn_with_a_dead_reader_ends_for_the_writer_that_waits(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    grant(&a, &Claim { ttl: SHORT, ..shared() }).await;
    let alive = share(&b).await;
    let (writer, late) = (claim("x"), shared());
    busy(&c, &writer).await;
    busy(&a, &late).await;
    assert!(free(&b, &alive).await);
    on.pass(AFTER_SHORT).await;
    busy(&a, &late).await;
    let (lease, _) = grant(&c, &writer).await;
    assert!(lease.fence > alive.fence);
    busy(&a, &late).await;
}

pub async fn who_comes_at_the_end_of_the_last_reader_begins_another_turn(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (dead, _) = grant(&a, &Claim { ttl: SHORT, ..shared() }).await;
    let (joined, _) = grant(&b, &Claim { ttl: SHORT, ..shared() }).await;
    assert_eq!(joined.fence, dead.fence);
    on.pass(AFTER_SHORT).await;
    let next = share(&b).await;
    assert!(next.fence > dead.fence, "a turn that nobody held goes on");
    assert_eq!(renewed(&a, &dead).await, Renewal::Gone);
    assert_eq!(renewed(&b, &next).await, Renewal::Kept);
}

pub async fn an_exclusive_one_that_leaves_the_line_lets_those_behind_it_share(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let first = share(&a).await;
    let (writer, late, last) = (claim("x"), shared(), shared());
    busy(&b, &writer).await;
    busy(&c, &late).await;
    busy(&a, &last).await;
    b.withdraw(&writer).await.expect("withdraw");
    woken(&c, "x").await;
    assert_eq!(grant(&c, &late).await.0.fence, first.fence);
    woken(&a, "x").await;
    assert_eq!(grant(&a, &last).await.0.fence, first.fence);
}

pub async fn a_withdrawn_share_leaves_the_others_alone(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (unseen, other) = (shared(), share(&b).await);
    let (lease, _) = grant(&a, &unseen).await;
    a.withdraw(&unseen).await.expect("withdraw");
    assert_eq!(renewed(&a, &lease).await, Renewal::Gone);
    assert_eq!(ask(&a, &unseen).await, Answer::Retired);
    assert_eq!(renewed(&b, &other).await, Renewal::Kept);
    busy(&a, &tried(claim("x"))).await;
    b.withdraw(&Claim { owner: other.owner, ..shared() }).await.expect("withdraw");
    grant(&a, &tried(claim("x"))).await;
}

pub async fn a_repeated_claim_for_a_share_answers_the_same(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    for mode in modes(&a) {
        let once = of(mode);
        let other = grant(&b, &of(mode)).await.0;
        let (first, slot) = grant(&a, &once).await;
        let (again, same) = grant(&a, &once).await;
        assert_eq!((again.fence, same), (first.fence, slot));
        assert!(free(&a, &first).await && free(&b, &other).await);
        assert_eq!(ask(&a, &once).await, Answer::Retired);
    }
    grant(&b, &tried(claim("x"))).await;
}

pub async fn one_more_than_the_permits_waits(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(grant(&a, &of(FOUR)).await.0);
    }
    let (fifth, sixth) = (of(FOUR), of(FOUR));
    busy(&b, &fifth).await;
    busy(&a, &sixth).await;
    assert!(free(&a, &leases[2]).await);
    busy(&a, &tried(of(FOUR))).await;
    woken(&b, "x").await;
    let (_, slot) = grant(&b, &fifth).await;
    assert_eq!(slot, 2, "the one that was given back");
    busy(&a, &sixth).await;
    b.withdraw(&fifth).await.expect("withdraw");
    assert_eq!(grant(&a, &sixth).await.1, 2);
}

pub async fn who_waits_for_a_permit_is_told_when_the_first_ends(on: On) {
    let client = on.client().await;
    let two = Mode::Counted { permits: 2 };
    grant(&client, &of(two)).await;
    grant(&client, &Claim { ttl: SHORT, ..of(two) }).await;
    let waits = of(two);
    if let (Some(free_in), _) = busy(&client, &waits).await {
        assert!(free_in <= SHORT, "{free_in:?}");
    }
    on.pass(AFTER_SHORT).await;
    assert_eq!(grant(&client, &waits).await.1, 1);
    busy(&client, &tried(of(two))).await;
}

pub async fn each_permit_has_a_slot_whose_fences_rise(on: On) {
    let client = on.client().await;
    let (mut leases, mut last) = (Vec::new(), [0; 4]);
    for round in 0..40 {
        if leases.len() == 4 {
            let (lease, _) = leases.remove(round * 7 % 4);
            assert!(free(&client, &lease).await);
        }
        let (lease, slot) = grant(&client, &of(FOUR)).await;
        let before = &mut last[slot as usize];
        assert!(lease.fence > *before, "slot {slot}: fence {} after {before}", lease.fence);
        *before = lease.fence;
        leases.push((lease, slot));
        let slots: BTreeSet<u32> = leases.iter().map(|(_, slot)| *slot).collect();
        assert_eq!(slots.len(), leases.len(), "two have one slot: {leases:?}");
    }
}

pub async fn another_number_of_permits_is_refused_until_nobody_uses_the_lock(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let five = Mode::Counted { permits: 5 };
    let (lease, _) = grant(&a, &of(FOUR)).await;
    for other in [five, Mode::Shared, Mode::Exclusive] {
        assert_eq!(refused(&b, &of(other)).await, FOUR);
        assert_eq!(refused(&b, &tried(of(other))).await, FOUR);
    }
    grant(&b, &of(FOUR)).await;
    assert!(a.evict(&lease.name).await.expect("evict"));
    let (lease, _) = grant(&b, &of(five)).await;
    assert_eq!(refused(&a, &of(FOUR)).await, five);
    assert!(free(&b, &lease).await);
    // One that waits uses it, too.
    let (writer, _) = grant(&a, &claim("x")).await;
    assert_eq!(refused(&b, &of(FOUR)).await, Mode::Exclusive);
    let reader = shared();
    busy(&b, &reader).await;
    assert!(free(&a, &writer).await);
    assert_eq!(refused(&a, &of(FOUR)).await, Mode::Shared);
    let (lease, _) = grant(&b, &reader).await;
    assert_eq!(refused(&a, &of(FOUR)).await, Mode::Shared);
    assert!(free(&b, &lease).await);
    grant(&a, &of(FOUR)).await;
}

pub async fn an_eviction_takes_the_lock_from_all_who_share_it(on: On) {
    for mode in modes(&on.client().await) {
        let (a, b, c) = (on.client().await, on.client().await, on.client().await);
        let leases = [(&a, grant(&a, &of(mode)).await.0), (&b, grant(&b, &of(mode)).await.0)];
        assert!(c.evict(&leases[0].1.name).await.expect("evict"));
        for (client, lease) in &leases {
            woken(client, "x").await;
            assert_eq!(renewed(client, lease).await, Renewal::Gone);
            assert!(!free(client, lease).await);
        }
        assert!(!c.evict(&leases[0].1.name).await.expect("evict"), "nobody holds it");
        let (next, slot) = grant(&c, &tried(of(mode))).await;
        assert!(slot == 0 && leases.iter().all(|(_, lease)| next.fence > lease.fence));
        assert!(free(&c, &next).await);
    }
}

pub async fn inspect_shows_all_who_share(on: On) {
    let client = on.client().await;
    for mode in modes(&client) {
        let (one, other, waiter) = (of(mode), of(mode), of(mode));
        let leases = [grant(&client, &one).await, grant(&client, &other).await];
        let status = client.inspect(Some(&one.name)).await.expect("inspect").remove(0);
        assert_eq!(status.fence, leases[1].0.fence);
        let mut holders = status.holders;
        holders.sort_by_key(|holder| (holder.slot, holder.label.clone()));
        for (holder, (claim, (lease, slot))) in
            holders.iter().zip([&one, &other].iter().zip(&leases))
        {
            assert_eq!(holder.fence, lease.fence);
            assert_eq!((&holder.label, holder.mode, holder.slot), (&claim.label, mode, *slot));
            assert!(holder.free_in <= LONG && holder.held_for < LONG, "{holder:?}");
        }
        assert_eq!(holders.len(), 2);
        assert!(free(&client, &leases[0].0).await);
        let all = client.inspect(None).await.expect("inspect");
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].holders.len(), all[0].waiters.len()), (1, 0), "{all:?}");
        assert!(free(&client, &leases[1].0).await);
        assert!(client.inspect(Some(&waiter.name)).await.expect("inspect").is_empty());
    }
}
