//! Renewing many leases at once.

use std::collections::{HashMap, HashSet};

use super::failure::Trouble;
use super::locks::Locks;
use super::{Rows, Seen, Session, Which};
use crate::backend::{Held, Mode, Renewal};
use crate::error::Error;

/// How often others may be faster at a row that several share.
const TRIES: usize = 8;

impl<R: Rows> Locks<R> {
    pub(crate) async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        if self.rows.is_anew() {
            return Ok(vec![Renewal::Gone; leases.len()]);
        }
        let session = match self.second.session_now() {
            Ok(session) if session.is_alive().await => session,
            _ => self.session().await?,
        };
        let (alone, shared): (Vec<_>, Vec<_>) =
            (0..leases.len()).partition(|at| leases[*at].mode == Mode::Exclusive);
        let mut answers = vec![Renewal::Unknown; leases.len()];
        let renewed = async {
            self.renew_alone(&session, leases, &alone, &mut answers).await?;
            self.renew_shared(&session, leases, shared, &mut answers).await
        };
        match renewed.await {
            Err(Trouble { error, .. }) if answers.iter().all(|a| *a == Renewal::Unknown) => {
                Err(error)
            }
            // Those that have no answer are asked for again.
            _ => Ok(answers),
        }
    }

    /// Those that are held alone, by one request.
    async fn renew_alone(
        &self,
        session: &R::Session,
        leases: &[Held],
        which: &[usize],
        answers: &mut [Renewal],
    ) -> Result<(), Trouble> {
        if which.is_empty() {
            return Ok(());
        }
        let asked: Vec<&Held> = which.iter().map(|at| &leases[*at]).collect();
        let kept = self.rows.renew_alone(session, &asked).await?;
        for (at, held) in which.iter().zip(asked) {
            let held = (held.name.as_str().to_owned(), held.owner.to_string());
            answers[*at] = if kept.contains(&held) { Renewal::Kept } else { Renewal::Gone };
        }
        Ok(())
    }

    /// Those that others share: all are read, then written if they are as they were.
    async fn renew_shared(
        &self,
        session: &R::Session,
        leases: &[Held],
        mut which: Vec<usize>,
        answers: &mut [Renewal],
    ) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            if which.is_empty() {
                break;
            }
            let names = which.iter().map(|at| leases[*at].name.as_str()).collect();
            let seen = self.rows.read_many(session, Which::Named(names)).await?;
            let seen = seen.into_iter().map(|seen| (seen.name.clone(), seen)).collect();
            let changed = renewed(leases, &mut which, seen, answers);
            if changed.is_empty() {
                continue;
            }
            let written = self.rows.write_shares(session, &changed).await?;
            which.retain(|at| {
                let is_written = written.contains(leases[*at].name.as_str());
                if is_written {
                    answers[*at] = Renewal::Kept;
                }
                !is_written
            });
        }
        Ok(())
    }
}

/// The rows with all of the leases renewed that are held. Those that are not are gone, and
/// nothing is to be done about them.
fn renewed(
    leases: &[Held],
    which: &mut Vec<usize>,
    mut seen: HashMap<String, Seen>,
    answers: &mut [Renewal],
) -> Vec<Seen> {
    let mut changed = HashSet::new();
    which.retain(|at| {
        let held = &leases[*at];
        let is_held = seen
            .get_mut(held.name.as_str())
            .is_some_and(|seen| seen.record.renew(held.owner, held.ttl, seen.now.instant));
        match is_held {
            true => drop(changed.insert(held.name.as_str())),
            false => answers[*at] = Renewal::Gone,
        }
        is_held
    });
    seen.retain(|name, _| changed.contains(&**name));
    seen.into_values().collect()
}
