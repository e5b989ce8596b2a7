//! How a client cleans up behind itself, on virtual time, by name.

use std::time::Duration;

use leasehold::{Kind, Lease, Loss, Outcome};
use leasehold_tests::wire::{TTL, Wire, World, hold, on_virtual_time};
use leasehold_tests::world::cut_at;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_was_never_sent_is_not_owed() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.cut(true);
        for number in 0..1000 {
            let lock = client.lock(format!("x{number}")).ttl(HOUR);
            assert_eq!(lock.try_acquire().await.expect_err("cut").kind(), Kind::Unavailable);
        }
        world.truth.sleep(SECOND * 10).await;
        assert_eq!(wire.withdrawals(), 0);
        let closing = world.truth.elapsed();
        client.close().await;
        assert_eq!(world.truth.elapsed(), closing, "there was nothing to wait for");
    });
}

#[test]
fn what_was_perhaps_sent_is_owed_until_it_is_over() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.fail(Some((Kind::Unavailable, Outcome::Unknown)));
        client.lock("x").try_acquire().await.expect_err("lost");
        let closing = world.truth.elapsed();
        client.close().await;
        let took = world.truth.elapsed() - closing;
        assert!(took > TTL && took < TTL + SECOND * 3, "{took:?}");
        let asked = wire.withdrawals();
        assert!((5..=25).contains(&asked), "{asked} withdrawals in {took:?}");
    });
}

#[test]
fn a_place_in_the_line_is_owed_though_the_last_question_was_never_sent() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let lease = hold(&other, "x").await;
        let lock = client.lock("x");
        let waiting = async {
            tokio::select! {
                biased;
                _ = lock.acquire() => panic!("it is held"),
                () = world.truth.sleep(SECOND * 2) => {}
            }
        };
        let cutting = async {
            world.truth.sleep(SECOND / 10).await;
            wire.cut(true);
        };
        tokio::join!(waiting, cutting);
        wire.cut(false);
        world.truth.sleep(SECOND).await;
        assert!(wire.withdrawals() >= 1);
        let seen = other.status("x").await.expect("an answer").expect("held");
        assert_eq!(seen.waiters.len(), 0);
        lease.release().await.expect("held");
    });
}

#[test]
fn clean_up_goes_on_after_every_kind_of_error() {
    for kind in [Kind::Unavailable, Kind::Refused, Kind::Internal, Kind::Unsupported] {
        on_virtual_time(async |world| {
            let (client, wire) = world.client();
            let lock = client.lock("x").ttl(HOUR / 2);
            let lease = lock.acquire().await.expect("the lock");
            wire.fail(Some((kind, Outcome::NotHeld)));
            assert_eq!(lease.release().await.expect_err("refused").kind(), kind);
            world.truth.sleep(HOUR / 4).await;
            wire.fail(None);
            world.truth.sleep(SECOND * 3).await;
            assert!(world.is_free("x").await, "{kind:?}");
        });
    }
}

#[test]
fn an_outage_is_probed_by_one_request_at_a_time() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let mut leases = Vec::new();
        for number in 0..500 {
            leases.push(hold(&client, &format!("x{number}")).await);
        }
        wire.cut(true);
        drop(leases);
        world.truth.sleep(SECOND * 5).await;
        let [_, _, asked] = wire.requests();
        assert!(asked <= 20, "{asked} requests in 5 s of an outage");
        wire.cut(false);
        world.truth.sleep(SECOND * 3).await;
        for number in 0..500 {
            assert!(world.is_free(&format!("x{number}")).await, "x{number}");
        }
        let [_, _, asked] = wire.requests();
        assert!(asked <= 520, "each once more: {asked}");
    });
}

#[test]
fn one_that_is_refused_does_not_keep_the_retry_of_another() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let bad = hold(&client, "bad").await;
        let (good, paid) = (hold(&client, "good").await, hold(&client, "paid").await);
        refuse_one(&world, &wire, bad).await;
        // One that is paid has the next ones paid by a task of their own, while that of
        // the first rests.
        wire.fail(None);
        drop(paid);
        world.settle().await;
        assert!(world.is_free("paid").await && !world.is_free("bad").await);
        // It is refused once, and tried again soon.
        wire.fail(Some((Kind::Refused, Outcome::NotHeld)));
        let before = wire.requests()[2];
        drop(good);
        world.settle().await;
        assert_eq!(wire.requests()[2], before + 1);
        wire.fail(None);
        world.truth.sleep(SECOND / 10).await;
        assert!(world.is_free("good").await && !world.is_free("bad").await);
    });
}

#[test]
fn one_that_is_refused_does_not_keep_the_others() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let (bad, good) = (hold(&client, "bad").await, hold(&client, "good").await);
        refuse_one(&world, &wire, bad).await;
        // Another does not wait for that, nor for a pause of 10 ms that all have.
        wire.fail(None);
        drop(good);
        world.settle().await;
        assert!(world.is_free("good").await && !world.is_free("bad").await);
        world.truth.sleep(SECOND * 2).await;
        assert!(world.is_free("bad").await);
    });
}

/// Until it has just been refused again, as happens about once a second by then.
async fn refuse_one(world: &World, wire: &Wire, bad: Lease) {
    wire.fail(Some((Kind::Refused, Outcome::NotHeld)));
    bad.release().await.expect_err("refused");
    world.truth.sleep(SECOND * 4).await;
    let before = wire.requests()[2];
    while wire.requests()[2] == before {
        world.truth.sleep(SECOND / 1000).await;
    }
}

#[test]
fn what_has_ended_by_itself_is_not_owed_any_more() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        wire.cut(true);
        assert_eq!(lease.lost().await, Loss::Expired);
        world.truth.sleep(SECOND * 3).await;
        let [_, _, before] = wire.requests();
        assert!(before > 0, "it was given back at its deadline");
        let closing = world.truth.elapsed();
        client.close().await;
        assert_eq!(world.truth.elapsed(), closing, "it is over at the backend");
        world.truth.sleep(TTL).await;
        assert_eq!(wire.requests()[2], before);
    });
}

#[test]
fn close_waits_for_what_is_owed() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let leases = [hold(&client, "a").await, hold(&client, "b").await];
        wire.cut(true);
        let mend = async {
            world.truth.sleep(SECOND * 2).await;
            wire.cut(false);
        };
        tokio::join!(client.close(), mend);
        assert!(world.truth.elapsed() < SECOND * 5, "{:?}", world.truth.elapsed());
        assert!(world.is_free("a").await && world.is_free("b").await);
        assert!(leases.iter().all(|lease| lease.loss() == Some(Loss::Closed)));
    });
}

#[test]
fn a_client_that_is_dropped_pays_its_debts_first() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        wire.cut(true);
        drop((lease, client));
        world.truth.sleep(SECOND * 3).await;
        wire.cut(false);
        world.truth.sleep(SECOND * 3).await;
        assert!(world.is_free("x").await);
    });
}

#[test]
fn a_panic_of_the_backend_stops_neither_the_clean_up_nor_the_closing() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let (one, two) = (hold(&client, "one").await, hold(&client, "two").await);
        wire.cut(true);
        drop((one, two));
        world.truth.sleep(SECOND).await;
        wire.panic();
        wire.cut(false);
        world.truth.sleep(SECOND * 4).await;
        let free = [world.is_free("one").await, world.is_free("two").await];
        assert_eq!(free.iter().filter(|free| **free).count(), 1, "the other ends with its ttl");
        let closing = world.truth.elapsed();
        client.close().await;
        assert_eq!(world.truth.elapsed(), closing);
    });
}

#[test]
#[should_panic(expected = "on purpose")]
fn a_panic_of_the_program_is_not_made_worse_by_debts() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        wire.cut(true);
        drop(lease);
        world.truth.sleep(SECOND).await;
        panic!("on purpose");
    });
}

#[test]
fn a_renewal_whose_answer_comes_too_late_leaves_nothing_behind() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        wire.slow_renewals(SECOND * 4);
        world.truth.sleep(lease.remaining() - SECOND * 2).await;
        assert_eq!(lease.renew().await.expect_err("too late").kind(), Kind::Lost);
        world.settle().await;
        assert!(world.is_free("x").await, "though it was renewed, and its handle is kept");
        drop(lease);
    });
}

#[test]
fn answers_that_come_in_time_count_though_others_come_too_late() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let mut leases = Vec::new();
        for number in 0..2000 {
            leases.push(hold(&client, &format!("x{number}")).await);
        }
        // All of them take 5 s; an answer is waited for half of their ttl.
        wire.narrow_renewals(Duration::from_micros(2500));
        world.truth.sleep(TTL).await;
        wire.narrow_renewals(Duration::ZERO);
        world.truth.sleep(TTL * 3).await;
        let kept = leases.iter().filter(|lease| lease.is_valid()).count();
        assert!(kept >= 1000, "{kept} of 2000 are left");
    });
}

#[test]
fn the_events_end_though_nobody_waits_for_the_closing() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let events = client.events();
        let _lease = hold(&client, "x").await;
        wire.cut(true);
        assert!(cut_at(2, async move { client.close().await }).await.is_none());
        let mut told = Vec::new();
        while let Some(event) = events.next().await {
            told.push(event.what.code());
        }
        assert_eq!(told, ["acquired", "lost"]);
    });
}

#[test]
fn the_events_end_when_the_process_does() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let events = client.events();
        let _lease = hold(&client, "x").await;
        wire.cut(true);
        client.close_at_exit().await;
        assert!(world.truth.elapsed() < SECOND * 2);
        while events.next().await.is_some() {}
    });
}
