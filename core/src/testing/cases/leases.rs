//! Who holds, for how long, and with which fence.

use std::time::Duration;

use super::{
    AFTER_SHORT, Client, LONG, On, SHORT, ask, busy, claim, free, grant, held, name, renewed,
    short, try_only,
};
use crate::backend::{Answer, Claim, Held, Renewal};
use crate::name::LockName;

pub async fn a_held_lock_is_busy_until_it_is_released(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let first = grant(&a, &claim("x")).await;
    let second = claim("x");
    busy(&b, &second).await;
    busy(&a, &try_only("x")).await;
    assert!(free(&a, &first).await);
    assert!(grant(&b, &second).await.fence > first.fence);
}

pub async fn an_expired_lease_is_granted_anew_with_a_larger_fence(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let first = grant(&a, &short("x")).await;
    on.pass(AFTER_SHORT).await;
    let second = grant(&b, &claim("x")).await;
    assert!(second.fence > first.fence);
    assert_eq!(renewed(&a, &first).await, Renewal::Gone);
    assert!(!free(&a, &first).await, "its time was over");
    busy(&a, &try_only("x")).await;
}

pub async fn fences_rise_over_every_kind_of_end(on: On) {
    let client = on.client().await;
    let mut last = 0;
    for round in 0..1000 {
        let lease = grant(&client, &if round % 100 == 99 { short("x") } else { claim("x") }).await;
        assert!(lease.fence > last, "fence {} after {last} in round {round}", lease.fence);
        last = lease.fence;
        match round % 100 {
            99 => on.pass(AFTER_SHORT).await,
            50 => assert!(client.evict(&lease.name).await.expect("evict")),
            51 => client
                .withdraw(&Claim { owner: lease.owner, ..claim("x") })
                .await
                .expect("withdraw"),
            _ => assert!(free(&client, &lease).await),
        }
    }
}

pub async fn only_one_of_many_simultaneous_claims_is_granted(on: On) {
    let mut fences = Vec::new();
    for round in 0..10 {
        let lock = format!("x{round}");
        let mut claims = Vec::new();
        for _ in 0..8 {
            let (client, claim) = (on.client().await, try_only(&lock));
            let run = move || {
                let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
                built.expect("a Tokio runtime can be built").block_on(ask(&client, &claim))
            };
            claims.push(std::thread::spawn(run));
        }
        let answers = claims.into_iter().map(|thread| thread.join().expect("a claim"));
        let granted = answers.filter(|answer| matches!(answer, Answer::Granted { .. }));
        fences.push(granted.count());
    }
    assert_eq!(fences, [1; 10]);
}

pub async fn names_do_not_disturb_each_other(on: On) {
    let client = on.client().await;
    let first = grant(&client, &claim("x")).await;
    let other = grant(&client, &claim("X")).await;
    grant(&client, &claim("x ")).await;
    assert!(free(&client, &first).await);
    assert_eq!(renewed(&client, &other).await, Renewal::Kept);
    busy(&client, &try_only("X")).await;
}

pub async fn a_repeated_claim_answers_the_same_fence_and_restarts_the_ttl(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let once = claim("x");
    let first = grant(&a, &Claim { ttl: SHORT, ..once.clone() }).await;
    // The second may come too late for the first; then it is a new grant.
    let again = grant(&a, &once).await;
    let (free_in, _) = busy(&b, &try_only("x")).await;
    assert!(free_in.is_none_or(|left| left > LONG / 2), "the ttl did not restart: {free_in:?}");
    let third = grant(&a, &once).await;
    assert_eq!(third.fence, again.fence);
    assert!(again.fence >= first.fence);
}

pub async fn a_claim_after_its_release_is_retired(on: On) {
    let client = on.client().await;
    let late = claim("x");
    let lease = grant(&client, &late).await;
    assert!(free(&client, &lease).await);
    assert_eq!(ask(&client, &late).await, Answer::Retired);
    let other = grant(&client, &claim("x")).await;
    assert!(free(&client, &other).await);
    assert_eq!(ask(&client, &late).await, Answer::Retired, "after another holder");
    grant(&client, &claim("x")).await;
}

pub async fn a_claim_after_its_withdraw_is_retired(on: On) {
    let client = on.client().await;
    let late = claim("x");
    client.withdraw(&late).await.expect("withdraw");
    assert_eq!(ask(&client, &late).await, Answer::Retired);
    client.withdraw(&late).await.expect("withdraw again");
    grant(&client, &claim("x")).await;
}

pub async fn a_withdraw_gives_back_what_was_granted(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let unseen = claim("x");
    let lease = grant(&a, &unseen).await;
    a.withdraw(&unseen).await.expect("withdraw");
    assert_eq!(renewed(&a, &lease).await, Renewal::Gone);
    assert!(grant(&b, &claim("x")).await.fence > lease.fence);
}

pub async fn a_stranger_can_neither_renew_nor_release(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let lease = grant(&a, &claim("x")).await;
    let stranger = held(&claim("x"), lease.fence);
    assert_eq!(renewed(&b, &stranger).await, Renewal::Gone);
    assert!(!free(&b, &stranger).await);
    b.withdraw(&claim("x")).await.expect("withdraw");
    assert_eq!(renewed(&a, &lease).await, Renewal::Kept);
    busy(&b, &try_only("x")).await;
}

pub async fn a_renewal_never_takes_a_lock_again(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let expired = grant(&a, &short("x")).await;
    on.pass(AFTER_SHORT).await;
    assert_eq!(renewed(&a, &expired).await, Renewal::Gone);
    let released = grant(&a, &claim("x")).await;
    assert!(free(&a, &released).await);
    assert_eq!(renewed(&a, &released).await, Renewal::Gone);
    grant(&b, &claim("x")).await;
}

pub async fn renewals_are_answered_one_by_one_in_order(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let (mut leases, mut expected) = (Vec::new(), Vec::new());
    for number in 0..50 {
        let lease = grant(&a, &claim(&format!("x{number}"))).await;
        let gone = number % 7 == 3;
        if gone {
            free(&a, &lease).await;
        }
        leases.push(lease);
        expected.push(if gone { Renewal::Gone } else { Renewal::Kept });
    }
    let answers = a.renew(&leases).await.expect("renew");
    assert_eq!(answers, expected);
    for (lease, answer) in leases.iter().zip(&answers) {
        let now = ask(&b, &try_only(lease.name.as_str())).await;
        assert_eq!(matches!(now, Answer::Busy { .. }), *answer == Renewal::Kept, "{}", lease.name);
    }
    assert!(a.renew(&[]).await.expect("renew nothing").is_empty());
}

pub async fn a_holder_shows_another_label_and_nobody_else_can(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let claim_of_a = Claim { label: "a:1 before".into(), ..claim("x") };
    let lease = grant(&a, &claim_of_a).await;
    assert!(shows(&a, &lease, "a:1 , held since then (now)").await);
    assert_eq!(shown(&b, "x").await, ", held since then (now)");
    assert_eq!(renewed(&a, &lease).await, Renewal::Kept);
    // A claim that comes once more does not put the old one back.
    assert_eq!(grant(&a, &claim_of_a).await.fence, lease.fence);
    assert_eq!(shown(&b, "x").await, ", held since then (now)");
    let waiter = Claim { label: "b:1 waits".into(), ..claim("x") };
    busy(&b, &waiter).await;
    for stranger in [&claim("x"), &waiter] {
        assert!(!shows(&b, &held(stranger, lease.fence), "b:1 stranger").await);
    }
    assert_eq!(shown(&a, "x").await, ", held since then (now)");
    assert!(free(&a, &lease).await);
    let next = grant(&b, &waiter).await;
    assert!(!shows(&a, &lease, "a:1 former").await);
    assert_eq!(shown(&a, "x").await, "waits");
    assert!(free(&b, &next).await);
    let expired = grant(&a, &short("x")).await;
    on.pass(AFTER_SHORT).await;
    assert!(!shows(&a, &expired, "a:1 expired").await);
    assert!(a.inspect(Some(&expired.name)).await.expect("inspect").is_empty());
}

async fn shows(client: &Client, held: &Held, label: &str) -> bool {
    client.relabel(held, &label.into()).await.expect("an answer")
}

async fn shown(client: &Client, lock: &str) -> String {
    let found = client.inspect(Some(&name(lock))).await.expect("inspect");
    found[0].holder().expect("a holder").text().to_owned()
}

pub async fn a_second_release_says_that_nothing_was_held(on: On) {
    let client = on.client().await;
    let lease = grant(&client, &claim("x")).await;
    assert!(free(&client, &lease).await);
    let next = grant(&client, &claim("x")).await;
    assert!(!free(&client, &lease).await);
    assert_eq!(renewed(&client, &next).await, Renewal::Kept);
}

pub async fn odd_names_are_locks_like_any_other(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let longest = "é".repeat(LockName::MAX_BYTES / 2);
    let odd =
        [" ", "..", "/", "a/b", "{a}b", "'; --", "%00", "a\nb", "\u{feff}", "🔒", "*", &longest];
    for lock in odd {
        let lease = grant(&a, &claim(lock)).await;
        busy(&b, &try_only(lock)).await;
        let shown = b.inspect(Some(&lease.name)).await.expect("inspect");
        assert_eq!(shown[0].name.as_str(), lock);
        assert!(free(&a, &lease).await);
    }
}

pub async fn the_shortest_and_the_longest_ttl_are_kept(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let day = Duration::from_secs(24 * 60 * 60);
    grant(&a, &Claim { ttl: day, ..claim("long") }).await;
    grant(&a, &short("short")).await;
    on.pass(AFTER_SHORT).await;
    busy(&b, &try_only("long")).await;
    grant(&b, &try_only("short")).await;
}
