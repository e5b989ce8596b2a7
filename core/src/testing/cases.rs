//! The cases by name; [`conformance_tests!`](crate::conformance_tests) lists
//! them. Nothing here measures time: what must still be held has a ttl of a
//! minute, what must be over has been waited for.
#![allow(missing_docs)] // the names say it

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use super::Stage;
use crate::backend::{Answer, Backend, Claim, Held, Mode, Renewal, Wake};
use crate::name::{LockName, Owner};

type On = Arc<dyn Stage>;
type Client = Arc<dyn Backend>;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);
/// After this, something [`SHORT`] is over.
const AFTER_SHORT: Duration = Duration::from_millis(150);

fn name(name: &str) -> LockName {
    LockName::new(name).expect("a proper name")
}

/// A claim by a new owner that takes a place in the line.
fn claim(lock: &str) -> Claim {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Claim {
        name: name(lock),
        owner: Owner::from_bits(0xfeed_0000_0000_0000 << 64 | u128::from(number)),
        ttl: LONG,
        mode: Mode::Exclusive,
        label: format!("claim {number}").into(),
        place: Some(LONG),
    }
}

fn short(lock: &str) -> Claim {
    Claim { ttl: SHORT, ..claim(lock) }
}

fn try_only(lock: &str) -> Claim {
    Claim { place: None, ..claim(lock) }
}

fn held(claim: &Claim, fence: u64) -> Held {
    Held { name: claim.name.clone(), owner: claim.owner, fence, ttl: claim.ttl }
}

async fn ask(client: &Client, claim: &Claim) -> Answer {
    client.claim(claim).await.expect("claim")
}

async fn grant(client: &Client, claim: &Claim) -> Held {
    match ask(client, claim).await {
        Answer::Granted { fence } => held(claim, fence),
        other => panic!("expected a grant, got {other:?}"),
    }
}

async fn busy(client: &Client, claim: &Claim) -> (Option<Duration>, usize) {
    match ask(client, claim).await {
        Answer::Busy { free_in, ahead } => (free_in, ahead),
        other => panic!("expected busy, got {other:?}"),
    }
}

async fn free(client: &Client, held: &Held) -> bool {
    client.release(held, None).await.expect("release").held
}

async fn renewed(client: &Client, held: &Held) -> Renewal {
    client.renew(std::slice::from_ref(held)).await.expect("renew")[0]
}

/// Wait for a wake that concerns `lock`.
#[allow(clippy::disallowed_methods)] // a bound for a broken backend
async fn woken(client: &Client, lock: &str) {
    let heard = async { while !concerns(&client.wake().await, lock) {} };
    let heard = tokio::time::timeout(Duration::from_secs(20), heard).await;
    assert!(heard.is_ok(), "no wake for {lock:?} came");
}

fn concerns(wake: &Wake, lock: &str) -> bool {
    matches!(wake, Wake::All) || matches!(wake, Wake::Name(name) if name.as_str() == lock)
}

async fn has_wake_now(client: &Client) -> bool {
    let mut wake = client.wake();
    std::future::poll_fn(|cx| Poll::Ready(wake.as_mut().poll(cx).is_ready())).await
}

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

pub async fn a_second_release_says_that_nothing_was_held(on: On) {
    let client = on.client().await;
    let lease = grant(&client, &claim("x")).await;
    assert!(free(&client, &lease).await);
    let next = grant(&client, &claim("x")).await;
    assert!(!free(&client, &lease).await);
    assert_eq!(renewed(&client, &next).await, Renewal::Kept);
}

pub async fn busy_tells_when_the_lease_ends(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    grant(&a, &claim("x")).await;
    let (free_in, ahead) = busy(&b, &claim("x")).await;
    assert_eq!(ahead, 0);
    assert!(free_in.is_none_or(|left| left <= LONG), "{free_in:?} is more than the ttl");
    let (_, ahead) = busy(&b, &claim("x")).await;
    assert_eq!(ahead, 1, "one waits already");
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

pub async fn a_release_wakes_the_first_of_the_line_only(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let holder = grant(&a, &claim("x")).await;
    let (first, second) = (claim("x"), claim("x"));
    busy(&b, &first).await;
    busy(&c, &second).await;
    assert!(free(&a, &holder).await);
    woken(&b, "x").await;
    assert!(!has_wake_now(&c).await, "the second was woken too");
    let lease = grant(&b, &first).await;
    assert!(free(&b, &lease).await);
    woken(&c, "x").await;
    grant(&c, &second).await;
}

pub async fn a_woken_waiter_that_leaves_wakes_the_next(on: On) {
    let (a, b, c) = (on.client().await, on.client().await, on.client().await);
    let holder = grant(&a, &claim("x")).await;
    let (first, second) = (claim("x"), claim("x"));
    busy(&b, &first).await;
    busy(&c, &second).await;
    assert!(free(&a, &holder).await);
    b.withdraw(&first).await.expect("withdraw");
    woken(&c, "x").await;
    grant(&c, &second).await;
}

pub async fn a_release_hands_the_lock_over_in_the_same_request(on: On) {
    let (a, b) = (on.client().await, on.client().await);
    let holder = grant(&a, &claim("x")).await;
    let (local, remote) = (claim("x"), claim("x"));
    busy(&b, &remote).await;
    busy(&a, &local).await;
    let released = a.release(&holder, Some(&local)).await.expect("release");
    assert!(released.held);
    let Some(Answer::Granted { fence }) = released.next else { panic!("{released:?}") };
    assert!(fence > holder.fence);
    assert_eq!(released.others, 1, "the remote waiter, and not the one that was served");
    assert_eq!(ask(&a, &local).await, Answer::Granted { fence });
    busy(&b, &remote).await;
    assert!(free(&a, &held(&local, fence)).await);
    grant(&b, &remote).await;
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
    assert!(matches!(released.next, Some(Answer::Busy { .. })), "{released:?}");
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
    let shown = status.holder.as_ref().expect("a holder");
    assert_eq!(shown.label, holder.label);
    assert!(shown.free_in <= LONG && shown.held_for < LONG, "{shown:?}");
    b.withdraw(&waiter).await.expect("withdraw");
    assert!(free(&a, &lease).await);
    assert!(a.inspect(Some(&lease.name)).await.expect("inspect").is_empty());
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
