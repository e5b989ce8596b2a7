//! Busy, broken and late are three answers, and a wait is for the first; on
//! virtual time.

use std::task::{Context, Waker};
use std::time::Duration;

use leasehold::{Error, Kind, Lease};
use leasehold_tests::wire::{TTL, hold, on_virtual_time, spawn};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600 / 2);

fn kind(answer: Result<Option<Lease>, Error>) -> Result<bool, Kind> {
    answer.map(|lease| lease.is_some()).map_err(|e| e.kind())
}

#[test]
fn everybody_in_the_line_of_a_server_that_hangs_hears_that_it_is_broken() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.slow_claims(HOUR);
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let lock = client.lock("x").wait(SECOND / 2);
                spawn(async move { lock.acquire().await.map(|_| ()).map_err(|e| e.kind()) })
            })
            .collect();
        world.settle().await;
        let tried = client.lock("x").try_acquire().await;
        assert_eq!(kind(tried), Err(Kind::Unavailable), "nobody holds it");
        for waiter in waiters {
            assert_eq!(waiter.await.expect("no panic"), Err(Kind::Unavailable));
        }
        assert!(world.truth.elapsed() <= TTL / 2 + SECOND / 10, "one question's limit for all");
    });
}

#[test]
fn who_only_tries_hears_what_the_head_of_the_line_hears() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.cut(true);
        let lock = client.lock("x");
        let head = spawn(async move { lock.acquire().await });
        world.settle().await;
        assert_eq!(kind(client.lock("x").try_acquire().await), Err(Kind::Unavailable));
        wire.cut(false);
        let lease = head.await.expect("no panic").expect("the lock");
        assert_eq!(kind(client.lock("x").try_acquire().await), Ok(false), "it is busy");
        lease.release().await.expect("held");
        // The head has not been answered yet, and will be: then it is busy.
        wire.slow_claims(SECOND);
        let lock = client.lock("x");
        let head = spawn(async move { lock.acquire().await });
        world.settle().await;
        assert_eq!(kind(client.lock("x").try_acquire().await), Ok(false));
        head.await.expect("no panic").expect("the lock");
    });
}

#[test]
fn who_only_tries_beside_one_who_waits_is_not_told_what_was_true_before() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let held = hold(&other, "x").await;
        let lock = client.lock("x");
        let head = spawn(async move { lock.acquire().await });
        world.truth.sleep(SECOND * 3 / 10).await;
        let asked = wire.requests()[0];
        assert_eq!(kind(client.lock("x").try_acquire().await), Ok(false), "it is busy");
        assert_eq!(wire.requests()[0], asked + 1, "somebody has asked");
        wire.slow_claims(HOUR);
        world.truth.sleep(SECOND * 3 / 10).await;
        assert_eq!(kind(client.lock("x").try_acquire().await), Err(Kind::Unavailable));
        wire.slow_claims(Duration::ZERO);
        held.release().await.expect("held");
        head.await.expect("no panic").expect("the lock").release().await.expect("held");
        // One who waits and is not polled asks nothing.
        let _held = hold(&other, "x").await;
        let lock = client.lock("x");
        let mut head = Box::pin(lock.acquire());
        assert!(head.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        world.truth.sleep(SECOND).await;
        assert_eq!(kind(client.lock("x").try_acquire().await), Ok(false), "it was busy");
    });
}

#[test]
fn who_only_tries_is_not_told_of_an_outage_that_is_over() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.cut(true);
        let lock = client.lock("x");
        let head = spawn(async move { lock.acquire().await });
        // By now the head pauses for most of a second between its questions.
        let mut before = 0;
        for _ in 0..8 {
            while wire.requests()[0] == before {
                world.truth.sleep(SECOND / 100).await;
            }
            before = wire.requests()[0];
        }
        world.truth.sleep(SECOND / 4).await;
        wire.cut(false);
        assert_eq!(kind(client.lock("x").try_acquire().await), Ok(false), "the head has it now");
        head.await.expect("no panic").expect("the lock");
    });
}

#[test]
fn a_grant_that_came_too_late_is_asked_for_again() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lock = client.lock("x").ttl(SECOND / 5);
        wire.slow_claims(SECOND * 3 / 10);
        let tried = spawn({
            let lock = lock.clone();
            async move { kind(lock.try_acquire().await) }
        });
        world.truth.sleep(SECOND / 10).await;
        wire.slow_claims(Duration::ZERO);
        assert_eq!(tried.await.expect("no panic"), Ok(true), "the second came in time");
        world.settle().await;
        // And where all answers are late that is what is wrong, and nobody holds it.
        wire.slow_claims(SECOND * 3 / 10);
        let late = lock.try_acquire().await.expect_err("nothing to hold");
        assert_eq!(late.kind(), Kind::Unavailable);
        assert!(late.to_string().contains("use a longer one"), "{late}");
        let late = lock.wait(SECOND / 10).acquire().await.expect_err("nothing to hold");
        assert!(late.to_string().contains("use a longer one"), "{late}");
    });
}

#[test]
fn a_server_that_may_be_slow_is_waited_for() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        wire.wait_for_answers(SECOND * 10);
        wire.slow_claims(SECOND * 8);
        wire.slow_renewals(SECOND * 8);
        wire.slow_releases(SECOND * 4);
        let lock = client.lock("x").ttl(SECOND * 60);
        for wait in [Duration::ZERO, SECOND] {
            let lease = lock.clone().wait(wait).acquire().await.expect("an answer in time");
            lease.renew().await.expect("an answer in time");
            world.truth.sleep(SECOND * 90).await;
            assert!(lease.is_valid(), "it was renewed, though slowly");
            lease.release().await.expect("an answer in time");
        }
        // Too late for a lease of that length, and not to hear that it is busy.
        let _held = hold(&other, "x").await;
        let lock = client.lock("x").ttl(SECOND);
        assert_eq!(kind(lock.try_acquire().await), Ok(false));
        wire.slow_claims(HOUR);
        let asked = world.truth.elapsed();
        assert_eq!(kind(lock.try_acquire().await), Err(Kind::Unavailable));
        assert!(world.truth.elapsed() - asked <= SECOND * 12, "and not for ever");
    });
}

#[test]
fn a_release_without_an_answer_takes_no_longer_than_what_it_gives_back() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.wait_for_answers(SECOND * 60);
        let lease = client.lock("x").ttl(SECOND * 5).acquire().await.expect("the lock");
        wire.slow_releases(HOUR);
        let asked = world.truth.elapsed();
        lease.release().await.expect_err("no answer");
        let took = world.truth.elapsed() - asked;
        assert!(took < SECOND * 6, "{took:?}");
        client.close().await;
        let took = world.truth.elapsed() - asked;
        assert!(took < SECOND * 7, "{took:?}");
    });
}

#[test]
fn a_short_ttl_has_the_time_that_an_answer_takes() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.slow_claims(Duration::from_millis(80));
        let lock = client.lock("x").ttl(Duration::from_millis(150)).auto_renew(false);
        let lease = lock.try_acquire().await.expect("an answer").expect("it is free");
        assert!(lease.is_valid());
        wire.slow_releases(Duration::from_millis(40));
        // Past its deadline when the answer comes, but given back before.
        lease.release().await.expect("confirmed");
    });
}

#[test]
fn a_wait_of_nothing_takes_a_lock_that_is_free() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        wire.slow_claims(SECOND / 20);
        for wait in [Duration::ZERO, SECOND / 100] {
            let lease = client.lock("x").wait(wait).acquire().await.expect("it is free");
            lease.release().await.expect("held");
        }
        let _held = hold(&other, "x").await;
        for wait in [Duration::ZERO, SECOND / 100] {
            let asked = world.truth.elapsed();
            let busy = client.lock("x").wait(wait).acquire().await.expect_err("busy");
            assert_eq!(busy.kind(), Kind::Timeout);
            assert!(world.truth.elapsed() - asked <= SECOND / 10, "one answer");
        }
        world.settle().await;
        let status = other.status("x").await.expect("a status").expect("it is held");
        assert!(status.waiters.is_empty(), "nobody waits any longer");
    });
}

#[test]
fn an_outage_is_borne_for_as_long_as_the_wait() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.cut(true);
        let short = client.lock("x").wait(SECOND * 3).acquire().await.expect_err("cut off");
        assert_eq!((short.kind(), world.truth.elapsed()), (Kind::Unavailable, SECOND * 3));
        let lock = client.lock("x").wait(SECOND * 60);
        let waiter = spawn(async move { lock.acquire().await });
        world.truth.sleep(SECOND * 30).await;
        wire.cut(false);
        waiter.await.expect("no panic").expect("the server is back");
        assert!(world.truth.elapsed() < SECOND * 35);
    });
}

#[test]
fn who_breaks_a_lock_that_its_own_client_held_finds_it_free() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.deafen(true);
        let lease = hold(&client, "x").await;
        assert!(client.break_lock("x").await.expect("an answer"));
        assert_eq!(lease.loss(), Some(leasehold::Loss::Gone));
        assert_eq!(kind(client.lock("x").try_acquire().await), Ok(true));
    });
}

/// A waiter of the holder's client or another's, that is not polled when the lock is
/// free, costs those behind it a second.
fn a_lease_that_nobody_takes(is_own: bool, grants: bool) {
    on_virtual_time(async |world| {
        let world = if grants { world.granting() } else { world };
        let ((client, _), (other, _), (third, _)) =
            (world.client(), world.client(), world.client());
        let holder = hold(if is_own { &client } else { &other }, "x").await;
        let lock = client.lock("x");
        let mut waiter = Box::pin(lock.acquire());
        // It asks, hears that the lock is busy, and then nothing more.
        for _ in 0..2 {
            assert!(waiter.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            world.settle().await;
        }
        let behind = third.lock("x");
        let behind = spawn(async move { behind.acquire().await });
        world.settle().await;
        holder.release().await.expect("held");
        let free = world.truth.elapsed();
        let lease = behind.await.expect("no panic").expect("its turn comes");
        let took = world.truth.elapsed() - free;
        assert!(took < SECOND * 5 / 2, "own {is_own}, grants {grants}: after {took:?}");
        world.truth.sleep(TTL).await;
        assert!(lease.is_valid());
        // The waiter stands in line again.
        assert!(waiter.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        world.settle().await;
        assert!(waiter.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        lease.release().await.expect("held");
        waiter.await.expect("its turn comes").release().await.expect("held");
    });
}

#[test]
fn a_waiter_that_is_not_polled_keeps_the_lock_from_nobody() {
    for (is_own, grants) in [(true, false), (false, true), (true, true)] {
        a_lease_that_nobody_takes(is_own, grants);
    }
}
