//! Asking for a lock, and taking that back.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::failure::{Is, Trouble};
use super::rows::{Seen, column, micros};
use super::store::{From, Moment};
use super::{Postgres, next_client};
use crate::backend::record::Record;
use crate::backend::{Answer, Claim};
use crate::error::Error;

/// A place is kept longer by this part than it was asked for, so that not every time when it is
/// asked for again something has to be written.
const KEPT_LONGER: f64 = 0.4;

/// For so long after a session was made anew, what was sent on the one before may still come.
const LATE: Duration = Duration::from_secs(60 * 60);

/// What the statement that takes a free lock came to.
enum Taken {
    Granted(u64),
    /// It was as this tells, a little before.
    Seen(Seen),
}

impl Postgres {
    /// Ask for a lock for one holder.
    pub(super) async fn claim_alone(&self, claim: &Claim) -> Result<Answer, Error> {
        match self.take(claim).await {
            Ok(Taken::Granted(fence)) => Ok(Answer::Granted { fence, slot: 0, term: None }),
            Ok(Taken::Seen(seen)) => {
                self.claim_row(claim, From { seen: Some(seen), careful: None }).await
            }
            Err(Trouble { is: Is::Beaten, .. }) => self.claim_row(claim, From::default()).await,
            Err(trouble) => Err(trouble.error),
        }
    }

    async fn take(&self, claim: &Claim) -> Result<Taken, Trouble> {
        let session = self.store.requests.session().await?;
        let (name, owner) = (claim.name.as_str(), claim.owner.to_string());
        let (ttl, client) = (micros(claim.ttl), self.store.address() as i64);
        let parameters = [
            (&name as _, Type::TEXT),
            (&owner as _, Type::TEXT),
            (&ttl as _, Type::INT8),
            (&client as _, Type::INT8),
            (&&*claim.label as _, Type::TEXT),
        ];
        let rows = session.ask(&self.store.table.sql.claim, &parameters).await?;
        let row = self.store.answer_to(&session, &rows, "claimed", &owner)?;
        if let Some(fence) = column::<Option<i64>>(row, "granted")? {
            return Ok(Taken::Granted(fence as u64));
        }
        let seen = Seen::of(row)?;
        match seen.name == name {
            true => Ok(Taken::Seen(seen)),
            false => Err(Trouble::strange("the answer to another question")),
        }
    }

    /// Ask for a lock by its row.
    pub(super) async fn claim_row(&self, claim: &Claim, from: From) -> Result<Answer, Error> {
        let ask = |record: &mut Record, moment: Moment| {
            let answer = self.claim_in(record, claim, moment);
            // There may be room for the next, too, who asks by itself if it is not woken.
            let shares = claim.mode.is_shared() && matches!(answer, Answer::Granted { .. });
            let told = if shares { next_client(record) } else { Vec::new() };
            (answer, told)
        };
        self.store.change(&claim.name, from, ask).await
    }

    /// What a claim comes to, and makes of the record.
    pub(super) fn claim_in(&self, record: &mut Record, claim: &Claim, moment: Moment) -> Answer {
        if self.is_retired(claim.owner) {
            return Answer::Retired;
        }
        let place = record.line.iter().find(|waiter| waiter.owner == claim.owner);
        let lasts = place.map(|waiter| waiter.until.since(moment.now.instant));
        let is_kept = lasts.zip(claim.place).is_some_and(|(lasts, keep)| lasts >= keep);
        let place = claim.place.filter(|_| !is_kept).map(|keep| keep.mul_f64(1.0 + KEPT_LONGER));
        let (claim, client) = (Claim { place, ..claim.clone() }, self.store.address());
        if moment.may_grant {
            return record.claim(&claim, client, moment.now);
        }
        let before = record.clone();
        match record.claim(&claim, client, moment.now) {
            // Whoever keeps the row from being changed says when it may be.
            Answer::Granted { .. } => {
                *record = before;
                record.wait(&claim, client, moment.now)
            }
            answer => answer,
        }
    }

    /// Make a claim as if it had never been sent.
    pub(super) async fn take_back(&self, claim: &Claim) -> Result<(), Error> {
        let session = self.store.requests.session().await?;
        // Of this session nothing comes after what is sent now.
        let is_late = session.number > 1 && session.age() < LATE;
        let from = From { seen: None, careful: is_late.then_some(LATE) };
        let take_back = |record: &mut Record, moment: Moment| {
            record.withdraw(claim.owner, moment.now.instant);
            ((), next_client(record))
        };
        self.store.change(&claim.name, from, take_back).await
    }
}
