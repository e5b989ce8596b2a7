//! Giving back a lock that is shared.

use super::request::numbers;
use super::{Redis, scripts, strange};
use crate::backend::{Answer, Backend, Claim, Held, Released};
use crate::error::Error;

impl Redis {
    /// Where others may share it, there is nobody to hand it to: who comes next asks.
    pub(super) async fn release_share(
        &self,
        held: &Held,
        then: Option<&Claim>,
    ) -> Result<Released, Error> {
        let session = self.connection.session().await?;
        self.past().retired.insert(held.owner);
        let request = self.request(&scripts::RELEASE_SHARE, &held.name, &session).arg(held.owner);
        let late = self.past().may_come_late(held.owner, session.link.number, self.clock.now());
        let reply = numbers(request.owed().send(&session.link).await?)?;
        let [was_held, others, _] = reply[..] else { return Err(strange(&reply)) };
        if late {
            self.withdraw_over(&session, &held.name, held.owner).await?;
        }
        self.past().in_doubt.remove(&held.owner);
        let next = match then {
            Some(then) if self.past().retired.contains(then.owner) => Some(Answer::Retired),
            Some(then) => Some(self.claim(then).await?),
            None => None,
        };
        Ok(Released { held: was_held == 1, next, others: others as usize })
    }
}
