//! Thousands of made-up histories; any failure replays from its seed:
//! `LEASEHOLD_SEED=42 cargo test -p leasehold-tests --test simulation`.
//! `LEASEHOLD_SEEDS` says how many, and `LEASEHOLD_SERVERS` leaves out those with other
//! servers: `memory`, `quorum` or `etcd`.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leasehold_tests::sim::{Faults, servers_of, simulate};

/// Three times as many as it takes to catch every planted bug but those that show late.
const SEEDS: u64 = 2500;

/// Run the seeds that have such servers on all processors; the first failure ends it.
fn run(seeds: Range<u64>, servers: &str) -> (Arc<Faults>, u64) {
    let faults = Arc::new(Faults::default());
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut grants = 0;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(grants);
            }
            if !servers_of(seed).contains(servers) {
                continue;
            }
            grants += simulate(seed, &faults).map_err(|broken| {
                next.store(seeds.end, Ordering::Relaxed);
                (seed, broken)
            })?;
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let grants: Result<u64, _> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|grants| grants.expect("the simulation does not panic")).sum()
    });
    match grants {
        Ok(grants) => (faults, grants),
        Err((seed, broken)) => panic!("seed {seed}: {broken}\nreplay: LEASEHOLD_SEED={seed}"),
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // for people who replay a seed
fn no_history_breaks_a_promise() {
    if let Ok(seed) = std::env::var("LEASEHOLD_SEED") {
        let seed = seed.parse().expect("LEASEHOLD_SEED is a number");
        run(seed..seed + 1, "");
        return;
    }
    let seeds = std::env::var("LEASEHOLD_SEEDS").map_or(SEEDS, |n| n.parse().expect("a number"));
    let servers = std::env::var("LEASEHOLD_SERVERS").unwrap_or_default();
    let (faults, grants) = run(0..seeds, &servers);
    println!("{seeds} seeds, {grants} grants, faults: {:?}", faults.counts());
    println!("used: {:?}", faults.uses());
    if seeds >= SEEDS && servers.is_empty() {
        assert!(grants > 10 * SEEDS, "only {grants} grants prove little");
        for (fault, times) in faults.counts() {
            assert!(times >= SEEDS / 10, "{fault} was injected only {times} times");
        }
        for (used, times) in faults.uses() {
            assert!(times >= SEEDS / 10, "{used} was there only {times} times");
        }
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let story = |seed| {
        let faults = Arc::new(Faults::default());
        let grants = simulate(seed, &faults);
        (grants, faults.counts(), faults.uses())
    };
    for seed in 0..40 {
        assert_eq!(story(seed), story(seed), "seed {seed}");
    }
}
