//! Three minutes of bad luck on real servers; `cargo xtask soak` has ten for each kind.

use std::path::Path;
use std::time::Duration;

use leasehold_tests::soak;

/// `LEASEHOLD_SOAK` chooses parts by a word in their name, `LEASEHOLD_SOAK_SECONDS` how long
/// each of them is.
#[test]
#[allow(clippy::disallowed_methods)] // a test may; the library may not
fn real_servers_in_bad_weather_break_no_promise() {
    let seed = fastrand::u64(..);
    let word = std::env::var("LEASEHOLD_SOAK").unwrap_or_default();
    let seconds = std::env::var("LEASEHOLD_SOAK_SECONDS");
    let each = Duration::from_secs(seconds.map_or(15, |n| n.parse().expect("a number")));
    let worker = Path::new(env!("CARGO_BIN_EXE_soak"));
    if let Err(failure) = soak::run(worker, &word, each, seed) {
        println!("soak: {failure}");
        panic!("seed {seed}: {failure}");
    }
}
