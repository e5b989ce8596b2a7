//! The suspend-aware clock, and the arithmetic of deadlines.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on a client's own clock, in nanoseconds since some fixed start.
///
/// Comparable only with instants of the same [`Clock`]. Unlike
/// [`std::time::Instant`] it goes on counting while the machine is suspended,
/// as a lease on a server does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The instant `nanos` nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, by: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(by)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, by: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(by)))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where the time comes from: one per client, and one per server.
pub trait Clock: Send + Sync + 'static {
    /// Time that neither jumps nor stops during suspend.
    fn now(&self) -> Instant;

    /// Microseconds since 1970. It may jump; it only seeds fences.
    fn wall_micros(&self) -> u64;
}

/// The machine's own clock: `CLOCK_BOOTTIME` on Linux and Android, the
/// continuous clock (`CLOCK_MONOTONIC`) on Apple platforms.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        use rustix::time::{ClockId, clock_gettime};
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const CLOCK: ClockId = ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const CLOCK: ClockId = ClockId::Monotonic;
        let now = clock_gettime(CLOCK);
        Instant(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }

    #[allow(clippy::disallowed_methods)] // the one place that reads it
    fn wall_micros(&self) -> u64 {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since_1970.map_or(0, |d| d.as_micros() as u64)
    }
}

/// How far two clocks may drift apart over `span`: 2 % of it, plus 5 ms.
///
/// The usual 1 % + 2 ms is less than what chrony may slew.
pub fn drift(span: Duration) -> Duration {
    span / 50 + Duration::from_millis(5)
}

/// The local instant after which a lease is no longer claimed: the server
/// cannot have started counting before the request was sent.
pub fn deadline(sent: Instant, ttl: Duration) -> Instant {
    sent + ttl.saturating_sub(drift(ttl))
}

/// How long before its deadline a lease that could not be renewed is reported
/// lost, so that the work under it can stop in time: 10 % of the ttl.
pub fn grace(ttl: Duration) -> Duration {
    ttl / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_counts_from_the_sending_and_leaves_the_drift() {
        let sent = Instant::from_nanos(1_000_000_000);
        let at = deadline(sent, Duration::from_secs(10));
        assert_eq!(at.since(sent), Duration::from_millis(10_000 - 205));
    }

    #[test]
    fn a_ttl_below_the_margin_never_becomes_a_lease() {
        let sent = Instant::from_nanos(7);
        assert_eq!(deadline(sent, Duration::from_millis(5)), sent);
    }

    #[test]
    fn the_system_clock_goes_forward_and_the_wall_clock_is_past_2020() {
        let first = SystemClock.now();
        assert!(SystemClock.now() >= first);
        assert!(SystemClock.wall_micros() > 1_577_836_800_000_000);
    }
}
