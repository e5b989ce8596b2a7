//! A bench's own time: that of the machine, the same in all its processes.

use std::time::Duration;

use leasehold::time::{Clock, Instant, SystemClock};

/// The time.
pub fn now() -> Instant {
    SystemClock.now()
}

/// Let some time pass.
#[allow(clippy::disallowed_methods)] // no lease is counted by it
pub async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Wait for a time, unless it has passed.
pub async fn pause_until(at: Instant) {
    pause(at.since(now())).await;
}

/// As the tables show it.
pub fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}
