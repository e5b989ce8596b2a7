//! Several locks that are held together, on virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use leasehold::{Client, Kind, Loss};
use leasehold_tests::wire::{TTL, World, hold, on_virtual_time, spawn};
use leasehold_tests::world::cut_at;

const SECOND: Duration = Duration::from_secs(1);

async fn are_free(world: &World, names: &[&str]) -> bool {
    for name in names {
        if !world.is_free(name).await {
            return false;
        }
    }
    true
}

async fn events(client: &Client, events: leasehold::Events) -> Vec<String> {
    client.close().await;
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(format!("{} {}", event.what.code(), event.lock));
    }
    told
}

#[test]
fn a_group_is_taken_in_the_order_of_bytes_and_given_back_in_reverse() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let told = client.events();
        let leases = client.locks(["b", "a", "é", "Z"]).acquire().await.expect("free");
        assert_eq!(leases.names().collect::<Vec<_>>(), ["Z", "a", "b", "é"]);
        let fences = leases.fences();
        assert_eq!(fences.len(), 4);
        assert!(fences.iter().all(|(name, fence)| leases.fence(name) == Some(*fence)));
        assert_eq!(leases.fence("c"), None);
        world.truth.sleep(TTL * 3).await;
        assert!(leases.is_valid() && leases.remaining() > TTL / 2);
        leases.release().await.expect("held");
        assert_eq!(leases.check().expect_err("over").kind(), Kind::NotHeld);
        assert!(are_free(&world, &["a", "b", "Z", "é"]).await);
        let order = ["Z", "a", "b", "é"];
        let acquired = order.map(|name| format!("acquired {name}"));
        let released = order.map(|name| format!("released {name}"));
        let expected: Vec<_> = acquired.into_iter().chain(released.into_iter().rev()).collect();
        assert_eq!(events(&client, told).await, expected);
    });
}

#[test]
fn a_group_is_all_or_nothing_and_has_one_wait() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let (b, c) = (hold(&other, "b").await, hold(&other, "c").await);
        let locks = client.locks(["a", "b", "c"]);
        assert!(locks.try_acquire().await.expect("an answer").is_none());
        assert!(world.is_free("a").await);
        let since = world.truth.elapsed();
        let waiting = {
            let locks = locks.clone().wait(SECOND * 10);
            spawn(async move { locks.acquire().await.map(drop) })
        };
        world.truth.sleep(SECOND * 6).await;
        b.release().await.expect("held");
        let error = waiting.await.expect("no panic").expect_err("c is busy");
        assert_eq!((error.kind(), error.lock()), (Kind::Timeout, Some("c")));
        let took = world.truth.elapsed() - since;
        assert!(took >= SECOND * 10 && took < SECOND * 11, "{took:?}");
        assert!(are_free(&world, &["a", "b"]).await);
        c.release().await.expect("held");
        let leases = locks.wait(Duration::ZERO).acquire().await.expect("all are free");
        assert!(leases.is_valid());
    });
}

#[test]
fn a_group_of_free_locks_takes_one_round_trip_and_is_given_back_in_one() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        wire.slow_claims(SECOND);
        wire.slow_releases(SECOND / 2); // each way
        let locks = client.locks(["a", "b", "c", "d"]);
        let since = world.truth.elapsed();
        let leases = locks.acquire().await.expect("free");
        let took = world.truth.elapsed() - since;
        assert!(took >= SECOND && took < SECOND * 2, "{took:?}");
        leases.release().await.expect("held");
        let took = world.truth.elapsed() - since - took;
        assert!(took >= SECOND && took < SECOND * 2, "{took:?}");
        // Of those that are free while one is not, nothing is left when the answer is there.
        let _held = hold(&other, "c").await;
        assert!(locks.try_acquire().await.expect("an answer").is_none());
        assert!(are_free(&world, &["a", "b", "d"]).await);
    });
}

#[test]
fn a_group_waits_for_a_server_that_hangs_no_longer_than_one_lock_does() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.slow_claims(SECOND * 1000);
        let waited = async |names: &[&str], wait: Option<Duration>| {
            let since = world.truth.elapsed();
            let locks = client.locks(names.iter().copied());
            let locks = wait.map_or(locks.clone(), |wait| locks.wait(wait));
            assert_eq!(locks.acquire().await.expect_err("hangs").kind(), Kind::Unavailable);
            world.truth.elapsed() - since
        };
        // The answer to a question is waited for as long as half a ttl, 5 s.
        for wait in [Some(SECOND), Some(SECOND * 4), Some(SECOND * 7), Some(SECOND * 20), None] {
            let (one, two) = (waited(&["a"], wait).await, waited(&["b", "c"], wait).await);
            assert!(two <= one + SECOND / 10, "{wait:?}: {one:?} for one, {two:?} for two");
            let most = wait.map_or(SECOND * 10, |wait| wait.max(SECOND * 5));
            assert!(one <= most + SECOND / 10, "{one:?} with {wait:?}");
        }
    });
}

#[test]
fn of_two_that_try_the_same_group_at_once_one_has_it() {
    for grants in [false, true] {
        on_virtual_time(async |world| {
            let world = if grants { world.granting() } else { world };
            let ((first, fast), (second, slow)) = (world.client(), world.client());
            let names = ["a", "b", "c"];
            fast.scatter_claims(Duration::from_millis(10));
            fast.slow_claims(Duration::from_millis(30));
            slow.scatter_claims(Duration::from_millis(100));
            for round in 0..1000 {
                let other = second.locks(names);
                let theirs = spawn(async move { other.try_acquire().await });
                let ours = first.locks(names).try_acquire().await.expect("an answer");
                let theirs = theirs.await.expect("no panic").expect("an answer");
                assert!(ours.is_some() || theirs.is_some(), "neither, in round {round}");
                assert!(ours.is_none() || theirs.is_none(), "both, in round {round}");
                drop((ours, theirs));
                world.settle().await;
            }
        });
    }
}

#[test]
fn a_group_cancelled_at_each_await_point_leaves_nothing() {
    for grants in [false, true] {
        for renews in [false, true] {
            for polls in 0..40 {
                on_virtual_time(async |world| {
                    let world = if grants { world.granting() } else { world };
                    let ((client, wire), (other, _)) = (world.client(), world.client());
                    wire.slow_claims(Duration::from_millis(2));
                    wire.slow_renewals(Duration::from_millis(2));
                    let held = hold(&other, "b").await;
                    let release = spawn({
                        let truth = world.truth;
                        async move {
                            truth.sleep(SECOND * 7).await;
                            held.release().await.expect("held");
                        }
                    });
                    let locks = client.locks(["c", "a", "b"]).auto_renew(renews);
                    let taken = cut_at(polls, locks.acquire()).await;
                    let is_taken = taken.is_some();
                    drop(taken);
                    release.await.expect("no panic");
                    world.settle().await;
                    world.settle().await;
                    assert!(are_free(&world, &["a", "b", "c"]).await, "after {polls} polls");
                    assert!(!is_taken || polls > 5);
                });
            }
        }
    }
}

#[test]
fn a_release_of_a_group_that_is_cancelled_goes_on_for_all() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let leases = client.locks(["a", "b", "c"]).acquire().await.expect("free");
        assert!(cut_at(1, leases.release()).await.is_none());
        world.settle().await;
        assert!(are_free(&world, &["a", "b", "c"]).await);
        drop(client.locks(["a", "b", "c"]).acquire().await.expect("free"));
        world.settle().await;
        assert!(are_free(&world, &["a", "b", "c"]).await);
    });
}

#[test]
fn groups_a_b_against_b_a() {
    on_virtual_time(async |world| {
        let ((first, _), (second, _)) = (world.client(), world.client());
        let (inside, turns) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let mut tasks = Vec::new();
        for task in 0..8 {
            let client = if task % 2 == 0 { first.clone() } else { second.clone() };
            let names = if task % 4 < 2 { ["a", "b"] } else { ["b", "a"] };
            let (inside, turns, truth) = (inside.clone(), turns.clone(), world.truth);
            tasks.push(spawn(async move {
                while truth.elapsed() < SECOND * 600 {
                    let leases = client.locks(names).acquire().await.expect("its turn comes");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    truth.sleep(Duration::from_millis(20)).await;
                    turns.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    leases.release().await.expect("held");
                }
            }));
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        let turns = turns.load(Ordering::SeqCst);
        assert!(turns > 15_000, "{turns} turns of 20 ms in ten minutes");
        assert!(are_free(&world, &["a", "b"]).await);
    });
}

#[test]
fn groups_that_share_and_groups_that_do_not_get_their_turns() {
    on_virtual_time(async |world| {
        const WRITER: u32 = 1000;
        let (inside, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let mut tasks = Vec::new();
        for task in 0..8 {
            let (client, _) = world.client();
            let names = if task % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
            let writes = task % 4 == 0;
            let (inside, most, truth) = (inside.clone(), most.clone(), world.truth);
            tasks.push(spawn(async move {
                let locks = client.locks(names);
                let locks = if writes { locks } else { locks.shared() };
                let (weight, mut turns) = (if writes { WRITER } else { 1 }, 0);
                while truth.elapsed() < SECOND * 60 {
                    let leases = locks.acquire().await.expect("its turn comes");
                    let others = inside.fetch_add(weight, Ordering::SeqCst);
                    assert!(if writes { others == 0 } else { others < WRITER }, "{others}");
                    most.fetch_max(if writes { 0 } else { others + 1 }, Ordering::SeqCst);
                    truth.sleep(Duration::from_millis(20)).await;
                    inside.fetch_sub(weight, Ordering::SeqCst);
                    turns += 1;
                    leases.release().await.expect("held");
                }
                turns
            }));
        }
        for task in tasks {
            let turns = task.await.expect("no panic");
            assert!(turns > 200, "{turns} turns of 20 ms in a minute");
        }
        let most = most.load(Ordering::SeqCst);
        assert!(most > 1, "{most} shared it at once");
        assert!(are_free(&world, &["a", "b"]).await);
    });
}

#[test]
fn a_group_with_permits_has_a_slot_of_each_name() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let counted = |client: &Client| client.locks(["a", "b"]).permits(2);
        let ahead = other.lock("b").permits(2).acquire().await.expect("free");
        let first = counted(&client).acquire().await.expect("there is room");
        let slots = |a, b| [("a".to_owned(), a), ("b".to_owned(), b)].into();
        assert_eq!(first.slots(), slots(0, 1));
        assert!(counted(&other).try_acquire().await.expect("an answer").is_none());
        ahead.release().await.expect("held");
        let second = counted(&other).acquire().await.expect("there is room");
        assert_eq!(second.slots(), slots(1, 0));
        let both = client.locks(["c"]).permits(2).shared().check();
        assert_eq!(both.expect_err("not both").kind(), Kind::Invalid);
        let alone = client.locks(["c", "d"]).acquire().await.expect("free");
        assert!(alone.slots().is_empty());
    });
}

#[test]
fn the_loss_of_one_is_the_loss_of_all() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let leases = client.locks(["a", "b", "c"]).acquire().await.expect("free");
        let watch = leases.watch();
        assert!(other.break_lock("b").await.expect("an answer"));
        assert_eq!(watch.ended().await, Some(Loss::Gone));
        assert_eq!((watch.lost_name(), leases.lost_name()), (Some("b"), Some("b")));
        assert_eq!((leases.lost().await, leases.loss()), (Loss::Gone, Some(Loss::Gone)));
        assert!(!leases.is_valid() && leases.remaining().is_zero());
        for error in [leases.check(), leases.renew().await, leases.release().await] {
            let error = error.expect_err("lost");
            assert_eq!(error.kind(), Kind::Lost);
        }
        assert_eq!(leases.check().expect_err("lost").lock(), Some("b"));
        world.settle().await;
        assert!(are_free(&world, &["a", "b", "c"]).await);
    });
}

#[test]
fn what_is_left_of_a_group_is_not_renewed_and_kept_by_nobody_who_hangs() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let told = client.events();
        let leases = client.locks(["a", "b"]).acquire().await.expect("free");
        world.truth.sleep(TTL * 2).await;
        assert!(other.break_lock("b").await.expect("an answer"));
        let since = world.truth.elapsed();
        drop(hold(&other, "a").await);
        let took = world.truth.elapsed() - since;
        assert!(took <= TTL, "{took:?}");
        assert_eq!(leases.lost_name(), Some("b"));
        let told = events(&client, told).await;
        assert_eq!(told, ["acquired a", "acquired b", "lost b", "lost a"]);
    });
}

#[test]
fn work_under_a_group_is_dropped_when_one_is_lost_and_hears_which() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let locks = client.locks(["b", "a"]);
        let sum = locks.run(async |leases| leases.fences().values().sum::<u64>()).await;
        assert!(sum.expect("done") > 0);
        let running =
            spawn(async move { locks.run(async |_| std::future::pending::<()>().await).await });
        world.settle().await;
        other.break_lock("b").await.expect("an answer");
        let error: leasehold::Error = running.await.expect("no panic").expect_err("lost");
        assert_eq!((error.kind(), error.lock()), (Kind::Lost, Some("b")));
        world.settle().await;
        assert!(are_free(&world, &["a", "b"]).await);
    });
}

#[test]
fn what_is_held_is_renewed_while_others_are_waited_for() {
    for renews in [false, true] {
        on_virtual_time(async |world| {
            let ((client, _), (other, _)) = (world.client(), world.client());
            let held = hold(&other, "b").await;
            let locks = client.locks(["a", "b"]).auto_renew(renews);
            let waiting = spawn(async move { locks.acquire().await });
            world.truth.sleep(TTL * 5).await;
            held.release().await.expect("held");
            let leases = waiting.await.expect("no panic").expect("both");
            // By whoever waited, for the whole ttl when the last was there.
            let least = if renews { TTL / 2 } else { TTL * 9 / 10 };
            assert!(leases.remaining() > least, "{:?}", leases.remaining());
            leases.renew().await.expect("held");
            if !renews {
                leases.renew_for(TTL * 3).await.expect("held");
                assert!(leases.remaining() > TTL * 2 && leases.ttl() == TTL * 3);
            }
            leases.release().await.expect("held");
        });
    }
}

#[test]
fn who_waits_for_a_group_renews_the_others_when_one_cannot_be() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let _held = hold(&other, "c").await;
        let locks = client.locks(["a", "b", "c"]).auto_renew(false);
        let waiting = spawn(async move { locks.acquire().await.map(drop) });
        world.truth.sleep(SECOND).await;
        wire.lose_renewals_of("a");
        world.truth.sleep(TTL * 3 / 4).await;
        let status = other.status("b").await.expect("an answer").expect("held");
        assert!(status.holders[0].free_in > TTL / 2, "{status:?}");
        assert_eq!(waiting.await.expect("no panic").expect_err("lost").lock(), Some("a"));
    });
}

#[test]
fn one_that_is_lost_while_another_is_waited_for_ends_the_wait() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let _held = hold(&other, "b").await;
        let locks = client.locks(["a", "b"]);
        let waiting = spawn(async move { locks.acquire().await.map(drop) });
        world.truth.sleep(SECOND).await;
        other.break_lock("a").await.expect("an answer");
        let error = waiting.await.expect("no panic").expect_err("lost");
        assert_eq!((error.kind(), error.lock()), (Kind::Lost, Some("a")));
        world.settle().await;
        assert!(world.is_free("a").await);
        let status = other.status("b").await.expect("an answer").expect("held");
        assert!(status.waiters.is_empty());
    });
}

#[test]
fn names_that_make_no_group_are_refused() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let none: [&str; 0] = [];
        let wrong = [
            (client.locks(none), "at least one"),
            (client.locks(["a", "b", "a"]), "\"a\" is given twice"),
            (client.locks(["a", ""]), "empty"),
            (client.locks(["a"]).ttl(Duration::ZERO), "ttl"),
        ];
        for (locks, word) in wrong {
            for error in [locks.check().expect_err(word), locks.acquire().await.expect_err(word)] {
                assert_eq!(error.kind(), Kind::Invalid);
                assert!(error.to_string().contains(word), "{error}");
            }
        }
        assert_eq!(wire.requests()[0], 0);
        let one = client.locks(["a"]).acquire().await.expect("free");
        one.release().await.expect("held");
    });
}
