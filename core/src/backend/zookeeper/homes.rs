//! The sessions of a client, by the ttl of the leases that live in them.
//!
//! A lease of a ttl lives in a session whose timeout is longer by what its proof may lag
//! behind (see [`Proof`](super::proof::Proof)): two and a half times the distance of its
//! beats. So in good weather a lease has the whole of its ttl from every renewal on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::address::Address;
use super::dial::{Dial, Pace, Servers, too_long};
use super::link::Link;
use super::news::News;
use super::places::Places;
use crate::backend::connection::Connection;
use crate::error::{Error, Kind};
use crate::runtime::Runtime;

/// A session, and how to get to it.
pub(super) struct Home {
    /// The longest ttl of a lease in it.
    pub(super) ttl: Duration,
    connection: Connection<Arc<Link>>,
}

impl Home {
    pub(super) fn over(ttl: Duration, connection: Connection<Arc<Link>>) -> Self {
        Self { ttl, connection }
    }

    /// The connection over which it is used.
    pub(super) async fn link(&self) -> Result<Arc<Link>, Error> {
        self.connection.session().await
    }

    pub(super) fn link_now(&self) -> Result<Arc<Link>, Error> {
        self.connection.session_now()
    }
}

pub(super) struct Homes {
    address: Arc<Address>,
    runtime: Arc<dyn Runtime>,
    places: Arc<Places>,
    news: Arc<News>,
    /// The shortest timeout that the servers give.
    shortest: Duration,
    /// See [`Proof`](super::proof::Proof).
    apart: Duration,
    /// The longest, in ms; 0: not known.
    longest: Arc<AtomicI64>,
    known: Mutex<BTreeMap<Duration, Arc<Home>>>,
}

impl Homes {
    pub(super) fn new(
        address: Arc<Address>,
        runtime: Arc<dyn Runtime>,
        (places, news): (Arc<Places>, Arc<News>),
        shortest: Duration,
    ) -> Self {
        // It is two ticks, unless minSessionTimeout says something else.
        let half_a_tick = address.tick.map_or(shortest / 4, |tick| tick / 2);
        // A leader may be late by a little.
        let apart = half_a_tick * 11 / 10;
        let (longest, known) = Default::default();
        Self { address, runtime, places, news, shortest, apart, longest, known }
    }

    /// How far apart the beats of a session for leases of this ttl are. The answer to one
    /// may take a fifth of that.
    fn beat(&self, ttl: Duration) -> Duration {
        (self.apart * 5 / 4).max(ttl / 10)
    }

    fn timeout(&self, ttl: Duration) -> Duration {
        (ttl + self.beat(ttl) * 5 / 2).max(self.shortest)
    }

    /// The longest ttl of a lease in a session of this timeout, in whole milliseconds: what
    /// [`timeout`](Self::timeout) makes of it is no longer.
    fn longest_in(&self, timeout: Duration) -> Duration {
        let longest = (timeout * 4 / 5).min(timeout.saturating_sub(self.apart * 25 / 8));
        Duration::from_millis(longest.as_millis() as u64)
    }

    /// The ttl of the shortest session that there can be.
    fn least(&self) -> Duration {
        self.shortest.saturating_sub(self.beat(Duration::ZERO) * 5 / 2)
    }

    /// Where a lease of this ttl lives.
    ///
    /// # Errors
    /// `invalid` if no session can be long enough.
    pub(super) async fn of(&self, ttl: Duration) -> Result<Arc<Home>, Error> {
        let home = self.find(ttl)?;
        match self.enter(home).await {
            // Now it is known how long a session may be, and perhaps one that is less long will do.
            Err(error) if error.kind() == Kind::Invalid => self.enter(self.find(ttl)?).await,
            entered => entered,
        }
    }

    /// The home, if its session is open. One that never can be is forgotten: nobody needs it, and
    /// it would be tried again for ever.
    async fn enter(&self, home: Arc<Home>) -> Result<Arc<Home>, Error> {
        let Err(error) = home.link().await else { return Ok(home) };
        if error.kind() == Kind::Invalid {
            let mut known = self.known();
            if known.get(&home.ttl).is_some_and(|known| Arc::ptr_eq(known, &home)) {
                known.remove(&home.ttl);
            }
        }
        Err(error)
    }

    fn find(&self, ttl: Duration) -> Result<Arc<Home>, Error> {
        let most = (ttl * 2).max(self.least());
        let mut known = self.known();
        if let Some((_, home)) = known.range(ttl..=most.max(ttl)).next() {
            return Ok(home.clone());
        }
        let given = self.longest.load(Ordering::Relaxed).unsigned_abs();
        let given = Some(Duration::from_millis(given)).filter(|given| !given.is_zero());
        // So that not every ttl has a session of its own.
        let mut lasts = rounded(ttl).max(self.least());
        if let Some(given) = given.filter(|given| self.timeout(lasts) > *given) {
            lasts = self.longest_in(given);
            if lasts < ttl {
                return Err(too_long(self.timeout(ttl), given));
            }
        }
        let ttl = lasts;
        let timeouts = self.address.cluster.timeouts;
        // It leaves time to ask another server, if there is one.
        let part = if self.address.cluster.members.len() > 1 { 6 } else { 3 };
        let soon = (ttl / part).max(SOON);
        let pace = Pace {
            timeout: self.timeout(ttl),
            apart: self.apart,
            beat: self.beat(ttl),
            response: timeouts.response.min(soon),
            connect: timeouts.connect.min(soon),
        };
        let servers = Servers::new(self.address.clone(), self.runtime.clone());
        let (longest, places) = (self.longest.clone(), Arc::downgrade(&self.places));
        let dial = Dial::new(servers, pace, longest, places, self.news.clone());
        let connection = Connection::start(dial, self.runtime.clone());
        let home = Arc::new(Home::over(ttl, connection));
        known.insert(ttl, home.clone());
        Ok(home)
    }

    pub(super) fn all(&self) -> Vec<Arc<Home>> {
        self.known().values().cloned().collect()
    }

    /// One that is there, to look at things.
    pub(super) async fn any(&self) -> Result<Arc<Link>, Error> {
        let homes = self.all();
        if let Some(link) = homes.iter().find_map(|home| home.link_now().ok()) {
            return Ok(link);
        }
        let home = match homes.into_iter().next() {
            Some(home) => home,
            None => match self.of(USUAL).await {
                // Servers with short sessions have short leases.
                Err(error) if error.kind() == Kind::Invalid => self.of(Duration::ZERO).await?,
                opened => opened?,
            },
        };
        home.link().await
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Duration, Arc<Home>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Servers are given so much time at least, unless the URL says something else.
const SOON: Duration = Duration::from_millis(500);
/// The ttl of those who do not say another.
const USUAL: Duration = Duration::from_secs(10);

/// The next longer one with a leading digit and quarters of it: 1, 1.25, 1.5, 1.75, 2, 2.5, …
/// of the powers of two.
fn rounded(ttl: Duration) -> Duration {
    let millis = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX / 8).max(4);
    // In steps of a quarter of the largest power of two that fits, in seconds where they do.
    let unit = if millis >= 4_000 { 1_000 } else { 250 };
    let count = millis.div_ceil(unit);
    let step = (1 << (63 - count.leading_zeros())).max(4) / 4;
    Duration::from_millis(count.div_ceil(step) * step * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_few_sessions_whatever_ttls_are_asked_for() {
        let all: std::collections::BTreeSet<_> =
            (1..40_000).map(|millis| rounded(Duration::from_millis(millis))).collect();
        assert!(all.len() < 50, "{all:?}");
        for millis in 1..100_000 {
            let ttl = Duration::from_millis(millis);
            let rounded = rounded(ttl);
            let most = (ttl * 5 / 4).max(ttl + Duration::from_millis(999));
            assert!(rounded >= ttl && rounded <= most, "{ttl:?}: {rounded:?}");
        }
        for secs in [1, 2, 5, 10, 20, 30, 60] {
            let ttl = Duration::from_secs(secs);
            let most = if secs > 16 { ttl + ttl / 14 } else { ttl };
            assert!((ttl..=most).contains(&rounded(ttl)), "{:?}", rounded(ttl));
        }
    }
}
