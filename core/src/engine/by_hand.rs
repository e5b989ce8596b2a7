//! Renewals that somebody asks for.

use std::sync::Arc;
use std::time::Duration;

use super::keeper::{Renewed, TOO_FEW};
use super::{Engine, Hold};
use crate::backend::Renewal;
use crate::error::{Error, Kind, Outcome};
use crate::time::Instant;

/// One that is under way, or whose answer nobody waits for any more.
pub(super) struct ByHand<'a> {
    pub(super) hold: &'a Hold,
    pub(super) asked: Renewed,
    /// How long its answer is waited for.
    pub(super) limit: Duration,
    /// Until when the backend has it if the renewal is not carried out.
    pub(super) before: Instant,
    pub(super) is_answered: bool,
}

impl Drop for ByHand<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.hold.renewal_lost(self.asked.number);
        }
    }
}

impl Engine {
    /// Renew a lease now, by its ttl.
    pub(crate) async fn renew(self: &Arc<Self>, hold: &Arc<Hold>) -> Result<(), Error> {
        self.renew_by(hold, hold.ttl()).await
    }

    /// Renew a lease now by another ttl, which it has from then on.
    pub(crate) async fn renew_for(
        self: &Arc<Self>,
        hold: &Arc<Hold>,
        ttl: Duration,
    ) -> Result<(), Error> {
        if hold.held.renewed {
            let message = "it is renewed in the background, by the ttl that it was taken with; \
                           one that is taken without auto_renew can be renewed by another";
            let error = Error::new(Kind::Invalid, message).with_outcome(Outcome::Held);
            return Err(error.about(&hold.held.name, self.describe()));
        }
        // What the backend adds is the holder's.
        let lasts = self.backend().ttl(hold.with_delay(ttl));
        self.renew_by(hold, hold.without_delay(lasts)).await
    }

    async fn renew_by(self: &Arc<Self>, hold: &Arc<Hold>, ttl: Duration) -> Result<(), Error> {
        self.check_open()?;
        if hold.is_over() {
            return Err(self.over(hold));
        }
        let mut under_way = self.begin_renewal(hold, ttl);
        let held = [hold.renewed_by(ttl)];
        let answer = self.request(under_way.limit, self.backend().renew(&held)).await;
        let answer = answer.and_then(|answers| match answers.first() {
            Some(Renewal::Unknown) => {
                Err(Error::unavailable(TOO_FEW).with_outcome(Outcome::Unknown))
            }
            Some(answer) => Ok(*answer),
            None => Ok(Renewal::Gone),
        });
        let ByHand { asked, limit, before, .. } = under_way;
        let answer = answer.map_err(|e| {
            if e.outcome() == Outcome::NotHeld {
                under_way.is_answered = true;
                hold.not_renewed(asked.number, ttl, asked.sent + limit, before);
            }
            let e = e.about(&hold.held.name, self.describe());
            hold.not_extended(Arc::new(e.again()));
            // Renewed or not, it lasts until its deadline.
            if hold.is_valid(self.runtime.now()) { e.with_outcome(Outcome::Held) } else { e }
        })?;
        under_way.is_answered = true;
        hold.check(false);
        self.apply(hold, asked, answer);
        if hold.is_over() { Err(self.over(hold)) } else { Ok(()) }
    }
}
