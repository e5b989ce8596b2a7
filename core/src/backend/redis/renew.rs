//! Renewals: many leases in one command.

use std::sync::Arc;

use std::sync::atomic::Ordering;

use super::failure::Failure;
use super::link::Link;
use super::request::Request;
use super::{Redis, millis, scripts, strange};
use crate::backend::parts::joined;
use crate::backend::{Held, Renewal};
use crate::error::Error;
use crate::together::together;

/// So many leases go in one command.
pub(super) const BATCH: usize = 1000;

impl Redis {
    pub(super) async fn renew_all(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        leases.iter().try_for_each(|held| self.address.check_ttl(held.ttl))?;
        if !leases.iter().any(|held| held.mode.is_shared()) {
            return self.renew_like(leases).await;
        }
        // Another script is for those that are shared.
        let (shared, alone): (Vec<Held>, Vec<Held>) =
            leases.iter().cloned().partition(|held| held.mode.is_shared());
        let (renewed, others) = tokio::join!(self.renew_like(&shared), self.renew_like(&alone));
        let answers = joined(vec![(shared.len(), renewed), (alone.len(), others)])?;
        let (renewed, others) = answers.split_at(shared.len());
        let (mut renewed, mut others) = (renewed.iter(), others.iter());
        let answer = |held: &Held| match held.mode.is_shared() {
            true => renewed.next().copied(),
            false => others.next().copied(),
        };
        Ok(leases.iter().filter_map(answer).collect())
    }

    /// Renew leases that are all shared, or none.
    async fn renew_like(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        let session = self.connection.session().await?;
        let one_by_one = self.in_cluster.load(Ordering::Relaxed);
        let parts = leases.chunks(if one_by_one { 1 } else { BATCH });
        let parts = parts.map(async |some| match self.renew_together(some, &session.link).await {
            Err(failure) if failure.code == "CROSSSLOT" => {
                self.in_cluster.store(true, Ordering::Relaxed);
                let each = some.chunks(1).map(async |one| {
                    (1, self.renew_together(one, &session.link).await.map_err(Error::from))
                });
                (some.len(), joined(together(each).await))
            }
            kept => (some.len(), kept.map_err(Error::from)),
        });
        joined(together(parts).await)
    }

    /// Renew in one command.
    async fn renew_together(
        &self,
        leases: &[Held],
        link: &Arc<Link>,
    ) -> Result<Vec<Renewal>, Failure> {
        let keys = leases.iter().map(|held| self.keys(&held.name));
        let mut request = match leases.iter().any(|held| held.mode.is_shared()) {
            true => {
                let keys: Vec<_> = keys.flat_map(|keys| keys.all()).collect();
                Request::over(&scripts::RENEW_SHARE, &keys)
            }
            false => {
                let keys: Vec<_> = keys.flat_map(|keys| [keys.lock(), keys.fence()]).collect();
                Request::over(&scripts::RENEW, &keys)
            }
        };
        request = request.arg(millis(self.address.remember));
        for held in leases {
            request = request.arg(held.owner).arg(millis(held.ttl));
        }
        let answer = |kept: &u8| if *kept == b'1' { Renewal::Kept } else { Renewal::Gone };
        match request.send(link).await? {
            ::redis::Value::BulkString(kept) => Ok(kept.iter().map(answer).collect()),
            other => Err(strange(&other).into()),
        }
    }
}
