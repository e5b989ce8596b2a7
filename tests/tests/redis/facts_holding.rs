//! What other libraries get wrong about a lock that is held, on a real server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::place::records::records;
use crate::place::requests::{is_release, is_renewal};
use crate::place::{LONG, Place, SECOND};
use leasehold::{Kind, Lease, Loss};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::processes::Process;
use leasehold_tests::proxy::{Fault, Gate, Proxy};
use leasehold_tests::resp::Reply;
use rustix::process::Signal;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// Who holds the lock of this name, as the server knows it.
fn holder(place: &Place, name: &str) -> Option<String> {
    let reply = place.server.command(&["GET", &format!("leasehold:{name}")]);
    reply.as_str().map(str::to_owned)
}

#[test]
fn a_task_that_overran_its_lease_does_not_release_the_next_of_the_same_lock() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let client = place.client_of(&proxy.url());
    place.warm_up(&client);
    let lock = client.lock("x").ttl(SECOND / 2).auto_renew(false);
    let late = place.wait(lock.acquire()).unwrap();
    let lost = place.wait(late.lost());
    assert_eq!(lost, Loss::Expired);
    let next = place.wait(lock.clone().ttl(LONG).acquire()).unwrap();
    let owner = holder(&place, "x");
    assert_eq!(place.wait(late.release()).unwrap_err().kind(), Kind::Lost);
    drop(late);
    place.wait(next.renew()).unwrap();
    assert_eq!(holder(&place, "x"), owner);

    // The same where the release was on its way all the time.
    let late = place.wait(client.lock("y").ttl(SECOND / 2).auto_renew(false).acquire()).unwrap();
    let gate = Gate::new();
    let sent = proxy.next(is_release, Fault::Late(gate.clone()));
    drop(late);
    sent.wait();
    let other = place.client();
    let next_of_y = place.hold(&other, "y");
    gate.open();
    gate.wait_executed();
    let owner_of_y = holder(&place, "y");
    place.wait(next_of_y.renew()).unwrap();
    assert_eq!(holder(&place, "y"), owner_of_y);
    assert!(next.is_valid() && next_of_y.is_valid());
    place.wait(next.release()).unwrap();
    place.wait(next_of_y.release()).unwrap();
}

#[test]
fn work_is_cancelled_within_a_renewal_interval_after_its_key_was_stolen_or_deleted() {
    let place = Place::new();
    let client = place.client();
    let ttl = SECOND * 3;
    let (deleted, stolen) = ("leasehold:deleted", "leasehold:stolen");
    let works = ["deleted", "stolen", "of another kind"].map(|name| {
        let lock = client.lock(name).ttl(ttl);
        place.spawn(async move {
            let work = lock.run(async |_| std::future::pending::<()>().await).await;
            (work, now())
        })
    });
    let held = || records(&place.server).iter().filter(|record| record.is_in_use()).count() == 3;
    until(LIMIT, || held().then_some(())).unwrap();
    let started = now();
    place.server.command(&["DEL", deleted]);
    place.server.command(&["SET", stolen, "somebody else", "PX", "60000"]);
    place.server.command(&["DEL", "leasehold:of another kind"]);
    place.server.command(&["RPUSH", "leasehold:of another kind", "a list"]);
    for work in works {
        let (result, at) = place.wait(work).unwrap();
        result.unwrap_err();
        let took = at - started;
        assert!(took < ttl / 3 + SECOND / 2, "cancelled only after {took:?}");
    }
    assert_eq!(place.server.command(&["EXISTS", deleted]), Reply::Int(0), "taken again");
    assert_eq!(place.server.command(&["GET", stolen]), Reply::text("somebody else"));
}

/// A release of a lost lease has nothing to say that matters more.
#[test]
fn work_under_a_lost_lease_ends_as_lost_whatever_its_release_comes_to() {
    let place = Place::new();
    let client = place.client();
    let lock = client.lock("x").ttl(SECOND);
    let lost = lock.run(async |_| {
        place.server.kill();
        std::future::pending::<()>().await;
    });
    let error = place.wait(lost).unwrap_err();
    assert_eq!(error.kind(), Kind::Lost, "{error}");
}

#[test]
fn a_lease_whose_key_is_no_lock_any_more_does_not_keep_others_from_their_renewal() {
    let place = Place::new();
    let client = place.client();
    let hold = |name| place.wait(client.lock(name).ttl(SECOND).acquire()).unwrap();
    let leases = ["a", "b", "c"].map(hold);
    place.server.command(&["DEL", "leasehold:b"]);
    place.server.command(&["RPUSH", "leasehold:b", "a list"]);
    assert_eq!(place.wait(leases[1].lost()), Loss::Gone);
    place.pass(SECOND * 2);
    assert!(leases[0].is_valid() && leases[2].is_valid(), "{leases:?}");
}

#[test]
#[allow(clippy::disallowed_methods)] // blocks on purpose
fn a_thread_blocked_for_three_ttls_keeps_its_lock_up_to_max_hold() {
    let place = Place::new();
    let ttl = SECOND / 2;
    let is_done = AtomicBool::new(false);
    let alone = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let others = || {
        let client = place.client();
        let mut overtaken = None;
        while !is_done.load(Ordering::SeqCst) {
            assert!(place.try_hold(&client, "kept").is_none(), "two hold the lock");
            // Kept for good by its second holder.
            overtaken = overtaken.or_else(|| place.try_hold(&client, "bounded"));
        }
        overtaken.map(|lease| lease.fence())
    };
    alone.block_on(async {
        let client = leasehold::connect(&place.server.url()).await.unwrap();
        let kept = client.lock("kept").ttl(ttl).acquire().await.unwrap();
        let bounded = client.lock("bounded").ttl(ttl).max_hold(ttl).acquire().await.unwrap();
        let fence = kept.fence();
        std::thread::scope(|scope| {
            let others = scope.spawn(others);
            std::thread::sleep(ttl * 3);
            assert!(kept.is_valid(), "{:?}", kept.loss());
            assert!(!bounded.is_valid());
            is_done.store(true, Ordering::SeqCst);
            let overtaken = others.join().unwrap();
            assert!(overtaken.unwrap() > bounded.fence());
        });
        assert_eq!((kept.fence(), bounded.lost().await), (fence, Loss::MaxHold));
        kept.release().await.unwrap();
        assert_eq!(bounded.release().await.unwrap_err().kind(), Kind::Lost);
    });
}

#[test]
fn who_waited_for_a_lock_holds_it_for_all_of_max_hold() {
    let place = Place::new();
    let (holder, client) = (place.client(), place.client());
    let lease = place.hold(&holder, "x");
    let waiter = place.queue(client.lock("x").ttl(LONG).max_hold(SECOND));
    until(LIMIT, || (place.line("x") == 1).then_some(())).unwrap();
    // Just before it looks again by itself.
    place.pass(SECOND / 2);
    let (lease, _) = place.hand_over(lease, waiter);
    let granted = now();
    assert_eq!(place.wait(lease.lost()), Loss::MaxHold);
    // It is told a tenth before the end.
    assert!(granted.elapsed() > SECOND * 8 / 10, "{:?}", granted.elapsed());
}

#[test]
fn a_process_stopped_past_its_ttl_knows_it_when_it_goes_on() {
    let place = Place::new();
    let mut holder = Process::start(WORKER, &["hold", &place.server.url(), "1000"]);
    assert!(holder.line().starts_with("held "));
    assert_eq!(holder.ask("valid"), "true");
    holder.stop();
    let client = place.client();
    let next = place.wait(client.lock("register").ttl(LONG).acquire()).unwrap();
    // It is the first thing that the process sees.
    holder.tell("valid");
    let resumed = now();
    holder.signal(Signal::CONT);
    assert_eq!(holder.line(), "false");
    let lost = holder.ask("lost");
    let took = resumed.elapsed();
    assert!(took < SECOND / 2, "told after {took:?}");
    assert!(lost == "Expired" || lost == "Gone", "{lost}");
    assert_eq!(holder.ask("release"), r#"Err("lost")"#);
    place.wait(next.renew()).unwrap();
}

#[test]
fn nothing_is_renewed_after_a_release_though_replies_to_renewals_were_lost() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let client = place.client_of(&proxy.url());
    // Three connections are lost and made in less than that.
    let ttl = 3 * SECOND;
    let lease = place.wait(client.lock("x").ttl(ttl).acquire()).unwrap();
    for _ in 0..3 {
        proxy.next(is_renewal, Fault::LoseReply).wait();
    }
    // By hand it is tried once, and the connection may just be gone.
    until(LIMIT, || place.wait(lease.renew()).ok()).expect("connected again");
    // Released while the reply to another is on its way.
    proxy.delay_replies(SECOND / 10);
    let sent = proxy.next(is_renewal, Fault::Delay(Duration::ZERO));
    let renewing = place.spawn(async move { lease.renew().await.map(|()| lease) });
    sent.wait();
    renewing.abort();
    let free = || holder(&place, "x").is_none().then_some(());
    until(LIMIT, free).expect("released by its drop");
    let next = place.hold(&place.client(), "x");
    let owner = holder(&place, "x");
    let quiet = || {
        let before = proxy.commands();
        place.pass(SECOND / 5);
        (proxy.commands() == before).then_some(before)
    };
    let before = until(LIMIT, quiet).expect("nothing left to do");
    place.pass(ttl * 2);
    assert_eq!(proxy.commands(), before, "somebody is still at it");
    assert!(next.is_valid());
    assert_eq!(holder(&place, "x"), owner);
    place.wait(next.release()).unwrap();
}

#[test]
fn a_renewal_never_takes_a_lock_again() {
    let place = Place::new();
    let client = place.client();
    let by_hand = place.wait(client.lock("by hand").auto_renew(false).acquire()).unwrap();
    let by_itself = place.wait(client.lock("by itself").ttl(SECOND).acquire()).unwrap();
    place.server.command(&["DEL", "leasehold:by hand", "leasehold:by itself"]);
    let error = place.wait(by_hand.renew()).unwrap_err();
    assert_eq!(error.kind(), Kind::Lost, "{error}");
    assert_eq!(place.wait(by_itself.lost()), Loss::Gone);
    assert_eq!(place.wait(by_hand.renew()).unwrap_err().kind(), Kind::Lost);
    assert_eq!((holder(&place, "by hand"), holder(&place, "by itself")), (None, None));
    let losses = [by_hand, by_itself].map(|lease| (lease.loss(), lease.is_valid()));
    assert_eq!(losses, [(Some(Loss::Gone), false); 2]);
}

/// What is left of a lease can be no more than what the server leaves to it.
fn is_cautious(place: &Place, lease: &Lease) -> bool {
    let left = lease.remaining();
    let key = format!("leasehold:{}", lease.name());
    let lives = place.server.command(&["PTTL", &key]).as_int().unwrap();
    left < Duration::from_millis(u64::try_from(lives).unwrap_or(0) + 1) + SECOND / 1000
}

#[test]
fn a_deadline_counts_from_the_request_and_a_reply_after_it_is_a_loss() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let client = place.client_of(&proxy.url());
    place.warm_up(&client);
    let delay = SECOND * 7 / 10;
    proxy.delay_replies(delay);
    let ttl = SECOND * 4;
    let lease = place.wait(client.lock("x").ttl(ttl).auto_renew(false).acquire()).unwrap();
    let left = lease.remaining();
    assert!(left < ttl - delay, "{left:?} from the reply on");
    place.wait(lease.renew()).unwrap();
    let left = lease.remaining();
    assert!(left < ttl - delay, "{left:?} from the reply on");
    assert!(is_cautious(&place, &lease));

    // The server says yes to this one while the lease lasts, and is heard after.
    proxy.delay_replies(Duration::ZERO);
    until(LIMIT, || (lease.remaining() < SECOND * 6 / 10).then_some(())).unwrap();
    proxy.stall_downstream(true);
    let deadline = now() + lease.remaining();
    let lease = std::sync::Arc::new(lease);
    let renewing = place.spawn({
        let lease = lease.clone();
        async move { lease.renew().await }
    });
    let lives = || place.server.command(&["PTTL", "leasehold:x"]).as_int();
    let renewed = until(LIMIT, || lives().filter(|millis| *millis > 2000));
    assert!(renewed.is_some() && now() < deadline, "it was renewed at the server");
    until(LIMIT, || (now() > deadline).then_some(())).unwrap();
    proxy.stall_downstream(false);
    assert_eq!(place.wait(renewing).unwrap().unwrap_err().kind(), Kind::Lost);
    assert_eq!((lease.is_valid(), lease.loss()), (false, Some(Loss::Expired)));
    assert_eq!(place.wait(lease.release()).unwrap_err().kind(), Kind::Lost);
    // What expired is given back, so that nothing keeps it from others.
    assert!(until(LIMIT, || holder(&place, "x").is_none().then_some(())).is_some());
}

#[test]
fn the_server_has_a_lease_for_its_delay_too_and_for_the_ttl_that_it_was_renewed_by() {
    let place = Place::new();
    let client = place.client();
    let left = |name: &str| {
        let reply = place.server.command(&["PTTL", &format!("leasehold:{name}")]);
        Duration::from_millis(reply.as_int().and_then(|left| left.try_into().ok()).unwrap())
    };
    let near = |left: Duration, ttl: Duration| left > ttl - 3 * SECOND && left <= ttl;
    let lock = client.lock("x").ttl(10 * SECOND).delay(50 * SECOND).auto_renew(false);
    let lease = place.wait(lock.acquire()).unwrap();
    assert!(near(left("x"), 60 * SECOND) && near(lease.remaining(), 10 * SECOND));
    place.wait(lease.renew_for(100 * SECOND)).unwrap();
    assert!(near(left("x"), 150 * SECOND) && near(lease.remaining(), 100 * SECOND));
    place.wait(lease.renew_for(4 * SECOND)).unwrap();
    assert!(near(left("x"), 54 * SECOND) && near(lease.remaining(), 4 * SECOND));
    place.wait(lease.release()).unwrap();
    assert_eq!(holder(&place, "x"), None);

    // Who waits has the delay too when it is handed on.
    let first = place.hold(&client, "x");
    let other = place.client();
    let waiter = place.queue(other.lock("x").ttl(10 * SECOND).delay(50 * SECOND));
    place.until_in_line("x", 1);
    let (next, _) = place.hand_over(first, waiter);
    assert!(near(left("x"), 60 * SECOND) && near(next.remaining(), 10 * SECOND));
}
