//! Renewals: many leases in one command.

use std::sync::Arc;

use std::sync::atomic::Ordering;

use super::failure::Failure;
use super::link::Link;
use super::request::Request;
use super::{Redis, millis, scripts, strange};
use crate::backend::{Held, Renewal};
use crate::error::Error;

/// So many leases go in one command.
pub(super) const BATCH: usize = 1000;

impl Redis {
    pub(super) async fn renew_all(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        leases.iter().try_for_each(|held| self.address.check_ttl(held.ttl))?;
        let session = self.connection.session().await?;
        let one_by_one = self.in_cluster.load(Ordering::Relaxed);
        let mut answers = Vec::with_capacity(leases.len());
        for batch in leases.chunks(if one_by_one { 1 } else { BATCH }) {
            match self.renew_together(batch, &session.link).await {
                Err(failure) if failure.code == "CROSSSLOT" => {
                    self.in_cluster.store(true, Ordering::Relaxed);
                    for held in batch {
                        let alone = std::slice::from_ref(held);
                        answers.extend(self.renew_together(alone, &session.link).await?);
                    }
                }
                kept => answers.extend(kept?),
            }
        }
        Ok(answers)
    }

    /// Renew in one command.
    async fn renew_together(
        &self,
        leases: &[Held],
        link: &Arc<Link>,
    ) -> Result<Vec<Renewal>, Failure> {
        let keys = leases.iter().map(|held| self.keys(&held.name));
        let keys: Vec<_> = keys.flat_map(|keys| [keys.lock(), keys.fence()]).collect();
        let mut request = Request::over(&scripts::RENEW, &keys);
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
