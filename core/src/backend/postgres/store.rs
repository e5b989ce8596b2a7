//! The rows of the table, by the statements of this server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::dial::{Dial, Known};
use super::failure::strange;
use super::rows::{Written, column, instant, micros, seen};
use super::session::Session;
use super::table::Table;
use crate::backend::connection::Connection;
use crate::backend::record::Address;
use crate::backend::sql::{self, Change, Old, Rows, Seen, Taken, Trouble, Which};
use crate::backend::{Claim, Held, Mode, Released, Renewal};
use crate::name::LockName;
use crate::runtime::Runtime;

pub(super) struct Store {
    pub(super) requests: Connection<Arc<Session>>,
    pub(super) table: Table,
    runtime: Arc<dyn Runtime>,
    pub(super) known: Arc<Known>,
    /// Where this client hears; 0 while it does not.
    pub(super) ear: Arc<AtomicU64>,
}

impl Store {
    pub(super) fn connect(dial: Dial, ear: Arc<AtomicU64>) -> Self {
        let (table, runtime) = (dial.address.table.clone(), dial.runtime.clone());
        let known = dial.known.clone();
        let requests = Connection::start(dial, runtime.clone());
        Self { requests, table, runtime, known, ear }
    }
}

impl Rows for Store {
    type Session = Session;

    const SKIPS_LOCKED_ROWS: bool = true;

    fn requests(&self) -> &Connection<Arc<Session>> {
        &self.requests
    }

    fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    fn address(&self) -> Address {
        self.ear.load(Ordering::Relaxed)
    }

    fn is_anew(&self) -> bool {
        self.known.is_anew()
    }

    async fn take(&self, on: &Session, claim: &Claim, has_row: bool) -> Result<Taken, Trouble> {
        let (name, owner) = (claim.name.as_str(), claim.owner.to_string());
        let (ttl, client) = (micros(claim.ttl), self.address() as i64);
        let parameters = [
            (&name as _, Type::TEXT),
            (&owner as _, Type::TEXT),
            (&ttl as _, Type::INT8),
            (&client as _, Type::INT8),
            (&&*claim.label as _, Type::TEXT),
            (&self.known.table() as _, Type::TEXT),
        ];
        if has_row {
            let rows = on.ask(&self.table.sql.take, &parameters).await?;
            if rows.is_empty() {
                return Ok(Taken::Unseen);
            }
            let row = answer_to(on, &rows, "claimed", &owner)?;
            return Ok(Taken::Granted(column::<i64>(row, "granted")? as u64));
        }
        let rows = on.ask(&self.table.sql.claim, &parameters).await?;
        let row = answer_to(on, self.of_table(&rows)?, "claimed", &owner)?;
        if let Some(fence) = column::<Option<i64>>(row, "granted")? {
            return Ok(Taken::Granted(fence as u64));
        }
        let seen = seen(row)?;
        match seen.name == name {
            true => Ok(Taken::Seen(seen)),
            false => Err(strange("the answer to another question")),
        }
    }

    async fn free(&self, on: &Session, held: &Held) -> Result<Option<Released>, Trouble> {
        let (name, owner) = (held.name.as_str(), held.owner.to_string());
        let parameters = [(&name as _, Type::TEXT), (&owner as _, Type::TEXT)];
        if held.mode != Mode::Exclusive {
            let rows = on.ask(&self.table.sql.release_share, &parameters).await?;
            let row = answer_to(on, &rows, "released", &owner)?;
            let others = column::<i64>(row, "others")? as usize;
            return Ok(Some(Released { held: column(row, "held")?, next: None, others }));
        }
        let rows = on.ask(&self.table.sql.release, &parameters).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let row = answer_to(on, &rows, "released", &owner)?;
        let now = instant(column(row, "now")?);
        let others = sql::waiting(column(row, "line")?, now);
        Ok(Some(Released { held: true, next: None, others }))
    }

    async fn hand_over(
        &self,
        on: &Session,
        held: &Held,
        then: &Claim,
    ) -> Result<Option<u64>, Trouble> {
        let (name, owner, next) =
            (held.name.as_str(), held.owner.to_string(), then.owner.to_string());
        let (ttl, client) = (micros(then.ttl), self.address() as i64);
        let parameters = [
            (&name as _, Type::TEXT),
            (&owner as _, Type::TEXT),
            (&next as _, Type::TEXT),
            (&ttl as _, Type::INT8),
            (&client as _, Type::INT8),
            (&&*then.label as _, Type::TEXT),
            (&self.known.table() as _, Type::TEXT),
        ];
        let rows = on.ask(&self.table.sql.hand_over, &parameters).await?;
        let row = answer_to(on, &rows, "claimed", &next)?;
        Ok(column::<Option<i64>>(row, "granted")?.map(|fence| fence as u64))
    }

    async fn read(&self, on: &Session, name: &LockName) -> Result<Seen, Trouble> {
        let name = name.as_str();
        let rows = on.ask_again(&self.table.sql.read, &[(&name, Type::TEXT)]).await;
        let rows = rows.map_err(Trouble::of_reading)?;
        match self.of_table(&rows)?.first().map(seen) {
            Some(Ok(seen)) if seen.name == name => Ok(seen),
            Some(Err(trouble)) => Err(trouble),
            _ => Err(strange_answer(on)),
        }
    }

    async fn read_many(&self, on: &Session, which: Which<'_>) -> Result<Vec<Seen>, Trouble> {
        let sql = &self.table.sql;
        let skips = which.skips_unreadable();
        let rows = match which {
            Which::Named(names) => {
                on.ask_again(&sql.read_many, &[(&Some(names), Type::TEXT_ARRAY)]).await
            }
            Which::Used => {
                on.ask_again(&sql.read_many, &[(&None::<Vec<&str>>, Type::TEXT_ARRAY)]).await
            }
        };
        let rows = rows.map_err(Trouble::of_reading)?;
        rows.iter().map(seen).filter(|seen| seen.is_ok() || !skips).collect()
    }

    async fn old(&self, on: &Session, after: &str, most: usize) -> Result<Old, Trouble> {
        let most = most as i64;
        let parameters = [(&after as _, Type::TEXT), (&most as _, Type::INT8)];
        let rows = on.ask_again(&self.table.sql.read_old, &parameters).await?;
        let last =
            rows.first().map(|row| column::<Option<String>>(row, "last")).transpose()?.flatten();
        // What cannot be read is left to whoever asks for it.
        let rows = rows.iter().filter_map(|row| seen(row).ok()).collect();
        Ok(Old { rows, last })
    }

    async fn around(&self, on: &Session, name: &str) -> Result<[Option<String>; 2], Trouble> {
        let rows = on.ask_again(&self.table.sql.around, &[(&name, Type::TEXT)]).await?;
        let row = rows.first().ok_or_else(|| strange("nothing"))?;
        Ok([column(row, "before")?, column(row, "behind")?])
    }

    async fn write(&self, on: &Session, change: &Change<'_>) -> Result<bool, Trouble> {
        let (seen, columns) = (change.seen, Written::of(change.record)?);
        let careful = change.careful.map(micros);
        let base = seen.version.unwrap_or(seen.forgotten);
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&seen.name, Type::TEXT), (&base, Type::INT8)];
        parameters.extend(columns.parameters());
        parameters.push((&careful, Type::INT8));
        let id = self.known.table();
        parameters.push((&id, Type::TEXT));
        let told = change.told.iter().filter(|client| **client != 0);
        let channels: Vec<String> = told.map(|client| channel(*client)).collect();
        let sql = match seen.version {
            Some(_) => {
                parameters.push((&channels, Type::TEXT_ARRAY));
                parameters.push((&change.grants, Type::BOOL));
                &self.table.sql.change
            }
            None => &self.table.sql.insert,
        };
        let rows = on.ask(sql, &parameters).await?;
        let row = answer_to(on, &rows, "asked", &seen.name)?;
        Ok(column::<Option<i64>>(row, "version")?.is_some())
    }

    /// By one statement for those that are held alone, and one for those that are shared.
    async fn renew(
        &self,
        on: &Session,
        leases: &[&Held],
        waits: bool,
    ) -> Result<Vec<Renewal>, Trouble> {
        let mut answers = vec![Renewal::Gone; leases.len()];
        let (alone, shared): (Vec<usize>, Vec<usize>) =
            (0..leases.len()).partition(|at| leases[*at].mode == Mode::Exclusive);
        let sql = &self.table.sql;
        let statements = match waits {
            false => [&sql.renew, &sql.renew_shares],
            true => [&sql.renew_waiting, &sql.renew_shares_waiting],
        };
        for (which, sql) in [alone, shared].into_iter().zip(statements) {
            if which.is_empty() {
                continue;
            }
            let held = which.iter().map(|at| leases[*at]);
            let names: Vec<&str> = held.clone().map(|held| held.name.as_str()).collect();
            let owners: Vec<String> = held.clone().map(|held| held.owner.to_string()).collect();
            let ttls: Vec<i64> = held.map(|held| micros(held.ttl)).collect();
            let parameters = [
                (&names as _, Type::TEXT_ARRAY),
                (&owners as _, Type::TEXT_ARRAY),
                (&ttls as _, Type::INT8_ARRAY),
            ];
            for row in &on.ask_again(sql, &parameters).await? {
                // Counted from 1.
                let at = which.get((column::<i64>(row, "at")? as usize).wrapping_sub(1));
                let at = at.ok_or_else(|| strange_answer(on))?;
                answers[*at] = match column(row, "renewed")? {
                    true => Renewal::Kept,
                    false => Renewal::Unknown,
                };
            }
        }
        Ok(answers)
    }

    async fn forget(&self, on: &Session, seen: &[Seen]) -> Result<(), Trouble> {
        let names: Vec<&str> = seen.iter().map(|seen| &*seen.name).collect();
        let versions: Vec<Option<i64>> = seen.iter().map(|seen| seen.version).collect();
        let parameters = [(&names as _, Type::TEXT_ARRAY), (&versions as _, Type::INT8_ARRAY)];
        on.ask_again(&self.table.sql.forget, &parameters).await.map(drop)
    }
}

impl Store {
    /// An answer about the table that the first session has found, which says the table's id.
    fn of_table<'a>(&self, rows: &'a [Row]) -> Result<&'a [Row], Trouble> {
        let first = rows.first().ok_or_else(|| self.known.is_emptied(&self.table.named))?;
        self.known.check_table(column(first, "id")?)?;
        Ok(rows)
    }
}

/// On which a client hears.
pub(super) fn channel(client: Address) -> String {
    format!("leasehold_{client}")
}

/// The one row of an answer, which names what was asked for in this column.
fn answer_to<'a>(
    on: &Session,
    rows: &'a [Row],
    name: &str,
    asked: &str,
) -> Result<&'a Row, Trouble> {
    match rows {
        [row] if row.try_get::<_, &str>(name).is_ok_and(|said| said == asked) => Ok(row),
        _ => Err(strange_answer(on)),
    }
}

fn strange_answer(on: &Session) -> Trouble {
    let trouble = strange("the answer to another question");
    on.shut(&trouble.error.to_string());
    trouble
}
