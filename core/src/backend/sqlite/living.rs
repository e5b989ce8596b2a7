//! Whose locks are free because its process is dead, and whose outlive it.

use super::{Sqlite, now};
use crate::backend::record::Record;
use crate::backend::{Answer, Claim};

/// Marks the address of a holder whose lock is not free as soon as it is dead. Alone it
/// is that of nobody: of a ticket, or of a lock that rests.
pub(super) const OUTLIVES: u64 = 1 << 62;

/// See [`Claim::delay`].
pub(super) fn outlive(record: &mut Record, claim: &Claim) {
    let granted = record.tenants.iter_mut().find(|tenant| tenant.owner == claim.owner);
    if let Some(tenant) = granted.filter(|_| !claim.delay.is_zero()) {
        tenant.client |= OUTLIVES;
    }
}

impl Sqlite {
    /// Forget whoever stands before the claim and is proven dead, then claim.
    pub(super) fn claim_from_the_living(&self, record: &mut Record, claim: &Claim) -> Answer {
        if self.is_retired(claim) {
            return Answer::Retired;
        }
        loop {
            let now = now();
            record.expire(now.instant);
            let mut dead = record.before(claim);
            // Each is asked, so that its death is a wake.
            dead.retain(|client| self.is_dead(*client));
            if dead.is_empty() {
                let answer = record.claim(claim, self.world.address(), now);
                outlive(record, claim);
                return answer;
            }
            dead.into_iter().for_each(|client| record.bury(client));
        }
    }

    /// Whether all that it has is free for others.
    pub(super) fn is_dead(&self, client: u64) -> bool {
        client & OUTLIVES == 0 && self.bell.is_dead(client)
    }
}
