//! The bench's own time: that of the machine, the same in all its processes.

use std::time::Duration;

use leasehold::time::{Clock, Instant, SystemClock};

pub(crate) fn now() -> Instant {
    SystemClock.now()
}

#[allow(clippy::disallowed_methods)] // no lease is counted by it
pub(crate) async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

pub(crate) async fn pause_until(at: Instant) {
    pause(at.since(now())).await;
}

pub(crate) fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}
