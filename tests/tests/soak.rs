//! Two minutes of bad luck on real servers; `cargo xtask soak` has ten for each kind.

use std::path::Path;
use std::time::Duration;

use leasehold_tests::soak;

/// `LEASEHOLD_SOAK` chooses parts by a word in their name, which then are longer.
#[test]
#[allow(clippy::disallowed_methods)] // a test may; the library may not
fn real_servers_in_bad_weather_break_no_promise() {
    let seed = fastrand::u64(..);
    let word = std::env::var("LEASEHOLD_SOAK").unwrap_or_default();
    let each = Duration::from_secs(if word.is_empty() { 15 } else { 40 });
    let worker = Path::new(env!("CARGO_BIN_EXE_soak"));
    if let Err(failure) = soak::run(worker, &word, each, seed) {
        println!("soak: {failure}");
        panic!("seed {seed}: {failure}");
    }
}
