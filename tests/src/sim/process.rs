//! What the tasks of a client do in the storm.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use leasehold::backend::{Backend, Mode};
use leasehold::runtime::Runtime;
use leasehold::{Client, Error, Lease, Lock};

use super::held::{Grant, Held, Kind, Letter};
use super::weather::{Fault, Use, Weather};
use super::{MAX_TTL, STORM};
use crate::world::{Machine, cut_at};

/// Of a name that nobody asks for otherwise. A few ask for another number.
const PERMITS: u32 = 2;

/// In which ways the tasks of a history take their locks, besides alone.
#[derive(Clone, Copy, Default)]
pub(super) struct Habits {
    pub(super) shares: bool,
    pub(super) counts: bool,
    /// Some with a min_hold, and some once per interval.
    pub(super) rests: bool,
    /// Some are handed on as tickets.
    pub(super) posts: bool,
    /// Some several together.
    pub(super) gathers: bool,
    pub(super) leads: bool,
}

impl Habits {
    /// All that there is here.
    pub(super) fn with(backend: &dyn Backend) -> Self {
        Self {
            shares: backend.supports(Mode::Shared).is_ok(),
            counts: backend.supports(Mode::Counted { permits: PERMITS }).is_ok(),
            rests: backend.supports_rest().is_ok(),
            posts: backend.tickets(MAX_TTL).is_ok(),
            gathers: true,
            leads: true,
        }
    }

    /// Some of them.
    pub(super) fn some(self, random: &mut fastrand::Rng) -> Self {
        let is_mixed = random.bool();
        let with_posts = random.bool();
        let shares = random.bool();
        Self {
            shares: self.shares && shares,
            counts: self.counts && shares,
            rests: self.rests,
            posts: self.posts && with_posts,
            gathers: is_mixed,
            leads: is_mixed,
        }
    }

    fn kind(self, random: &mut fastrand::Rng) -> Kind {
        match random.u32(..6) {
            2 if self.counts => Kind::Permits(PERMITS + u32::from(random.u32(..4) == 0)),
            3.. if self.shares => Kind::Shared,
            _ => Kind::Alone,
        }
    }
}

/// One client of the simulation.
pub(super) struct Process {
    pub(super) machine: Arc<Machine>,
    pub(super) client: Client,
    pub(super) weather: Arc<Weather>,
}

impl Process {
    /// What a task does until the storm is over.
    pub(super) async fn live(
        self: Arc<Self>,
        mut random: fastrand::Rng,
        names: &'static [&'static str],
        habits: Habits,
    ) {
        while self.weather.truth.elapsed() < STORM {
            let done = match random.u32(..12) {
                0..4 if habits.posts => self.adopt(&mut random).await,
                4 if habits.gathers => self.take_all(&mut random, names, habits).await,
                5 if habits.gathers && habits.rests => self.once(&mut random).await,
                6 | 7 if habits.leads => self.lead(&mut random).await,
                _ => self.take_one(&mut random, names, habits).await,
            };
            match done.map_err(|e| (e.kind(), e)) {
                Ok(true) => {}
                Ok(false) => self.pause(&mut random, 300).await,
                Err((leasehold::Kind::Timeout | leasehold::Kind::Unavailable, _)) => {}
                Err((_, e)) => return self.weather.ledger.broken(format!("unexpected: {e:?}")),
            }
        }
    }

    /// Answers whether there is something to be done at once.
    async fn take_one(
        &self,
        random: &mut fastrand::Rng,
        names: &'static [&'static str],
        habits: Habits,
    ) -> Result<bool, Error> {
        let mut name = names[random.usize(..names.len())];
        let kind = habits.kind(random);
        let ttl = self.some_ttl(random);
        let mut lock = self.client.lock(name).ttl(ttl);
        match kind {
            Kind::Alone => {}
            Kind::Shared => lock = lock.shared(),
            Kind::Permits(permits) => {
                name = "permits";
                lock = self.client.lock(name).ttl(ttl).permits(permits);
            }
        }
        if random.u32(..8) == 0 {
            lock = lock.delay(MAX_TTL - ttl);
        }
        let mut min_hold = Duration::ZERO;
        if random.u32(..10) == 0 {
            lock = lock.max_hold(ttl * random.u32(1..4));
        } else if habits.rests && kind == Kind::Alone && ttl.as_millis().is_multiple_of(8) {
            min_hold = ttl * 2;
            lock = lock.min_hold(min_hold);
        }
        let before = self.weather.ledger.highest(name);
        let taken = self.take(random, lock).await;
        let lease = match taken {
            Ok(Some(lease)) => Arc::new(lease),
            Ok(None) => return Ok(false),
            // Others use it by another number.
            Err(e) if e.kind() == leasehold::Kind::Refused && matches!(kind, Kind::Permits(_)) => {
                self.weather.faults.used(Use::OtherPermits);
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        let (now, grant) = (self.weather.truth.elapsed(), Grant::of(&lease, kind));
        self.weather.faults.used(match kind {
            Kind::Alone => Use::Alone,
            Kind::Shared => Use::Shared,
            Kind::Permits(_) => Use::Counted,
        });
        self.weather.ledger.wakes(&*lease, name, now);
        self.weather.ledger.granted(&lease, grant.clone(), before, now);
        // As much as the clocks of client and server may take from it.
        let rests_until = now + min_hold.mul_f64(0.97);
        let posts = habits.posts && min_hold.is_zero();
        if self.work(random, lease, grant, posts).await && !min_hold.is_zero() {
            self.weather.ledger.rests(name, rests_until);
        }
        Ok(true)
    }

    async fn take(&self, random: &mut fastrand::Rng, lock: Lock) -> Result<Option<Lease>, Error> {
        match random.u32(..4) {
            0 => lock.try_acquire().await,
            1 => {
                let wait = Duration::from_millis(random.u64(1..3000));
                lock.wait(wait).acquire().await.map(Some)
            }
            2 => self.cut(random, 12, lock.acquire()).await.transpose(),
            _ => lock.acquire().await.map(Some),
        }
    }

    /// Work under a lease, and end it or hand it on. Whether the server has confirmed
    /// that it was released.
    pub(super) async fn work(
        &self,
        random: &mut fastrand::Rng,
        lease: Arc<Lease>,
        grant: Grant,
        posts: bool,
    ) -> bool {
        self.hold(random, &*lease).await;
        if posts && random.u32(..4) == 0 && self.post(random, &lease, &grant).await {
            return false;
        }
        self.end(random, lease, &[grant]).await
    }

    /// Hold something for a while, or until it is lost.
    pub(super) async fn hold(&self, random: &mut fastrand::Rng, held: &impl Held) {
        let work = match random.u32(..8) {
            0 => 10_000,
            1 => 4000,
            _ => 100,
        };
        tokio::select! {
            biased;
            _ = held.lost() => {}
            () = self.pause(random, work) => self.lost_if_invalid(held).await,
        }
    }

    /// End it some way. Whether the server has confirmed that it was released.
    pub(super) async fn end(
        &self,
        random: &mut fastrand::Rng,
        held: Arc<impl Held>,
        grants: &[Grant],
    ) -> bool {
        let end = match random.u32(..4) {
            0 => {
                drop(held);
                None
            }
            1 => self.cut(random, 4, held.release()).await,
            _ => Some(held.release().await),
        };
        grants.iter().for_each(|grant| self.weather.ledger.given_back(grant));
        matches!(end, Some(Ok(())))
    }

    /// Hand it on, as a ticket that the post has then; it is over here in any case.
    async fn post(&self, random: &mut fastrand::Rng, lease: &Lease, grant: &Grant) -> bool {
        let valid = self.some_ttl(random);
        let until = self.weather.truth.elapsed() + valid.mul_f64(0.97);
        let given = match random.u32(..3) {
            0 => self.cut(random, 4, lease.into_ticket_for(valid)).await,
            _ => Some(lease.into_ticket_for(valid).await),
        };
        let Some(Ok(ticket)) = given else { return false };
        if lease.is_valid() {
            self.weather.ledger.broken(format!("handed on, and still held: {lease:?}"));
        }
        self.weather.faults.used(Use::Posted);
        self.weather.ledger.posted(Letter {
            text: ticket.into(),
            grant: grant.clone(),
            until,
            opened: AtomicBool::default(),
            adopted: AtomicBool::default(),
        });
        true
    }

    /// A lease that is over by the clock must have been reported lost, as soon
    /// as the process had a moment to do so.
    async fn lost_if_invalid(&self, held: &impl Held) {
        if held.is_valid() || held.loss().is_some() {
            return;
        }
        self.weather.truth.sleep(Duration::from_millis(5)).await;
        if held.loss().is_none() && !self.machine.is_stopped() {
            self.weather.ledger.broken(format!("over, and nobody was told: {held:?}"));
        }
    }

    /// Do it, or only up to some await point.
    pub(super) async fn cut<F: Future>(
        &self,
        random: &mut fastrand::Rng,
        polls: u32,
        work: F,
    ) -> Option<F::Output> {
        let done = cut_at(random.u32(1..polls), work).await;
        if done.is_none() {
            self.weather.faults.count(Fault::Cancelled);
        }
        done
    }

    pub(super) fn some_ttl(&self, random: &mut fastrand::Rng) -> Duration {
        Duration::from_millis(random.u64(500..=MAX_TTL.as_millis() as u64))
    }

    pub(super) async fn pause(&self, random: &mut fastrand::Rng, millis: u64) {
        self.machine.sleep(Duration::from_millis(random.u64(..millis))).await;
    }
}
