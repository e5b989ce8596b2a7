//! Leases that are handed on, by a ticket.

use super::{
    AFTER_SHORT, Client, LONG, On, SHORT, ask, busy, claim, free, grant, held, name, renewed,
    try_only, woken,
};
use crate::backend::{Answer, Claim, Heir, Held, Mode, Renewal, Transferred};
use crate::error::Kind;

/// Hand it on; answers the lease of the other.
async fn handed(client: &Client, from: &Held, to: &Claim, heir: Heir) -> Option<Held> {
    let answer = client.transfer(from, to, heir).await.expect("transfer");
    matches!(answer, Transferred::Done { .. }).then(|| held(to, from.fence))
}

async fn given(client: &Client, from: &Held) -> Held {
    let ticket = Claim { mode: from.mode, ..claim(from.name.as_str()) };
    handed(client, from, &ticket, Heir::Ticket).await.expect("it is held")
}

async fn adopted(client: &Client, ticket: &Held) -> Option<Held> {
    let to = Claim { mode: ticket.mode, ..claim(ticket.name.as_str()) };
    handed(client, ticket, &to, Heir::Client).await
}

pub async fn a_lease_is_handed_on_or_that_is_unsupported(on: On) {
    let client = on.client().await;
    let lease = grant(&client, &claim("x")).await;
    match client.tickets(LONG) {
        Ok(kind) => assert!(!kind.is_empty()),
        Err(error) => {
            assert_eq!(error.kind(), Kind::Unsupported, "{error}");
            let asked = client.transfer(&lease, &claim("x"), Heir::Ticket).await;
            assert_eq!(asked.expect_err("it is unsupported").kind(), Kind::Unsupported);
        }
    }
}

pub async fn a_lease_goes_over_a_ticket_to_another_client_and_is_never_free(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let first = grant(&a, &claim("x")).await;
    let ticket = given(&a, &first).await;
    busy(&b, &try_only("x")).await;
    let lease = adopted(&b, &ticket).await.expect("the ticket is good");
    busy(&a, &try_only("x")).await;
    assert_eq!(renewed(&b, &lease).await, Renewal::Kept);
    let status = b.inspect(Some(&name("x"))).await.expect("inspect").pop().expect("it is held");
    assert_eq!((status.fence, status.holders.len()), (first.fence, 1));
    assert!(free(&b, &lease).await);
    assert!(grant(&a, &claim("x")).await.fence > first.fence);
}

pub async fn a_client_adopts_what_it_has_given_itself(on: On) {
    let client = on.client().await;
    let first = grant(&client, &claim("x")).await;
    let ticket = given(&client, &first).await;
    let lease = adopted(&client, &ticket).await.expect("the ticket is good");
    assert_eq!(renewed(&client, &lease).await, Renewal::Kept);
    // And once more.
    let ticket = given(&client, &lease).await;
    let lease = adopted(&client, &ticket).await.expect("the ticket is good");
    assert!(free(&client, &lease).await);
    assert!(grant(&client, &claim("x")).await.fence > first.fence);
}

pub async fn who_has_handed_a_lease_on_can_do_nothing_with_it(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let once = claim("x");
    let first = grant(&a, &once).await;
    let ticket = given(&a, &first).await;
    for adopts in [false, true] {
        if adopts {
            adopted(&b, &ticket).await.expect("the ticket is good");
            assert_eq!(renewed(&a, &ticket).await, Renewal::Gone);
            assert!(!free(&a, &ticket).await, "the ticket is used");
        }
        // Before it is given back, by which it would be retired, too.
        assert_eq!(ask(&a, &once).await, Answer::Retired);
        assert_eq!(renewed(&a, &first).await, Renewal::Gone);
        assert!(!free(&a, &first).await);
        busy(&b, &try_only("x")).await;
    }
}

pub async fn a_ticket_is_adopted_once(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let first = grant(&a, &claim("x")).await;
    let ticket = given(&a, &first).await;
    let lease = adopted(&b, &ticket).await.expect("the ticket is good");
    assert_eq!(adopted(&a, &ticket).await, None);
    assert_eq!(adopted(&b, &ticket).await, None);
    assert_eq!(renewed(&b, &lease).await, Renewal::Kept);
    assert!(free(&b, &lease).await);
    assert_eq!(adopted(&a, &ticket).await, None);
    grant(&a, &claim("x")).await;
}

pub async fn a_repeated_transfer_answers_the_same_and_restarts_the_ttl(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let first = grant(&a, &claim("x")).await;
    let ticket = claim("x");
    for _ in 0..3 {
        let given = handed(&a, &first, &ticket, Heir::Ticket).await;
        assert_eq!(given, Some(held(&ticket, first.fence)));
    }
    let (ticket, to) = (held(&ticket, first.fence), claim("x"));
    for _ in 0..3 {
        on.pass(SHORT).await;
        let lease = handed(&b, &ticket, &to, Heir::Client).await;
        assert_eq!(lease, Some(held(&to, first.fence)));
    }
    let lease = held(&to, first.fence);
    assert_eq!(renewed(&b, &lease).await, Renewal::Kept);
    assert!(free(&b, &lease).await);
    assert_eq!(handed(&b, &ticket, &to, Heir::Client).await, None, "it is over");
    grant(&a, &claim("x")).await;
}

pub async fn a_ticket_that_nobody_adopts_in_time_is_good_for_nothing(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let first = grant(&a, &claim("x")).await;
    let ticket = Claim { ttl: SHORT, ..claim("x") };
    let ticket = handed(&a, &first, &ticket, Heir::Ticket).await.expect("it is held");
    on.pass(AFTER_SHORT).await;
    assert_eq!(adopted(&b, &ticket).await, None);
    assert!(grant(&b, &claim("x")).await.fence > first.fence);
    assert_eq!(adopted(&b, &ticket).await, None);
    assert_eq!(renewed(&a, &first).await, Renewal::Gone);
}

pub async fn what_is_not_held_is_not_handed_on(on: On) {
    let client = on.client().await;
    let lease = grant(&client, &claim("x")).await;
    let stranger = held(&claim("x"), lease.fence);
    assert_eq!(handed(&client, &stranger, &claim("x"), Heir::Ticket).await, None);
    assert_eq!(adopted(&client, &stranger).await, None);
    assert_eq!(renewed(&client, &lease).await, Renewal::Kept);
    assert!(free(&client, &lease).await);
    assert_eq!(handed(&client, &lease, &claim("x"), Heir::Ticket).await, None);
    assert_eq!(handed(&client, &stranger, &claim("x"), Heir::Ticket).await, None);
    grant(&client, &claim("x")).await;
}

pub async fn a_transfer_after_its_withdraw_changes_nothing(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let lease = grant(&a, &claim("x")).await;
    let ticket = claim("x");
    a.withdraw(&ticket).await.expect("withdraw");
    assert_eq!(handed(&a, &lease, &ticket, Heir::Ticket).await, None);
    assert_eq!(renewed(&a, &lease).await, Renewal::Kept);
    let (ticket, to) = (given(&a, &lease).await, claim("x"));
    b.withdraw(&to).await.expect("withdraw");
    assert_eq!(handed(&b, &ticket, &to, Heir::Client).await, None);
    busy(&b, &try_only("x")).await;
    assert!(adopted(&b, &ticket).await.is_some(), "the ticket is still good");
}

pub async fn a_withdraw_gives_back_what_was_handed_on(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (first, ticket) = (grant(&a, &claim("x")).await, claim("x"));
    handed(&a, &first, &ticket, Heir::Ticket).await.expect("it is held");
    a.withdraw(&ticket).await.expect("withdraw");
    let second = grant(&b, &claim("x")).await;
    let (ticket, to) = (given(&b, &second).await, claim("x"));
    handed(&a, &ticket, &to, Heir::Client).await.expect("the ticket is good");
    a.withdraw(&to).await.expect("withdraw");
    grant(&b, &claim("x")).await;
}

pub async fn who_waits_is_served_when_the_adopter_releases(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let first = grant(&a, &claim("x")).await;
    let waiting = claim("x");
    busy(&c, &waiting).await;
    let ticket = given(&a, &first).await;
    busy(&c, &waiting).await;
    let lease = adopted(&b, &ticket).await.expect("the ticket is good");
    busy(&c, &waiting).await;
    assert!(free(&b, &lease).await);
    woken(&c, "x").await;
    assert!(grant(&c, &waiting).await.fence > first.fence);
}

pub async fn an_eviction_takes_the_lock_from_a_ticket(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let first = grant(&a, &claim("x")).await;
    let ticket = given(&a, &first).await;
    assert!(b.evict(&first.name).await.expect("evict"));
    assert_eq!(adopted(&b, &ticket).await, None);
    assert!(grant(&b, &claim("x")).await.fence > first.fence);
}

/// Where leases that share a lock are handed on.
pub async fn who_shares_hands_on_its_turn_and_its_slot(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    if a.tickets(LONG).is_err() {
        return;
    }
    let shared = |lock: &str, mode| Claim { mode, ..claim(lock) };
    let first = grant(&a, &shared("x", Mode::Shared)).await;
    let other = grant(&b, &shared("x", Mode::Shared)).await;
    let ticket = given(&a, &first).await;
    assert_eq!(renewed(&a, &first).await, Renewal::Gone);
    let lease = adopted(&b, &ticket).await.expect("the ticket is good");
    assert_eq!(adopted(&b, &ticket).await, None);
    assert!(free(&b, &other).await && !free(&a, &first).await && !free(&a, &ticket).await);
    busy(&a, &try_only("x")).await;
    assert_eq!(renewed(&b, &lease).await, Renewal::Kept);
    assert_eq!(grant(&a, &shared("x", Mode::Shared)).await.fence, first.fence, "the same turn");

    let permits = Mode::Counted { permits: 2 };
    let leases = [grant(&a, &shared("y", permits)).await, grant(&a, &shared("y", permits)).await];
    let ticket = given(&a, &leases[0]).await;
    busy(&b, &Claim { place: None, ..shared("y", permits) }).await;
    let lease = adopted(&b, &ticket).await.expect("the ticket is good");
    busy(&b, &Claim { place: None, ..shared("y", permits) }).await;
    let status = b.inspect(Some(&name("y"))).await.expect("inspect").pop().expect("it is held");
    let mut slots: Vec<u32> = status.holders.iter().map(|holder| holder.slot).collect();
    slots.sort_unstable();
    assert_eq!(slots, [0, 1]);
    assert!(free(&b, &lease).await);
    let next = ask(&b, &shared("y", permits)).await;
    assert!(matches!(next, Answer::Granted { slot: 0, .. }), "{next:?}");
}
