//! Asking for a lock, and taking that back.

use std::time::Duration;

use super::failure::{Is, Trouble};
use super::rows::{Seen, column, micros};
use super::store::{From, has_written};
use super::table::named;
use super::{Mysql, NO_ADDRESS, text};
use crate::backend::record::{Now, Record};
use crate::backend::{Answer, Claim};
use crate::error::Error;

/// A place is kept longer by this part than it was asked for, so that not every time when it is
/// asked for again something has to be written.
const KEPT_LONGER: f64 = 0.4;

/// For so long after a session was made anew, what was sent on the one before may still come.
const LATE: Duration = Duration::from_secs(60 * 60);

/// How often the first of the line asks. Nobody wakes it.
const FIRST: Duration = Duration::from_millis(100);

/// What the statement that takes a free lock came to.
enum Taken {
    Granted(u64),
    /// It was as this tells, a little later.
    Seen(Seen),
}

/// Who waits as the first of the line asks more often than the others.
pub(super) fn asked_again_soon(claim: &Claim, answer: Answer) -> Answer {
    match answer {
        Answer::Busy { free_in, ahead: 0, fence } if claim.place.is_some() => {
            let free_in = Some(free_in.map_or(FIRST, |free_in| free_in.min(FIRST)));
            Answer::Busy { free_in, ahead: 0, fence }
        }
        answer => answer,
    }
}

impl Mysql {
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
        let session = self.store.session().await?;
        let values = [
            ("name", named(claim.name.as_str())),
            ("owner", text::owner(claim.owner)),
            ("ttl", micros(claim.ttl).to_string()),
            ("client", NO_ADDRESS.to_string()),
            ("label", text::text(&claim.label)),
        ];
        let row = session.ask_one(&self.store.table.sql.claim, &values).await?;
        let seen = self.store.seen(&session, &row, &claim.name)?;
        match has_written(&row)? {
            true => Ok(Taken::Granted(column(&row, "granted")?)),
            false => Ok(Taken::Seen(seen)),
        }
    }

    /// Ask for a lock by its row.
    pub(super) async fn claim_row(&self, claim: &Claim, from: From) -> Result<Answer, Error> {
        let ask = |record: &mut Record, now: Now| self.claim_in(record, claim, now);
        self.store.change(&claim.name, from, ask).await
    }

    /// What a claim comes to, and makes of the record.
    pub(super) fn claim_in(&self, record: &mut Record, claim: &Claim, now: Now) -> Answer {
        if self.is_retired(claim.owner) {
            return Answer::Retired;
        }
        let place = record.line.iter().find(|waiter| waiter.owner == claim.owner);
        let lasts = place.map(|waiter| waiter.until.since(now.instant));
        let is_kept = lasts.zip(claim.place).is_some_and(|(lasts, keep)| lasts >= keep);
        let place = claim.place.filter(|_| !is_kept).map(|keep| keep.mul_f64(1.0 + KEPT_LONGER));
        record.claim(&Claim { place, ..claim.clone() }, NO_ADDRESS, now)
    }

    /// Make a claim as if it had never been sent.
    pub(super) async fn take_back(&self, claim: &Claim) -> Result<(), Error> {
        let session = self.store.session().await?;
        // Of this session nothing comes after what is sent now.
        let is_late = session.number > 1 && session.age() < LATE;
        let from = From { seen: None, careful: is_late.then_some(LATE) };
        let take_back = |record: &mut Record, now: Now| record.withdraw(claim.owner, now.instant);
        self.store.change(&claim.name, from, take_back).await
    }
}
