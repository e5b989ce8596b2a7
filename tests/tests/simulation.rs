//! Thousands of made-up histories; any failure replays from its seed:
//! `LEASEHOLD_SEED=42 cargo test -p leasehold-tests --test simulation`.

use std::ops::Range;
use std::sync::Arc;

use leasehold_tests::sim::{Faults, simulate};

/// Run the seeds on two threads; the first failure ends it.
fn run(seeds: Range<u64>) -> (Arc<Faults>, u64) {
    let faults = Arc::new(Faults::default());
    let middle = seeds.start + (seeds.end - seeds.start) / 2;
    let half = |seeds: Range<u64>| {
        let faults = faults.clone();
        let one = move |seed| simulate(seed, &faults).map_err(|broken| (seed, broken));
        std::thread::spawn(move || seeds.map(one).sum::<Result<u64, _>>())
    };
    let halves = [half(seeds.start..middle), half(middle..seeds.end)];
    let grants = halves.map(|half| match half.join().expect("the simulation does not panic") {
        Ok(grants) => grants,
        Err((seed, broken)) => panic!("seed {seed}: {broken}\nreplay: LEASEHOLD_SEED={seed}"),
    });
    (faults, grants.iter().sum())
}

#[test]
#[allow(clippy::disallowed_methods)] // for people who replay a seed
fn no_history_breaks_a_promise() {
    if let Ok(seed) = std::env::var("LEASEHOLD_SEED") {
        let seed = seed.parse().expect("LEASEHOLD_SEED is a number");
        run(seed..seed + 1);
        return;
    }
    let seeds = std::env::var("LEASEHOLD_SEEDS").map_or(5000, |n| n.parse().expect("a number"));
    let (faults, grants) = run(0..seeds);
    println!("{seeds} seeds, {grants} grants, faults: {:?}", faults.counts());
    if seeds >= 5000 {
        assert!(grants > 50_000, "only {grants} grants prove little");
        for (fault, times) in faults.counts() {
            assert!(times >= 500, "{fault} was injected only {times} times");
        }
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let story = |seed| {
        let faults = Arc::new(Faults::default());
        let grants = simulate(seed, &faults);
        (grants, faults.counts())
    };
    for seed in 0..20 {
        assert_eq!(story(seed), story(seed), "seed {seed}");
    }
}
