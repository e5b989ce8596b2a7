//! Renewing many leases at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::failure::{Is, Trouble};
use super::locks::Locks;
use super::{LOCKED, Rows, Session};
use crate::backend::{Held, Renewal};
use crate::error::{Error, Outcome};
use crate::time::Instant;

/// How often rows that are locked are skipped before one is waited for: who changes a row has it
/// locked for a moment.
const SKIPS: u32 = 3;
/// How long to wait before that, at most.
const PAUSE: Duration = Duration::from_millis(8);

/// A lease of so long has time for some of its rows to be waited for,
const PATIENT: Duration = Duration::from_secs(1);
/// until this part of it is over,
const PART: u32 = 8;
/// or so much.
const LONGEST: Duration = Duration::from_millis(500);

/// Whether somebody was found to keep a row locked, or may be found so by a renewal that is
/// under way.
#[derive(Default)]
pub(super) struct Doubt(AtomicBool);

impl<R: Rows> Locks<R> {
    pub(crate) async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        if self.rows.is_anew() {
            return Ok(vec![Renewal::Gone; leases.len()]);
        }
        let session = match self.second.session_now() {
            Ok(session) if session.is_alive().await => session,
            _ => self.session().await?,
        };
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let mut answers = vec![Renewal::Unknown; leases.len()];
        let renewed = self.renew_in(&session, leases, &mut answers).await;
        if answers.iter().any(|answer| *answer != Renewal::Unknown) {
            // Those that have no answer are asked for again.
            return Ok(answers);
        }
        let locked = || Error::unavailable(LOCKED).with_outcome(Outcome::NotHeld);
        Err(renewed.map_or_else(Error::from, |()| locked()))
    }

    /// All by one request. One whose row is locked by somebody else keeps no other from being
    /// renewed.
    async fn renew_in(
        &self,
        session: &R::Session,
        leases: &[Held],
        answers: &mut [Renewal],
    ) -> Result<(), Trouble> {
        let began = self.rows.runtime().now();
        let waits = !R::SKIPS_LOCKED_ROWS && !self.doubt.0.swap(true, Ordering::Relaxed);
        let mut is_done = waits && {
            let renewed = self.renew_some(session, leases, answers, true).await;
            renewed.or_else(Trouble::unless_locked)?
        };
        for skips in 0..SKIPS {
            if is_done {
                break;
            }
            if skips > 0 {
                self.pause_up_to(PAUSE).await;
            }
            is_done = self.renew_some(session, leases, answers, false).await?;
        }
        if is_done {
            self.doubt.0.store(false, Ordering::Relaxed);
        } else if R::SKIPS_LOCKED_ROWS && (leases.len() == 1 || session.limits_waits()) {
            self.renew_one_by_one(session, leases, answers, began).await?;
        }
        Ok(())
    }

    /// Those that have no answer; answers whether all have one now.
    async fn renew_some(
        &self,
        session: &R::Session,
        leases: &[Held],
        answers: &mut [Renewal],
        waits: bool,
    ) -> Result<bool, Trouble> {
        let which: Vec<usize> =
            (0..leases.len()).filter(|at| answers[*at] == Renewal::Unknown).collect();
        let asked: Vec<&Held> = which.iter().map(|at| &leases[*at]).collect();
        let renewed = self.rows.renew(session, &asked, waits).await?;
        let mut is_done = true;
        for (at, answer) in which.into_iter().zip(renewed) {
            answers[at] = answer;
            is_done &= answer != Renewal::Unknown;
        }
        Ok(is_done)
    }

    /// Where many change a row, it is free again only for those who wait for it. That takes
    /// time, of which the others have to get their answers before it is too late.
    async fn renew_one_by_one(
        &self,
        session: &R::Session,
        leases: &[Held],
        answers: &mut [Renewal],
        began: Instant,
    ) -> Result<(), Trouble> {
        let shortest = leases.iter().map(|held| held.ttl).min().unwrap_or_default();
        if shortest < PATIENT {
            return Ok(());
        }
        let until = began + (shortest / PART).min(LONGEST);
        for (held, answer) in leases.iter().zip(answers) {
            if *answer == Renewal::Unknown && self.rows.runtime().now() < until {
                let renewed = self.rows.renew(session, &[held], true).await;
                *answer = match renewed {
                    Ok(renewed) => renewed.first().copied().unwrap_or(Renewal::Unknown),
                    Err(Trouble { is: Is::Locked, .. }) => Renewal::Unknown,
                    Err(trouble) => return Err(trouble),
                };
            }
        }
        Ok(())
    }
}

impl Trouble {
    /// That a row is locked is no error here; nothing is done then.
    fn unless_locked(self) -> Result<bool, Self> {
        if self.is == Is::Locked { Ok(false) } else { Err(self) }
    }
}
