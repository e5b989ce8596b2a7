//! The rows of the table, by the statements of this server.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::dial::{Dial, Known};
use super::failure::strange;
use super::rows::{Written, column, micros, seen};
use super::session::Session;
use super::table::Table;
use crate::backend::connection::Connection;
use crate::backend::record::Address;
use crate::backend::sql::{Change, Rows, Seen, Taken, Trouble, Which};
use crate::backend::{Claim, Held, Released};
use crate::error::Error;
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

    async fn take(&self, on: &Session, claim: &Claim) -> Result<Taken, Trouble> {
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

    async fn free(&self, on: &Session, held: &Held) -> Result<Released, Trouble> {
        let (name, owner) = (held.name.as_str(), held.owner.to_string());
        let parameters = [(&name as _, Type::TEXT), (&owner as _, Type::TEXT)];
        let rows = on.ask(&self.table.sql.release, &parameters).await?;
        let row = answer_to(on, &rows, "released", &owner)?;
        let was_held = column(row, "held")?;
        let others = column::<i64>(row, "others")? as usize;
        Ok(Released { held: was_held, next: None, others })
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
            Which::After(name, most) => {
                let most = most as i64;
                on.ask_again(&sql.read_old, &[(&name, Type::TEXT), (&most, Type::INT8)]).await
            }
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

    /// By one statement.
    async fn renew_alone(
        &self,
        on: &Session,
        leases: &[&Held],
    ) -> Result<HashSet<(String, String)>, Trouble> {
        let names: Vec<&str> = leases.iter().map(|held| held.name.as_str()).collect();
        let owners: Vec<String> = leases.iter().map(|held| held.owner.to_string()).collect();
        let ttls: Vec<i64> = leases.iter().map(|held| micros(held.ttl)).collect();
        let parameters = [
            (&names as _, Type::TEXT_ARRAY),
            (&owners as _, Type::TEXT_ARRAY),
            (&ttls as _, Type::INT8_ARRAY),
        ];
        let rows = on.ask_again(&self.table.sql.renew, &parameters).await?;
        rows.iter().map(|row| Ok((column(row, "name")?, column(row, "owner")?))).collect()
    }

    /// By one statement.
    async fn write_shares(&self, on: &Session, seen: &[Seen]) -> Result<HashSet<String>, Trouble> {
        let names: Vec<&str> = seen.iter().map(|seen| &*seen.name).collect();
        let versions: Vec<Option<i64>> = seen.iter().map(|seen| seen.version).collect();
        let columns = seen.iter().map(|seen| Written::of(&seen.record));
        let columns = columns.collect::<Result<Vec<_>, Error>>()?;
        let sharers: Vec<Option<&str>> = columns.iter().map(|c| c.sharers.as_deref()).collect();
        let expires: Vec<Option<SystemTime>> = columns.iter().map(|c| c.expires).collect();
        let parameters = [
            (&names as _, Type::TEXT_ARRAY),
            (&versions as _, Type::INT8_ARRAY),
            (&sharers as _, Type::TEXT_ARRAY),
            (&expires as _, Type::TIMESTAMPTZ_ARRAY),
        ];
        let rows = on.ask_again(&self.table.sql.renew_shares, &parameters).await?;
        rows.iter().map(|row| column(row, "name")).collect()
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
