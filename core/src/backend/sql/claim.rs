//! Asking for a lock, and taking that back.

use std::time::Duration;

use super::expect::Expected;
use super::failure::{Is, Trouble};
use super::locks::{Locks, Moment, Start, next_client};
use super::{Rows, Seen, Session, Taken};
use crate::backend::record::Record;
use crate::backend::{Answer, Claim, Mode};
use crate::error::Error;

/// A place is kept longer by this part than it was asked for, so that not every time when it is
/// asked for again something has to be written.
const KEPT_LONGER: f64 = 0.4;

/// For so long after a session was made anew, what was sent on the one before may still come.
const LATE: Duration = Duration::from_secs(60 * 60);

impl<R: Rows> Locks<R> {
    pub(crate) async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        self.chores.count_request();
        if claim.mode != Mode::Exclusive {
            return self.claim_row(claim, None).await;
        }
        let answer = self.claim_alone(claim).await;
        let expected = match answer {
            Ok(Answer::Granted { .. }) => Expected::Free,
            Ok(Answer::Busy { .. }) => Expected::Busy,
            _ => Expected::Nothing,
        };
        self.expected.note(&claim.name, expected);
        answer
    }

    /// For one holder.
    async fn claim_alone(&self, claim: &Claim) -> Result<Answer, Error> {
        let expected = self.expected.of(&claim.name);
        // A look costs less than a try. Who waits asks when it is its turn.
        if expected == Expected::Busy && claim.place.is_none() {
            return self.claim_row(claim, None).await;
        }
        let session = self.session().await?;
        let mut has_row = expected != Expected::Nothing;
        loop {
            // What comes next is sent at once, or not at all.
            if self.is_retired(claim.owner) {
                return Ok(Answer::Retired);
            }
            match self.rows.take(&session, claim, has_row).await {
                Ok(Taken::Granted(fence)) => {
                    return Ok(Answer::Granted { fence, slot: 0, term: None });
                }
                Ok(Taken::Seen(seen)) => return self.claim_row(claim, Some(seen)).await,
                Ok(Taken::Unseen) => has_row = false,
                Err(Trouble { is: Is::Beaten, .. }) => return self.claim_row(claim, None).await,
                Err(trouble) => return Err(trouble.error),
            }
        }
    }

    /// By the lock's row.
    async fn claim_row(&self, claim: &Claim, seen: Option<Seen>) -> Result<Answer, Error> {
        let ask = |record: &mut Record, moment: Moment| {
            let answer = self.claim_in(record, claim, moment);
            // There may be room for the next, too, who asks by itself if it is not woken.
            let shares = claim.mode.is_shared() && matches!(answer, Answer::Granted { .. });
            let told = if shares { next_client(record) } else { Vec::new() };
            (answer, told)
        };
        let start = Start { seen, careful: None, asks_again: true };
        self.change(&claim.name, claim.ttl, start, ask).await
    }

    /// What a claim comes to, and makes of the record.
    pub(super) fn claim_in(&self, record: &mut Record, claim: &Claim, moment: Moment) -> Answer {
        if self.is_retired(claim.owner) {
            return Answer::Retired;
        }
        let place = record.line.iter().find(|waiter| waiter.owner == claim.owner);
        let client = self.rows.address();
        let is_kept = place.zip(claim.place).is_some_and(|(waiter, keep)| {
            waiter.until.since(moment.now.instant) >= keep && waiter.client == client
        });
        let place = claim.place.filter(|_| !is_kept).map(|keep| keep.mul_f64(1.0 + KEPT_LONGER));
        let claim = Claim { place, ..claim.clone() };
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
    pub(crate) async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        self.retired().insert(claim.owner);
        let session = self.session().await?;
        // Of this session nothing comes after what is sent now.
        let is_late = session.number() > 1 && session.age() < LATE;
        let careful = is_late.then_some(LATE);
        let start = Start { careful, ..Start::default() };
        let take_back = |record: &mut Record, moment: Moment| {
            record.withdraw(claim.owner, moment.now.instant);
            ((), next_client(record))
        };
        self.change(&claim.name, claim.ttl, start, take_back).await
    }
}
