//! What must be so after the storm.

use std::sync::Arc;
use std::time::Duration;

use leasehold::Error;

use super::cluster;
use super::server::Servers;
use super::{MAX_TTL, Process};
use crate::world::{TrueClock, cut_at};

/// Nobody holds anything, and nobody waits.
pub(super) async fn everything_is_free(servers: &Servers) -> Result<(), String> {
    let left = servers.occupied().await?;
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("these are not free long after the storm: {left:?}")),
    }
}

/// A lock goes from hand to hand within a few messages; a lost wake-up would
/// cost a re-check, some hundred times as long.
pub(super) async fn hand_over_is_prompt(
    truth: &TrueClock,
    servers: &Servers,
    all: &[Arc<Process>],
) -> Result<(), String> {
    if servers.is_quorum() {
        // The clients have yet to learn that some clocks have jumped, and wait
        // for the ballots of others who did not know it either: a node whose clock is
        // behind does so until it is as late there.
        hand_over(truth, all, Duration::from_millis(300), servers.spread()).await?;
        truth.sleep(2 * MAX_TTL).await;
    }
    // Hold, release, wake, claim: 5 + 2 + 1 + 2 ms.
    hand_over(truth, all, Duration::from_millis(15), Duration::ZERO).await
}

#[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
async fn hand_over(
    truth: &TrueClock,
    all: &[Arc<Process>],
    limit: Duration,
    at_first: Duration,
) -> Result<(), String> {
    const ROUNDS: u32 = 3;
    let started = truth.elapsed();
    let mut tasks = Vec::new();
    let waiters = all.len() * 2;
    for process in all.iter().chain(all) {
        let lock = process.client.lock("calm").ttl(MAX_TTL);
        let truth = *truth;
        tasks.push(tokio::spawn(process.machine.within(async move {
            for _ in 0..ROUNDS {
                let lease = lock.acquire().await?;
                truth.sleep(Duration::from_millis(5)).await;
                lease.release().await?;
            }
            Ok::<_, Error>(())
        })));
    }
    for task in tasks {
        task.await.map_err(|e| e.to_string())?.map_err(|e| format!("in calm weather: {e}"))?;
    }
    let turns = ROUNDS * waiters as u32;
    let took = truth.elapsed() - started;
    if took > limit * turns + at_first {
        return Err(format!("{turns} turns in calm weather took {took:?}: a wake-up was lost"));
    }
    Ok(())
}

/// Some share a lock, and one of them is always there: who wants it alone gets its turn
/// all the same.
#[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
pub(super) async fn a_writer_is_not_passed(
    truth: &TrueClock,
    all: &[Arc<Process>],
) -> Result<(), String> {
    const LIMIT: Duration = Duration::from_millis(100);
    const ROUNDS: u32 = 40;
    let mut readers = Vec::new();
    for (number, process) in all.iter().chain(all).enumerate() {
        let lock = process.client.lock("read").ttl(MAX_TTL).shared();
        let truth = *truth;
        readers.push(tokio::spawn(process.machine.within(async move {
            truth.sleep(Duration::from_millis(number as u64 * 3)).await;
            for _ in 0..ROUNDS {
                let lease = lock.acquire().await?;
                truth.sleep(Duration::from_millis(10)).await;
                lease.release().await?;
            }
            Ok::<_, Error>(())
        })));
    }
    truth.sleep(Duration::from_millis(20)).await;
    let asked = truth.elapsed();
    let lock = all[0].client.lock("read").ttl(MAX_TTL);
    let lease = all[0].machine.within(async move { lock.acquire().await }).await;
    let waited = truth.elapsed() - asked;
    let lease = lease.map_err(|e| format!("in calm weather: {e}"))?;
    lease.release().await.map_err(|e| format!("in calm weather: {e}"))?;
    for reader in readers {
        reader.await.map_err(|e| e.to_string())?.map_err(|e| format!("in calm weather: {e}"))?;
    }
    match waited <= LIMIT {
        true => Ok(()),
        false => Err(format!("who wanted it alone has waited {waited:?} for those who share it")),
    }
}

/// Who only tries, and is alone, gets it.
pub(super) async fn what_is_free_can_be_taken(
    truth: &TrueClock,
    servers: &Servers,
    all: &[Arc<Process>],
) -> Result<(), String> {
    for process in all {
        for name in ["a", "b", "calm", "new"] {
            truth.sleep(Duration::from_millis(3)).await;
            everything_is_free(servers).await?;
            let lock = process.client.lock(name).ttl(MAX_TTL);
            let tried = process.machine.within(async move { lock.try_acquire().await }).await;
            let lease = tried.map_err(|e| format!("{name:?} is free in calm weather: {e:?}"))?;
            let lease = lease.ok_or(format!("{name:?} is free, and was called busy"))?;
            lease.release().await.map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// Acquires that are cancelled at any await point leave nothing behind after
/// two round trips, neither a lease nor a place.
pub(super) async fn nothing_stays_behind(
    random: &mut fastrand::Rng,
    truth: &TrueClock,
    servers: &Servers,
    all: &[Arc<Process>],
) -> Result<(), String> {
    for polls in 1..6 {
        let process = &all[random.usize(..all.len())];
        let lock = process.client.lock("cancelled").ttl(MAX_TTL);
        let acquire = process.machine.within(async move { lock.acquire().await });
        drop(cut_at(polls, acquire).await);
        truth.sleep(Duration::from_millis(6)).await;
        everything_is_free(servers).await?;
    }
    Ok(())
}

/// A lease outlives a node that loses its data, and is on all nodes again once
/// that one trusts itself.
pub(super) async fn a_lease_spreads(
    random: &mut fastrand::Rng,
    truth: &TrueClock,
    servers: &Servers,
    all: &[Arc<Process>],
) -> Result<(), String> {
    if servers.ballots("spreads").await?.is_empty() {
        return Ok(());
    }
    let process = &all[random.usize(..all.len())];
    let lock = process.client.lock("spreads").ttl(MAX_TTL);
    let lease = process.machine.within(async move { lock.acquire().await }).await;
    let lease = lease.map_err(|e| format!("in calm weather: {e}"))?;
    truth.sleep(Duration::from_millis(random.u64(1..1000))).await;
    servers.restart_one(random, true).await;
    truth.sleep(2 * MAX_TTL + Duration::from_millis(1500)).await;
    let ballots = servers.ballots("spreads").await?;
    if !lease.is_valid() || ballots.iter().any(|ballot| *ballot != Some(lease.fence())) {
        return Err(format!("after a node was lost, {lease:?} is held as {ballots:?}"));
    }
    lease.release().await.map_err(|e| format!("in calm weather: {e}"))?;
    truth.sleep(Duration::from_millis(3)).await;
    Ok(())
}

/// Who waits at an etcd cluster hears of its turn on a new connection too, and
/// whatever the cluster has forgotten meanwhile.
#[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
pub(super) async fn a_waiter_outlives_its_connection(
    truth: &TrueClock,
    servers: &Servers,
    all: &[Arc<Process>],
) -> Result<(), String> {
    const MOMENT: Duration = Duration::from_millis(10);
    let Some((etcd, streams)) = servers.cluster() else { return Ok(()) };
    let acquire = |process: &Arc<Process>| {
        let lock = process.client.lock("cut").ttl(MAX_TTL);
        process.machine.within(async move { lock.acquire().await })
    };
    let lease = acquire(&all[0]).await.map_err(|e| format!("in calm weather: {e}"))?;
    let waiter = tokio::spawn(acquire(&all[1]));
    truth.sleep(MOMENT).await;
    for stream in streams {
        stream.cut(true, true, Duration::from_millis(1)).await;
    }
    let forgotten = truth.elapsed() + MOMENT;
    while truth.elapsed() < forgotten {
        cluster::forget(&etcd).await;
        truth.sleep(Duration::from_millis(1)).await;
    }
    truth.sleep(MOMENT).await;
    let released = truth.elapsed();
    lease.release().await.map_err(|e| format!("in calm weather: {e}"))?;
    let lease = waiter.await.map_err(|e| e.to_string())?;
    let took = truth.elapsed() - released;
    if took > MOMENT {
        return Err(format!("a turn after a new connection took {took:?}: it was not watched for"));
    }
    let lease = lease.map_err(|e| format!("in calm weather: {e}"))?;
    lease.release().await.map_err(|e| format!("in calm weather: {e}"))
}
