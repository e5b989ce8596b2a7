//! What tasks do with several locks together, with what is done once, and with what
//! others hand on.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{Error, Run};

use super::held::{Grant, Kind};
use super::process::{Habits, Process};
use super::weather::Use;

/// The name of what is done once,
const ONCE: &str = "once";
/// per this interval.
const EVERY: Duration = Duration::from_secs(3);

impl Process {
    /// Hold several together.
    pub(super) async fn take_all(
        &self,
        random: &mut fastrand::Rng,
        names: &'static [&'static str],
        habits: Habits,
    ) -> Result<bool, Error> {
        let shares = habits.shares && random.bool();
        let kind = if shares { Kind::Shared } else { Kind::Alone };
        let before: Vec<u64> = names.iter().map(|name| self.weather.ledger.highest(name)).collect();
        let mut named = names.to_vec();
        random.shuffle(&mut named);
        let mut locks = self.client.locks(named).ttl(self.some_ttl(random));
        if shares {
            locks = locks.shared();
        }
        let taken = match random.u32(..4) {
            0 => locks.try_acquire().await,
            1 => {
                let wait = Duration::from_millis(random.u64(1..3000));
                locks.wait(wait).acquire().await.map(Some)
            }
            2 => self.cut(random, 20, locks.acquire()).await.transpose(),
            _ => locks.acquire().await.map(Some),
        };
        let leases = match taken {
            Ok(Some(leases)) => Arc::new(leases),
            // One of them, while another was waited for.
            Err(e) if e.kind() != leasehold::Kind::Lost => return Err(e),
            Ok(None) | Err(_) => return Ok(false),
        };
        self.weather.faults.used(Use::Together);
        let (now, grants) = (self.weather.truth.elapsed(), Grant::all(&leases, kind));
        for (grant, before) in grants.iter().zip(before) {
            self.weather.ledger.wakes(&*leases, &grant.name, now);
            self.weather.ledger.granted(&leases, grant.clone(), before, now);
        }
        self.hold(random, &*leases).await;
        self.end(random, leases, &grants).await;
        Ok(true)
    }

    /// Do something unless it was done in this interval, and succeed or fail.
    pub(super) async fn once(&self, random: &mut fastrand::Rng) -> Result<bool, Error> {
        let once = self.client.once(ONCE).every(EVERY).ttl(self.some_ttl(random));
        let before = self.weather.ledger.highest(ONCE);
        let begun = match random.u32(..4) {
            0 => self.cut(random, 8, once.begin()).await.transpose()?,
            _ => Some(once.begin().await?),
        };
        let leases = match begun {
            Some(Run::Ran(leases)) => Arc::new(leases),
            Some(Run::Skipped { next_in, .. }) => {
                self.weather.faults.used(Use::Skipped);
                if next_in > EVERY {
                    self.weather.ledger.broken(format!("skipped for {next_in:?} of {EVERY:?}"));
                }
                return Ok(false);
            }
            None => return Ok(false),
        };
        self.weather.faults.used(Use::Once);
        let (now, grants) = (self.weather.truth.elapsed(), Grant::all(&leases, Kind::Alone));
        for grant in &grants {
            self.weather.ledger.wakes(&*leases, ONCE, now);
            self.weather.ledger.granted(&leases, grant.clone(), before, now);
        }
        self.hold(random, &*leases).await;
        let succeeds = random.u32(..3) > 0;
        if succeeds {
            leases.succeed();
        }
        if self.end(random, leases, &grants).await && succeeds {
            // As much as the clocks of client and server may take from it.
            let rest = (EVERY * 19 / 20).mul_f64(0.97);
            self.weather.ledger.rests(ONCE, now + rest);
        }
        Ok(true)
    }

    /// Go on with what somebody has handed on.
    pub(super) async fn adopt(&self, random: &mut fastrand::Rng) -> Result<bool, Error> {
        let Some(letter) = self.weather.ledger.letter(random) else { return Ok(false) };
        let adopting = self.client.adopt(&letter.text);
        let adopted = match random.u32(..4) {
            0 => self.cut(random, 6, adopting).await,
            _ => Some(adopting.await),
        };
        let lease = match adopted {
            Some(Ok(lease)) => Arc::new(lease),
            Some(Err(e)) if e.kind() != leasehold::Kind::Lost => return Err(e),
            Some(Err(_)) | None => return Ok(true),
        };
        self.weather.faults.used(Use::Adopted);
        let grant = Grant::of(&lease, letter.grant.kind);
        self.weather.ledger.adopted(&lease, &letter, grant.clone());
        self.work(random, lease, grant, true).await;
        Ok(true)
    }
}
