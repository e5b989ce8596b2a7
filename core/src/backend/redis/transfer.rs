//! Handing a lease to another owner.

use ::redis::Value;

use super::request::Request;
use super::{Redis, millis, scripts, strange};
use crate::backend::{Claim, Held, Transferred};
use crate::error::Error;

impl Redis {
    /// The other may come late, and is kept out then if it was withdrawn, as one that
    /// has asked for the lock is.
    pub(super) async fn hand_to(&self, held: &Held, to: &Claim) -> Result<Transferred, Error> {
        self.address.check_ttl(to.ttl)?;
        let session = self.connection.session().await?;
        let request = Request::over(&scripts::TRANSFER, &self.keys(&held.name).all())
            .arg(millis(self.address.remember))
            .arg(held.owner)
            .arg(to.owner)
            .arg(self.who(to))
            .arg(millis(to.ttl))
            .arg(millis(self.remembers(to.ttl)));
        let Some(answer) = self.ask_for(to.owner, request, &session.link).await? else {
            return Ok(Transferred::Gone);
        };
        match answer {
            Value::Int(1) => {}
            Value::Int(0) => return Ok(Transferred::Gone),
            other => return Err(strange(&other)),
        }
        // No claim of the former owner is granted any more.
        let late = {
            let mut past = self.past();
            past.retired.insert(held.owner);
            past.may_come_late(held.owner, session.link.number, self.clock.now())
        };
        if late {
            self.withdraw_over(&session, &held.name, held.owner).await?;
        }
        self.past().in_doubt.remove(&held.owner);
        Ok(Transferred::Done { term: None })
    }
}
