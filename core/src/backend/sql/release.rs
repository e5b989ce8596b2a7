//! Giving a lock back.

use super::Rows;
use super::failure::{Is, Trouble};
use super::locks::{Locks, Moment, Start, next_client};
use crate::backend::record::Record;
use crate::backend::{Answer, Claim, Held, Mode, Released};
use crate::error::Error;

impl<R: Rows> Locks<R> {
    pub(crate) async fn release(
        &self,
        held: &Held,
        then: Option<&Claim>,
    ) -> Result<Released, Error> {
        self.chores.count_request();
        self.retired().insert(held.owner);
        match self.release_alone(held, then).await {
            Ok(Some(released)) => Ok(released),
            Ok(None) | Err(Trouble { is: Is::Beaten, .. }) => self.release_row(held, then).await,
            Err(Trouble { is: Is::Locked, .. }) if R::SKIPS_LOCKED_ROWS => {
                self.release_row(held, then).await
            }
            Err(trouble) => Err(trouble.error),
        }
    }

    /// By one statement; nothing if it takes more.
    async fn release_alone(
        &self,
        held: &Held,
        then: Option<&Claim>,
    ) -> Result<Option<Released>, Trouble> {
        let Some(then) = then else {
            let session = self.session().await?;
            return self.rows.free(&session, held).await;
        };
        if held.mode != Mode::Exclusive || then.mode != Mode::Exclusive {
            return Ok(None);
        }
        let session = self.session().await?;
        // What comes next is sent at once, or not at all.
        if self.is_retired(then.owner) {
            return Ok(None);
        }
        let fence = self.rows.hand_over(&session, held, then).await?;
        Ok(fence.map(|fence| {
            let next = Some(Answer::Granted { fence, slot: 0, term: None });
            Released { held: true, next, others: 0 }
        }))
    }

    /// By the lock's row.
    async fn release_row(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        let release = |record: &mut Record, moment: Moment| {
            let was_held = record.release(held.owner, moment.now.instant);
            let is_free = was_held && record.tenants.is_empty() && moment.may_grant;
            let next = then.map(|then| match is_free && !self.is_retired(then.owner) {
                true => record.hand_over(then, self.rows.address(), moment.now),
                false => self.claim_in(record, then, moment),
            });
            let others = record.waiters_besides(then.map(|then| then.owner));
            (Released { held: was_held, next, others }, next_client(record))
        };
        self.change(&held.name, held.ttl, Start::default(), release).await
    }
}
