//! Renewing many leases at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::types::Type;

use super::Postgres;
use super::failure::Trouble;
use super::rows::{Columns, Seen, column, micros};
use super::session::Session;
use crate::backend::{Held, Mode, Renewal};
use crate::error::{Error, Outcome};

/// How often others may be faster at a row that several share.
const TRIES: usize = 8;

impl Postgres {
    pub(super) async fn renew_all(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        let session = match self.second.session_now() {
            Ok(session) => session,
            Err(_) => self.store.requests.session().await?,
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

    /// Those that are held alone, by one statement.
    async fn renew_alone(
        &self,
        session: &Session,
        leases: &[Held],
        which: &[usize],
        answers: &mut [Renewal],
    ) -> Result<(), Trouble> {
        if which.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = which.iter().map(|at| leases[*at].name.as_str()).collect();
        let owners: Vec<String> = which.iter().map(|at| leases[*at].owner.to_string()).collect();
        let ttls: Vec<i64> = which.iter().map(|at| micros(leases[*at].ttl)).collect();
        let parameters = [
            (&names as _, Type::TEXT_ARRAY),
            (&owners as _, Type::TEXT_ARRAY),
            (&ttls as _, Type::INT8_ARRAY),
        ];
        let rows = session.ask(&self.store.table.sql.renew, &parameters).await?;
        let mut kept = HashSet::new();
        for row in &rows {
            kept.insert((column::<&str>(row, "name")?, column::<&str>(row, "owner")?));
        }
        for (at, (name, owner)) in which.iter().zip(names.into_iter().zip(&owners)) {
            answers[*at] = match kept.contains(&(name, owner)) {
                true => Renewal::Kept,
                false => Renewal::Gone,
            };
        }
        Ok(())
    }

    /// Those that others share: one statement reads them all, and one writes them.
    async fn renew_shared(
        &self,
        session: &Arc<Session>,
        leases: &[Held],
        mut which: Vec<usize>,
        answers: &mut [Renewal],
    ) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            if which.is_empty() {
                break;
            }
            let seen = self.read_shared(session, leases, &which).await?;
            let changed = renewed(leases, &mut which, seen, answers);
            let written = self.write_shared(session, &changed).await?;
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

    async fn read_shared(
        &self,
        session: &Session,
        leases: &[Held],
        which: &[usize],
    ) -> Result<HashMap<String, Seen>, Trouble> {
        let names: Vec<&str> = which.iter().map(|at| leases[*at].name.as_str()).collect();
        let sql = &self.store.table.sql.read_many;
        let rows = session.ask(sql, &[(&Some(names), Type::TEXT_ARRAY)]).await;
        let rows = rows.map_err(|mut trouble| {
            trouble.error = trouble.error.with_outcome(Outcome::NotHeld);
            trouble
        })?;
        let seen = rows.iter().map(|row| Seen::of(row).map(|seen| (seen.name.clone(), seen)));
        seen.collect()
    }

    /// Answers the names of the rows that were still as they had been seen.
    async fn write_shared(
        &self,
        session: &Session,
        seen: &[Seen],
    ) -> Result<HashSet<String>, Trouble> {
        if seen.is_empty() {
            return Ok(HashSet::new());
        }
        let names: Vec<&str> = seen.iter().map(|seen| &*seen.name).collect();
        let versions: Vec<Option<i64>> = seen.iter().map(|seen| seen.version).collect();
        let columns = seen.iter().map(|seen| Columns::of(&seen.record));
        let columns = columns.collect::<Result<Vec<_>, Error>>()?;
        let sharers: Vec<Option<&str>> = columns.iter().map(|c| c.sharers.as_deref()).collect();
        let expires: Vec<Option<SystemTime>> = columns.iter().map(|c| c.expires).collect();
        let parameters = [
            (&names as _, Type::TEXT_ARRAY),
            (&versions as _, Type::INT8_ARRAY),
            (&sharers as _, Type::TEXT_ARRAY),
            (&expires as _, Type::TIMESTAMPTZ_ARRAY),
        ];
        let rows = session.ask(&self.store.table.sql.renew_shares, &parameters).await?;
        rows.iter().map(|row| column(row, "name")).collect()
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
