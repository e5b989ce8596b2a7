//! A minute of bad luck on a real server; `cargo xtask soak redis` has ten.

use std::path::Path;
use std::time::Duration;

use leasehold_tests::soak;

#[test]
fn real_servers_in_bad_weather_break_no_promise() {
    let seed = fastrand::u64(..);
    let worker = Path::new(env!("CARGO_BIN_EXE_soak"));
    if let Err(failure) = soak::run(worker, Duration::from_secs(60), seed) {
        println!("soak: {failure}");
        panic!("seed {seed}: {failure}");
    }
}
