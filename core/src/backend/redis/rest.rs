//! Giving back a lock that rests afterwards.

use std::time::Duration;

use super::request::numbers;
use super::{Redis, millis, scripts, strange};
use crate::backend::{Held, Released};
use crate::error::Error;

impl Redis {
    pub(super) async fn release_to_rest(
        &self,
        held: &Held,
        rest: Duration,
    ) -> Result<Released, Error> {
        let session = self.connection.session().await?;
        self.past().retired.insert(held.owner);
        let request = self.request(&scripts::REST, &held.name, &session).arg(held.owner);
        let late = self.past().may_come_late(held.owner, session.link.number, self.clock.now());
        let answer = request.arg(millis(rest)).owed().send(&session.link).await;
        let reply = numbers(answer?)?;
        let [was_held, others] = reply[..] else { return Err(strange(&reply)) };
        if late {
            // What rests is not this owner's any more, and stays.
            self.withdraw_over(&session, &held.name, held.owner).await?;
        }
        self.past().in_doubt.remove(&held.owner);
        Ok(Released { held: was_held == 1, next: None, others: others as usize })
    }
}
