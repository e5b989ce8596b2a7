//! Renewing many leases at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::failure::Trouble;
use super::rows::{Columns, Seen, column, micros};
use super::session::Session;
use super::store::has_written;
use super::table::named;
use super::text::{fill, list};
use super::{Mysql, text};
use crate::backend::{Held, Mode, Renewal};
use crate::error::Error;

/// How often others may be faster at a row that several share.
const TRIES: usize = 8;

impl Mysql {
    pub(super) async fn renew_all(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        let session = match self.second.session_now() {
            Ok(session) if session.is_alive().await => session,
            _ => self.store.session().await?,
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

    /// Those that are held alone: one request, and in it one statement for each ttl.
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
        let sql = &self.store.table.sql;
        let mut by_ttl: BTreeMap<i64, Vec<&Held>> = BTreeMap::new();
        for at in which {
            by_ttl.entry(micros(leases[*at].ttl)).or_default().push(&leases[*at]);
        }
        let mut said = String::new();
        for (ttl, held) in &by_ttl {
            let pair = |held: &&Held| {
                format!("({}, {})", named(held.name.as_str()), text::owner(held.owner))
            };
            let values = [
                ("ttl", ttl.to_string()),
                ("names", list(held.iter().map(|held| named(held.name.as_str())))),
                ("pairs", list(held.iter().map(pair))),
            ];
            said += &fill(&sql.renew, &values);
            said += ";\n";
        }
        let names = list(which.iter().map(|at| named(leases[*at].name.as_str())));
        said += &fill(&sql.renewed, &[("names", names)]);
        let rows = session.ask(&said, &[]).await?;
        let mut kept = HashSet::new();
        for row in &rows {
            if let Some(owner) = column::<Option<String>>(row, "owner")? {
                kept.insert((column::<String>(row, "asked")?, owner));
            }
        }
        for at in which {
            let held = &leases[*at];
            let asked = (held.name.as_str().to_owned(), held.owner.to_string());
            answers[*at] = if kept.contains(&asked) { Renewal::Kept } else { Renewal::Gone };
        }
        Ok(())
    }

    /// Those that others share: one statement reads them all, and each row is written.
    async fn renew_shared(
        &self,
        session: &Session,
        leases: &[Held],
        mut which: Vec<usize>,
        answers: &mut [Renewal],
    ) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            if which.is_empty() {
                break;
            }
            let names = list(which.iter().map(|at| named(leases[*at].name.as_str())));
            let values = [("which", format!("t.name IN ({names})"))];
            let sql = &self.store.table.sql.read_many;
            let seen = self.store.read_rows(session, sql, &values).await?;
            let seen = seen.into_iter().map(|seen| (seen.name.clone(), seen)).collect();
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

    /// Answers the names of the rows that were still as they had been seen.
    async fn write_shared(
        &self,
        session: &Session,
        seen: &[Seen],
    ) -> Result<HashSet<String>, Trouble> {
        let mut written = HashSet::new();
        for seen in seen {
            let mut values = Vec::from(Columns::of(&seen.record)?.values);
            values.push(("name", named(&seen.name)));
            values.push(("version", seen.version.unwrap_or_default().to_string()));
            let row = session.ask_one(&self.store.table.sql.renew_shares, &values).await?;
            if has_written(&row)? {
                written.insert(column(&row, "asked")?);
            }
        }
        Ok(written)
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
