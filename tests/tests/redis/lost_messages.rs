//! Requests that come late or twice, replies and messages that never come.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::place::records::{is_idle, records};
use crate::place::requests::{Command, is_claim, is_release, is_renewal, is_withdrawal};
use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::backend::{Answer, Backend, Claim, Mode, Redis};
use leasehold::runtime::ThreadRuntime;
use leasehold::{Client, Kind, LockName, Loss, Owner};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::proxy::{Fault, Gate, Proxy};
use leasehold_tests::resp::Reply;

/// A place, a proxy before its server, and a client behind that whose scripts
/// the server knows.
fn behind_a_proxy() -> (Place, Proxy, Client) {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let client = place.client_of(&proxy.url());
    place.warm_up(&client);
    (place, proxy, client)
}

/// The client has done what it has to do, and the server as well.
#[track_caller]
fn settle(place: &Place, client: &Client, proxy: &Proxy) {
    let settled = until(LIMIT, || {
        let before = proxy.commands();
        place.wait(client.status("nothing")).ok()?;
        place.pass(SECOND / 10);
        (proxy.commands() == before + 1).then_some(())
    });
    settled.expect("quiet");
}

#[track_caller]
fn assert_idle(place: &Place) {
    assert!(is_idle(&place.server), "{:#?}", records(&place.server));
}

#[test]
fn a_claim_that_comes_after_its_withdrawal_is_refused() {
    let (place, proxy, client) = behind_a_proxy();
    let gate = Gate::new();
    let late = proxy.next(is_claim, Fault::Late(gate.clone()));
    let error = place.wait(client.lock("x").ttl(LONG).try_acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    late.wait();
    settle(&place, &client, &proxy);
    assert!(!gate.is_executed());
    gate.open();
    gate.wait_executed();
    assert_idle(&place);
    // The name is not refused, only that attempt.
    drop(place.hold(&client, "x"));
}

/// Polled once, it has no answer.
fn is_waiting<T>(asking: &mut (impl Future<Output = T> + Unpin)) -> bool {
    Pin::new(asking).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn a_claim_that_is_asked_again_after_its_withdrawal_is_not_sent() {
    let (place, proxy, _) = behind_a_proxy();
    let runtime = ThreadRuntime::start().expect("a thread");
    let redis = place.wait(Redis::connect(&proxy.url(), runtime)).expect("connected");
    let before = proxy.connections();
    proxy.refuse(true);
    proxy.cut();
    let claim = Claim {
        name: LockName::new("x").expect("a name"),
        owner: Owner::from_bits(1),
        ttl: LONG,
        delay: Duration::ZERO,
        mode: Mode::Exclusive,
        label: "test".into(),
        place: None,
        renewed: true,
    };
    until(LIMIT, || (proxy.connections() > before).then_some(())).expect("it connects again");
    // It waits for a connection, and is not polled again before it is withdrawn.
    let mut asking = redis.claim(&claim);
    assert!(is_waiting(&mut asking));
    proxy.refuse(false);
    until(LIMIT, || place.wait(redis.withdraw(&claim)).ok()).expect("connected again");
    assert_eq!(place.wait(asking).expect("an answer"), Answer::Retired);
    assert_idle(&place);
}

#[test]
fn a_claim_that_comes_after_the_release_of_its_retry_is_refused() {
    let (place, proxy, client) = behind_a_proxy();
    let other = place.client();
    for wait in [false, true] {
        let busy = wait.then(|| place.hold(&other, "x"));
        let gate = Gate::new();
        let late = proxy.next(is_claim, Fault::Late(gate.clone()));
        let waiter = place.queue(client.lock("x").ttl(LONG));
        late.wait();
        if let Some(busy) = busy {
            until(LIMIT, || (place.line("x") == 1).then_some(())).expect("asked again");
            place.wait(busy.release()).unwrap();
        }
        let (lease, _) = place.granted(waiter);
        place.wait(lease.release()).unwrap();
        settle(&place, &client, &proxy);
        assert_idle(&place);
        gate.open();
        gate.wait_executed();
        assert_idle(&place);
    }
}

#[test]
fn a_claim_that_comes_after_two_connections_and_its_withdrawal_is_refused() {
    let (place, proxy, client) = behind_a_proxy();
    let other = place.client();
    let busy = place.hold(&other, "x");
    let gate = Gate::new();
    let late = proxy.next(is_claim, Fault::Late(gate.clone()));
    let waiter = place.queue(client.lock("x").ttl(LONG));
    late.wait();
    // Asked again over the second connection, and not answered there either.
    proxy.delay_replies(SECOND / 2);
    let again = proxy.next(is_claim, Fault::Delay(Duration::ZERO));
    again.wait();
    waiter.abort();
    let left = until(LIMIT, || (place.line("x") == 0).then_some(()));
    left.expect("withdrawn");
    proxy.delay_replies(Duration::ZERO);
    settle(&place, &client, &proxy);
    place.wait(busy.release()).unwrap();
    assert!(!gate.is_executed());
    assert_idle(&place);
    gate.open();
    gate.wait_executed();
    assert_idle(&place);
}

#[test]
fn a_claim_that_comes_while_its_retry_holds_changes_nothing() {
    let (place, proxy, client) = behind_a_proxy();
    let gate = Gate::new();
    let late = proxy.next(is_claim, Fault::Late(gate.clone()));
    let lease = place.hold(&client, "x");
    late.wait();
    gate.open();
    gate.wait_executed();
    let status = place.wait(client.status("x")).unwrap().unwrap();
    assert_eq!(status.fence, lease.fence());
    place.wait(lease.renew()).unwrap();
    place.wait(lease.release()).unwrap();
    settle(&place, &client, &proxy);
    assert_idle(&place);
}

#[test]
fn a_hand_over_that_comes_after_the_next_has_left_gives_it_nothing() {
    let (place, proxy, client) = behind_a_proxy();
    let lease = place.hold(&client, "x");
    let waiter = place.queue(client.lock("x").ttl(LONG));
    let waits = || !place.wait(client.status("x")).unwrap().unwrap().waiters.is_empty();
    until(LIMIT, || waits().then_some(())).expect("it waits");
    let gate = Gate::new();
    let late = proxy.next(is_release, Fault::Late(gate.clone()));
    // The repeated release is kept from the server for a while, as its waiter is not.
    let cuts: Vec<_> = (0..9).map(|_| proxy.next(is_release, Fault::CutBefore)).collect();
    let withdrawn = proxy.next(is_withdrawal, Fault::Delay(Duration::ZERO));
    drop(lease);
    late.wait();
    waiter.abort();
    withdrawn.wait();
    until(LIMIT, || place.wait(client.status("nothing")).ok()).expect("the server has done it");
    assert!(!cuts[8].is_done(), "the release was repeated too soon for this test");
    gate.open();
    gate.wait_executed();
    until(LIMIT, || cuts[8].is_done().then_some(())).expect("the release is repeated");
    let free = until(SECOND * 5, || is_idle(&place.server).then_some(()));
    free.unwrap_or_else(|| panic!("nobody has it: {:#?}", records(&place.server)));
}

#[test]
fn a_hand_over_that_is_repeated_for_its_script_gives_nothing_to_who_has_left() {
    let (place, proxy, client) = behind_a_proxy();
    let lease = place.hold(&client, "x");
    let waiter = place.queue(client.lock("x").ttl(LONG));
    // All scripts are forgotten, and only what withdraws is learned again.
    let other = place.client();
    let _busy = place.hold(&other, "elsewhere");
    place.server.command(&["SCRIPT", "FLUSH"]);
    place.stand_in_line(&place.client(), "elsewhere").abort();
    until(LIMIT, || (place.line("elsewhere") == 0).then_some(())).expect("withdrawn");
    proxy.delay_replies(SECOND / 5);
    let sent = proxy.next(is_release, Fault::Delay(Duration::ZERO));
    drop(lease);
    sent.wait();
    waiter.abort();
    settle(&place, &client, &proxy);
    let free = || place.server.command(&["EXISTS", "leasehold:x"]) == Reply::Int(0);
    assert!(free(), "nobody has it: {:#?}", records(&place.server));
}

#[test]
fn a_waiter_gets_the_lock_though_the_message_is_lost() {
    let (place, proxy, client) = behind_a_proxy();
    proxy.drop_pushes(true);
    let lease = place.hold(&place.client(), "x");
    let waiter = place.stand_in_line(&client, "x");
    let (next, took) = place.hand_over(lease, waiter);
    assert!(took < SECOND * 2, "{took:?}");
    place.wait(next.renew()).unwrap();
}

#[test]
fn a_holder_learns_that_it_was_evicted_though_the_message_is_lost() {
    let (place, proxy, client) = behind_a_proxy();
    let other = place.client();
    for (drop_pushes, limit) in [(false, PROMPT), (true, SECOND + SECOND / 2)] {
        proxy.drop_pushes(drop_pushes);
        let lease = place.wait(client.lock("x").ttl(SECOND * 3).acquire()).unwrap();
        assert!(place.wait(other.break_lock("x")).unwrap());
        let broken = now();
        assert_eq!(place.wait(lease.lost()), Loss::Gone);
        assert!(broken.elapsed() < limit, "{:?}", broken.elapsed());
    }
}

#[test]
fn a_request_that_comes_twice_does_no_harm() {
    let (place, proxy, client) = behind_a_proxy();
    let other = place.client();
    let twice = |matching: fn(&Command) -> bool| proxy.next(matching, Fault::Duplicate);
    let claim = twice(is_claim);
    let lease = place.hold(&client, "x");
    claim.wait();
    assert_eq!(place.wait(other.status("x")).unwrap().unwrap().fence, lease.fence());
    let renewal = twice(is_renewal);
    place.wait(lease.renew()).unwrap();
    renewal.wait();
    let waiter = place.stand_in_line(&other, "x");
    let release = twice(is_release);
    let (lease, _) = place.hand_over(lease, waiter);
    release.wait();
    assert!(place.try_hold(&client, "x").is_none(), "the second release took the next one's");
    let claim = twice(is_claim);
    let waiter = place.stand_in_line(&client, "x");
    claim.wait();
    assert_eq!(place.line("x"), 1);
    let withdrawal = twice(is_withdrawal);
    waiter.abort();
    withdrawal.wait();
    place.wait(lease.release()).unwrap();
    assert_idle(&place);
}

#[test]
fn a_request_whose_answer_is_lost_is_repeated_without_harm() {
    let (place, proxy, client) = behind_a_proxy();
    for fault in [Fault::LoseReply, Fault::CutBefore] {
        let started = now();
        let claim = proxy.next(is_claim, fault.clone());
        let lease = place.hold(&client, "x");
        claim.wait();
        assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
        let status = place.wait(place.client().status("x")).unwrap().unwrap();
        assert_eq!(status.fence, lease.fence());
        let release = proxy.next(is_release, fault);
        assert_eq!(place.wait(lease.release()).unwrap_err().kind(), Kind::Unavailable);
        release.wait();
        settle(&place, &client, &proxy);
        assert_idle(&place);
    }
}
