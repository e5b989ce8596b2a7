//! Work that is done once per interval, on virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold::{Client, Error, Kind, Once, Run, Skip};
use leasehold_tests::wire::{TTL, World, hold, on_virtual_time, spawn};

const SECOND: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(100);
const REST: Duration = Duration::from_secs(95);

fn nightly(client: &Client) -> Once {
    client.once("nightly").every(EVERY)
}

/// Try it with work that takes no time; answers whether it ran.
async fn runs(once: &Once) -> bool {
    let ran = once.run(async |_| Ok::<_, Error>(7)).await.expect("an answer");
    matches!(ran, Run::Ran(Ok(7)))
}

/// Why it is skipped, and when to come again.
async fn skipped(once: &Once) -> (Skip, Duration) {
    match once.run(async |_| Ok::<_, Error>(())).await.expect("an answer") {
        Run::Skipped { why, next_in } => (why, next_in),
        Run::Ran(_) => panic!("it ran"),
    }
}

#[test]
fn what_has_succeeded_is_skipped_for_95_percent_of_the_interval() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        assert!(runs(&nightly(&client)).await);
        for client in [&client, &other] {
            let (why, next_in) = skipped(&nightly(client)).await;
            assert_eq!(why, Skip::Rested);
            assert!(next_in <= REST && next_in > REST - SECOND, "{next_in:?}");
        }
        world.truth.sleep(REST - SECOND / 10).await;
        assert_eq!(skipped(&nightly(&other)).await.0, Skip::Rested);
        world.truth.sleep(SECOND / 5).await;
        assert!(runs(&nightly(&other)).await, "5 % early it is not too early");
    });
}

#[test]
fn the_interval_counts_from_the_begin_of_the_work() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let truth = world.truth;
        let once = nightly(&client);
        let ran = once.run(async |lease| {
            truth.sleep(TTL * 3).await;
            lease.check()
        });
        assert!(matches!(ran.await, Ok(Run::Ran(Ok(())))));
        let (_, next_in) = skipped(&nightly(&client)).await;
        assert!(next_in <= REST - TTL * 3 && next_in > REST - TTL * 3 - SECOND, "{next_in:?}");
    });
}

#[test]
fn what_runs_is_skipped_at_once() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let truth = world.truth;
        let ran = spawn({
            let once = nightly(&client);
            async move {
                let ran = once.run(async move |_| {
                    truth.sleep(TTL * 2).await;
                    Ok::<_, Error>(())
                });
                ran.await.expect("an answer")
            }
        });
        world.settle().await;
        let since = world.truth.elapsed();
        for client in [&client, &other] {
            let (why, next_in) = skipped(&nightly(client)).await;
            assert!(why == Skip::Running && next_in <= TTL, "{why:?} {next_in:?}");
        }
        assert!(world.truth.elapsed() - since < SECOND / 10);
        assert!(matches!(ran.await.expect("no panic"), Run::Ran(Ok(()))));
    });
}

#[test]
fn what_has_failed_is_free_at_once() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let truth = world.truth;
        let failed = nightly(&client).run(async |_| Err::<(), _>("no paper")).await;
        assert!(matches!(failed, Ok(Run::Ran(Err("no paper")))));
        assert!(world.is_free("nightly").await, "after a failure");
        let panicking = nightly(&client);
        let work = async |_: &leasehold::Lease| -> Result<(), Error> { panic!("on purpose") };
        let panicked = spawn(async move { panicking.run(work).await.map(drop) }).await;
        assert!(panicked.is_err());
        world.settle().await;
        assert!(world.is_free("nightly").await, "after a panic");
        let once = nightly(&client);
        let mut dropped = Box::pin(once.run(async |_| {
            truth.sleep(EVERY).await;
            Ok::<_, Error>(())
        }));
        tokio::select! {
            biased;
            _ = &mut dropped => panic!("it takes longer"),
            () = truth.sleep(SECOND) => {}
        }
        drop(dropped);
        world.settle().await;
        assert!(world.is_free("nightly").await, "after a cancellation");
        let lost = once.run(async |_| {
            wire.cut(true);
            truth.sleep(EVERY).await;
            Ok::<_, Error>(())
        });
        assert_eq!(lost.await.expect_err("lost").kind(), Kind::Lost);
        wire.cut(false);
        hold(&other, "nightly").await.release().await.expect("held");
        assert!(world.truth.elapsed() < TTL * 3, "after a loss");
        // Work that ends after its lease has not succeeded.
        let short = nightly(&client).max_hold(SECOND);
        let late = short.run(async |_| {
            truth.sleep(SECOND * 2).await;
            Ok::<_, Error>(())
        });
        assert_eq!(late.await.expect_err("lost").kind(), Kind::Lost);
        world.settle().await;
        assert!(runs(&nightly(&other)).await);
    });
}

#[test]
fn each_slot_is_run_once_and_remembered() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let slot = |client: &Client, day: &str| client.once("nightly").slot(day);
        assert!(runs(&slot(&client, "2026-11-27")).await);
        assert!(runs(&slot(&client, "2026-11-28")).await);
        let (why, next_in) = skipped(&slot(&other, "2026-11-27")).await;
        let week = SECOND * 7 * 24 * 3600;
        assert!(why == Skip::Rested && next_in <= week && next_in > week - SECOND, "{next_in:?}");
        let status = other.status("nightly@2026-11-27").await.expect("a status");
        assert!(status.expect("it rests").holder().expect("a holder").resting);
        assert!(other.break_lock("nightly@2026-11-27").await.expect("an answer"));
        let short = slot(&other, "2026-11-27").every(EVERY);
        assert!(runs(&short).await);
        world.truth.sleep(EVERY - SECOND).await;
        assert_eq!(skipped(&short).await.0, Skip::Rested, "a slot has no slack");
        world.truth.sleep(SECOND * 2).await;
        assert!(runs(&short).await, "it is forgotten");
    });
}

#[test]
fn a_job_of_300_ms_on_three_hosts_whose_cron_is_2_s_apart_runs_once_per_interval() {
    on_virtual_time(async |world| {
        const INTERVALS: u64 = 200;
        let every = SECOND * 15;
        let counts: Arc<Vec<AtomicU64>> =
            Arc::new((0..INTERVALS).map(|_| AtomicU64::new(0)).collect());
        let hosts: Vec<_> =
            (0..3).map(|host| host_with_cron(&world, host, every, &counts)).collect();
        for host in hosts {
            host.await.expect("no panic");
        }
        let runs: Vec<u64> = counts.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        assert_eq!(runs, vec![1; INTERVALS as usize]);
    });
}

/// Tries in each interval, at a second of its own, give or take half a second.
fn host_with_cron(
    world: &World,
    host: u32,
    every: Duration,
    counts: &Arc<Vec<AtomicU64>>,
) -> tokio::task::JoinHandle<()> {
    let ((client, _), truth, counts) = (world.client(), world.truth, counts.clone());
    let mut random = fastrand::Rng::with_seed(host.into());
    spawn(async move {
        for interval in 0..counts.len() as u32 {
            let jitter = Duration::from_millis(random.u64(..500));
            let at = every * interval + SECOND * (1 + 2 * host) + jitter;
            truth.sleep(at.saturating_sub(truth.elapsed())).await;
            let once = client.once("job").every(every);
            let ran = once.run(async |_| {
                truth.sleep(SECOND * 3 / 10).await;
                counts[interval as usize].fetch_add(1, Ordering::SeqCst);
                Ok::<_, Error>(())
            });
            drop(ran.await.expect("an answer"));
        }
    })
}

#[test]
fn clients_whose_clocks_differ_by_10_s_run_it_once() {
    on_virtual_time(async |world| {
        let (one, _, its) = world.client_that_stops();
        let (other, _, others) = world.client_that_stops();
        let truth = world.truth;
        let every = SECOND * 30;
        for round in 0..4 {
            // One of them is set while the work is done.
            let (runner, clock) = if round % 2 == 0 { (&one, &its) } else { (&other, &others) };
            let once = runner.once("job").every(every);
            let ran = once.run(async |_| {
                truth.sleep(SECOND / 2).await;
                clock.set_ahead(SECOND * 10 * (1 + round));
                Ok::<_, Error>(())
            });
            assert!(matches!(ran.await, Ok(Run::Ran(Ok(())))));
            let began = truth.elapsed();
            while truth.elapsed() < began + every * 9 / 10 {
                for client in [&one, &other] {
                    assert_eq!(skipped(&client.once("job").every(every)).await.0, Skip::Rested);
                }
                truth.sleep(SECOND).await;
            }
            truth.sleep(SECOND * 2).await;
        }
    });
}

#[test]
fn a_backend_that_does_not_answer_is_an_error_and_no_skip() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        wire.cut(true);
        let error = nightly(&client).run(async |_| Ok::<_, Error>(())).await.expect_err("cut off");
        assert_eq!(error.kind(), Kind::Unavailable);
        wire.cut(false);
        assert!(runs(&nightly(&client)).await);
    });
}

#[test]
fn a_plain_lock_of_the_name_keeps_it_out() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let lease = hold(&other, "nightly").await;
        assert_eq!(skipped(&nightly(&client)).await.0, Skip::Running);
        lease.release().await.expect("held");
        assert!(runs(&nightly(&client)).await);
    });
}

#[test]
fn an_interval_or_slot_that_cannot_be_is_refused() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let once = || client.once("nightly");
        let day = SECOND * 24 * 3600;
        assert!(once().every(day * 400).check().is_ok() && once().slot("a b").check().is_ok());
        let cases = [
            (once(), "every=1h"),
            (once().every(day * 401), "400 days"),
            (once().every(SECOND / 2), "at least 1s"),
            (once().slot(""), "@"),
            (once().slot("a@b"), "@"),
            (once().slot("s".repeat(1020)), "1024"),
            (once().every(EVERY).ttl(SECOND / 100), "ttl"),
        ];
        for (once, says) in cases {
            let error = once.check().expect_err(says);
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains(says), "{error}");
            assert!(once.run(async |_| Ok::<_, Error>(())).await.is_err());
        }
    });
}
