//! What waiters are promised, on virtual time and in fair weather, by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold::{Kind, Loss, Outcome};
use leasehold_tests::wire::{TTL, hold, on_virtual_time, spawn};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_thousand_waiting_tasks_cost_one_remote_waiter() {
    on_virtual_time(async |world| {
        let ((other, _), (client, wire)) = (world.client(), world.client());
        let lease = hold(&other, "x").await;
        let lock = client.lock("x");
        let tasks: Vec<_> = (0..1000)
            .map(|_| {
                let lock = lock.clone();
                spawn(async move { lock.acquire().await.expect("the lock").release().await })
            })
            .collect();
        world.truth.sleep(SECOND * 30).await;
        let waiters = other.status("x").await.expect("a status").expect("held").waiters;
        assert_eq!(waiters.len(), 1);
        let [claims, ..] = wire.requests();
        assert!(claims <= 60, "{claims} requests in 30 s");
        lease.release().await.expect("held");
        for task in tasks {
            task.await.expect("no panic").expect("held");
        }
        let [after, _, releases] = wire.requests();
        assert_eq!((after - claims, releases), (1, 1000), "one request for each hand-over");
    });
}

#[test]
fn a_status_has_each_waiter_of_its_own_client_and_the_first_of_every_other() {
    on_virtual_time(async |world| {
        let ((holder, _), (other, _)) = (world.client(), world.client());
        let lease = hold(&holder, "x").await;
        for (client, label) in
            [(&holder, "h1"), (&other, "o1"), (&holder, "h2"), (&other, "o2"), (&holder, "h3")]
        {
            let lock = client.lock("x").label(label);
            spawn(async move { lock.acquire().await.expect("the lock").release().await });
            world.settle().await;
        }
        let seen = async |client: &leasehold::Client| {
            let status = client.status("x").await.expect("a status").expect("held");
            let listed = client.list().await.expect("a list");
            assert_eq!(listed[0].waiters, status.waiters);
            status
                .waiters
                .iter()
                .map(|label| label[label.len() - 2..].to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(&holder).await, ["o1", "h1", "h2", "h3"]);
        assert_eq!(seen(&other).await, ["o1", "o2"]);
        lease.release().await.expect("held");
        world.truth.sleep(SECOND * 30).await;
        assert!(holder.status("x").await.expect("a status").is_none_or(|s| s.waiters.is_empty()));
    });
}

#[test]
fn waiters_of_one_client_are_served_in_their_order() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let lease = hold(&client, "x").await;
        let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..50 {
            let (lock, served) = (client.lock("x"), served.clone());
            spawn(async move {
                let lease = lock.acquire().await.expect("the lock");
                served.send((number, lease.fence())).expect("the test listens");
            });
            world.settle().await;
        }
        let mut last = lease.fence();
        drop((lease, served));
        for expected in 0..50 {
            let (number, fence) = order.recv().await.expect("another one");
            assert_eq!(number, expected);
            assert!(fence > last);
            last = fence;
        }
    });
}

#[test]
fn a_client_with_many_waiters_does_not_starve_another() {
    on_virtual_time(async |world| {
        let ((greedy, _), (modest, _)) = (world.client(), world.client());
        let lease = hold(&greedy, "x").await;
        let turns = Arc::new(AtomicU64::new(0));
        for _ in 0..100 {
            let (lock, turns) = (greedy.lock("x"), turns.clone());
            spawn(async move {
                let lease = lock.acquire().await.expect("the lock");
                turns.fetch_add(1, Ordering::SeqCst);
                lease.release().await
            });
        }
        let waiting = spawn({
            let lock = modest.lock("x");
            async move { lock.acquire().await }
        });
        world.settle().await;
        drop(lease);
        waiting.await.expect("no panic").expect("the lock");
        let turns = turns.load(Ordering::SeqCst);
        assert!(turns <= 9, "{turns} others came first");
    });
}

#[test]
fn busy_and_broken_are_different_errors() {
    on_virtual_time(async |world| {
        let ((holder, _), (client, wire)) = (world.client(), world.client());
        let _lease = hold(&holder, "x").await;
        let lock = client.lock("x").wait(SECOND * 3);
        let busy = lock.acquire().await.expect_err("busy");
        assert_eq!((busy.kind(), busy.outcome()), (Kind::Timeout, Outcome::NotHeld));
        assert_eq!(world.truth.elapsed().as_millis(), 3000);
        assert!(lock.try_acquire().await.expect("an answer").is_none());
        wire.cut(true);
        let broken = lock.try_acquire().await.expect_err("cut off");
        assert_eq!(broken.kind(), Kind::Unavailable);
        assert!(broken.to_string().contains(r#"lock "x" on a wire: the cable is cut"#), "{broken}");
        let broken = lock.acquire().await.expect_err("cut off for all of the wait");
        assert_eq!(broken.kind(), Kind::Unavailable);
        let broken = client.lock("x").acquire().await.expect_err("cut off for long");
        assert_eq!(broken.kind(), Kind::Unavailable);
    });
}

#[test]
fn a_wait_that_ends_while_the_backend_is_asked_again_was_busy() {
    on_virtual_time(async |world| {
        let ((holder, _), (client, wire)) = (world.client(), world.client());
        let _lease = hold(&holder, "x").await;
        // The second question is asked when 660 to 760 ms are over.
        wire.slow_claims(Duration::from_millis(60));
        for wait in 600..800 {
            let lock = client.lock("x").wait(Duration::from_millis(wait));
            let busy = lock.acquire().await.expect_err("busy");
            assert_eq!(busy.kind(), Kind::Timeout, "after {wait} ms: {busy}");
        }
        wire.slow_claims(SECOND * 10);
        let lock = client.lock("x").wait(SECOND);
        let broken = lock.acquire().await.expect_err("silent all the time");
        assert_eq!(broken.kind(), Kind::Unavailable);
    });
}

#[test]
fn an_outage_ends_every_wait_and_not_one_after_the_other() {
    outage(false);
    outage(true);
}

fn outage(hangs: bool) {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.cut(!hangs);
        wire.slow_claims(if hangs { SECOND * 1800 } else { Duration::ZERO });
        let waits: Vec<_> = (0..100)
            .map(|_| {
                let lock = client.lock("x");
                spawn(async move { lock.acquire().await })
            })
            .collect();
        for wait in waits {
            let error = wait.await.expect("no panic").expect_err("cut off");
            assert_eq!(error.kind(), Kind::Unavailable);
        }
        assert!(world.truth.elapsed() < SECOND * 20, "took {:?}", world.truth.elapsed());
        // The head asks for all of them.
        let [asked, ..] = wire.requests();
        assert!(asked < 50, "asked {asked} times");
    });
}

#[test]
fn a_waiter_survives_a_restart_of_the_server() {
    on_virtual_time(async |world| {
        let ((holder, _), (client, wire)) = (world.client(), world.client());
        let lease = hold(&holder, "x").await;
        let waiting = spawn(async move { client.lock("x").acquire().await });
        world.settle().await;
        wire.cut(true);
        world.truth.sleep(SECOND * 5).await;
        world.server.restart();
        wire.cut(false);
        lease.release().await.expect("held");
        waiting.await.expect("no panic").expect("the lock");
    });
}

#[test]
fn close_gives_back_everything_and_ends_every_wait() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let (mine, _theirs) = (hold(&client, "x").await, hold(&other, "y").await);
        let waiting = ["x", "y"].map(|name| {
            let lock = client.lock(name);
            spawn(async move { lock.acquire().await })
        });
        world.settle().await;
        client.close().await;
        assert!(world.is_free("x").await);
        assert_eq!(mine.loss(), Some(Loss::Closed));
        for wait in waiting {
            assert_eq!(wait.await.expect("no panic").expect_err("closed").kind(), Kind::Closed);
        }
        assert_eq!(client.lock("z").try_acquire().await.expect_err("closed").code(), "closed");
        world.settle().await;
        assert!(other.status("y").await.expect("a status").expect("held").waiters.is_empty());
        client.close().await;
    });
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_cure() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lock = || client.lock("x");
        let year = Duration::from_secs(365 * 24 * 3600);
        let (huge, label) = ("x".repeat(10_000), "two\nlines");
        let refused = [
            (lock().ttl(Duration::ZERO), "0ns"),
            (lock().ttl(Duration::from_millis(1)), "1ms"),
            (lock().ttl(year), "24h"),
            (lock().max_hold(Duration::from_millis(1)), "max_hold"),
            (lock().label(label), "label"),
            (client.lock(""), "empty"),
            (client.lock(huge), "10000"),
            (client.lock("a\0b"), "NUL"),
        ];
        for (lock, word) in refused {
            let error = lock.acquire().await.expect_err("refused");
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains(word), "{error} does not say {word:?}");
        }
        assert_eq!(wire.requests(), [0; 3], "nothing was asked of the backend");
    });
}

#[test]
fn a_lock_handed_on_by_the_server_costs_two_requests_or_is_kept_for_as_long_as_any() {
    on_virtual_time(async |world| {
        let world = world.granting();
        let ((a, _), (b, wire)) = (world.client(), world.client());
        let holder = hold(&a, "x").await;
        let lock = b.lock("x");
        let waiter = spawn(async move { lock.acquire().await });
        world.settle().await;
        holder.release().await.expect("held");
        let first = waiter.await.expect("no panic").expect("the lock");
        first.release().await.expect("held");
        assert_eq!(wire.requests(), [1, 0, 1], "asked once, told, and given back");

        let holder = hold(&a, "x").await;
        let lock = b.lock("x").auto_renew(false);
        let waiter = spawn(async move { lock.acquire().await });
        world.settle().await;
        holder.release().await.expect("held");
        let second = waiter.await.expect("no panic").expect("the lock");
        world.truth.sleep(TTL - SECOND * 2).await;
        assert!(second.is_valid(), "for its whole ttl, though it is not renewed");
        world.truth.sleep(SECOND * 2).await;
        assert_eq!((second.is_valid(), wire.requests()[1]), (false, 1));

        let lock = b.lock("x");
        let third = lock.acquire().await.expect("the lock");
        world.truth.sleep(TTL * 5).await;
        assert!(third.is_valid());
    });
}

#[test]
fn a_waiter_that_hangs_when_its_turn_comes_costs_the_others_two_seconds() {
    on_virtual_time(async |world| {
        let world = world.granting();
        let ((a, _), (b, stuck), (c, _)) = (world.client(), world.client(), world.client());
        let holder = hold(&a, "x").await;
        let (first, second) = (b.lock("x"), c.lock("x"));
        let hangs = spawn(async move { first.acquire().await });
        world.settle().await;
        let next = spawn(async move { second.acquire().await });
        world.settle().await;
        // It hears that it holds the lock, and does not get to renew it.
        stuck.cut(true);
        let released = world.truth.elapsed();
        holder.release().await.expect("held");
        let lost = hangs.await.expect("no panic").expect("for a moment");
        let lease = next.await.expect("no panic").expect("the lock");
        let waited = world.truth.elapsed() - released;
        assert!(waited >= SECOND * 2 && waited < SECOND * 21 / 10, "{waited:?}");
        assert!(lease.fence() > lost.fence() && !lost.is_valid());
    });
}

#[test]
fn a_waiter_that_is_handed_a_lock_has_a_second_to_renew_it_however_long_ago_it_asked() {
    on_virtual_time(async |world| {
        let world = world.granting();
        let ((a, _), (b, wire)) = (world.client(), world.client());
        let holder = hold(&a, "x").await;
        let lock = b.lock("x");
        let waiter = spawn(async move { lock.acquire().await });
        // Just before it asks again.
        world.truth.sleep(SECOND * 59 / 100).await;
        assert_eq!(wire.requests()[0], 1);
        wire.slow_renewals(SECOND);
        holder.release().await.expect("held");
        let lease = waiter.await.expect("no panic").expect("the lock");
        world.truth.sleep(TTL).await;
        assert!(lease.is_valid());
    });
}

#[test]
fn a_grant_that_overtakes_the_answer_busy_is_used_when_that_comes() {
    on_virtual_time(async |world| {
        let world = world.granting();
        let ((a, _), (b, wire)) = (world.client(), world.client());
        let holder = hold(&a, "x").await;
        let lock = b.lock("x");
        wire.slow_claims(SECOND / 10);
        let waiter = spawn(async move { lock.acquire().await });
        world.settle().await;
        holder.release().await.expect("held");
        let start = world.truth.elapsed();
        let lease = waiter.await.expect("no panic").expect("the lock");
        let waited = world.truth.elapsed() - start;
        assert!(waited < SECOND / 10, "{waited:?}");
        assert!(lease.is_valid());
        assert_eq!(wire.requests()[0], 1, "it did not have to ask again");
    });
}
