//! The rows of the table, by the statements of this server.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use mysql_async::Row;

use super::dial::{Dial, Known};
use super::failure::strange;
use super::rows::{column, instant, micros, seen, values};
use super::session::Session;
use super::table::{Table, named};
use super::text::{self, fill, list, maybe};
use crate::backend::connection::Connection;
use crate::backend::record::Address;
use crate::backend::sql::{Change, Is, Rows, Seen, Taken, Trouble, Which};
use crate::backend::{Claim, Held, Released, lists};
use crate::name::{LockName, Owner};
use crate::runtime::Runtime;

/// Nobody is woken, so nobody has an address.
const NO_ADDRESS: Address = 0;

pub(super) struct Store {
    pub(super) requests: Connection<Arc<Session>>,
    pub(super) table: Table,
    runtime: Arc<dyn Runtime>,
    pub(super) known: Arc<Known>,
}

impl Store {
    pub(super) fn connect(dial: Dial) -> Self {
        let (table, runtime) = (dial.address.table.clone(), dial.runtime.clone());
        let known = dial.known.clone();
        let requests = Connection::start(dial, runtime.clone());
        Self { requests, table, runtime, known }
    }
}

impl Rows for Store {
    type Session = Session;

    /// It waits for a locked row, and fails after `innodb_lock_wait_timeout`.
    const SKIPS_LOCKED_ROWS: bool = false;

    fn requests(&self) -> &Connection<Arc<Session>> {
        &self.requests
    }

    fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    fn address(&self) -> Address {
        NO_ADDRESS
    }

    fn is_anew(&self) -> bool {
        self.known.is_anew()
    }

    async fn take(&self, on: &Session, claim: &Claim) -> Result<Taken, Trouble> {
        let values = [
            ("name", named(claim.name.as_str())),
            ("owner", text::owner(claim.owner)),
            ("ttl", micros(claim.ttl).to_string()),
            ("client", NO_ADDRESS.to_string()),
            ("label", text::text(&claim.label)),
        ];
        let row = on.ask_one(&self.table.sql.claim, &values).await;
        let row = self.of_table(row, on, &claim.name, claim.owner).await?;
        let seen = seen_of(on, &row, &claim.name)?;
        match has_written(&row)? {
            true => Ok(Taken::Granted(column(&row, "granted")?)),
            false => Ok(Taken::Seen(seen)),
        }
    }

    async fn free(&self, on: &Session, held: &Held) -> Result<Released, Trouble> {
        let values = [("name", named(held.name.as_str())), ("owner", text::owner(held.owner))];
        let row = self.of_one(on.ask_one(&self.table.sql.release, &values).await)?;
        let now = instant(column(&row, "now")?);
        let line = column::<Option<String>>(&row, "line")?;
        let line = line.map_or(Ok(Vec::new()), |line| lists::read_line(&line));
        // It is given back, whoever waits.
        let line = line.unwrap_or_default();
        let others = line.iter().filter(|waiter| waiter.until > now).count();
        Ok(Released { held: has_written(&row)?, next: None, others })
    }

    async fn hand_over(
        &self,
        on: &Session,
        held: &Held,
        then: &Claim,
    ) -> Result<Option<u64>, Trouble> {
        let values = [
            ("name", named(held.name.as_str())),
            ("owner", text::owner(held.owner)),
            ("next", text::owner(then.owner)),
            ("ttl", micros(then.ttl).to_string()),
            ("client", NO_ADDRESS.to_string()),
            ("label", text::text(&then.label)),
        ];
        let row = on.ask_one(&self.table.sql.hand_over, &values).await;
        let row = self.of_table(row, on, &then.name, then.owner).await?;
        has_written(&row)?.then(|| column(&row, "granted")).transpose()
    }

    async fn read(&self, on: &Session, name: &LockName) -> Result<Seen, Trouble> {
        let row = on.ask_one(&self.table.sql.read, &[("name", named(name.as_str()))]).await;
        let row = self.of_one(row.map_err(Trouble::of_reading))?;
        self.known.check_table(&column::<String>(&row, "id")?)?;
        seen_of(on, &row, name)
    }

    async fn read_many(&self, on: &Session, which: Which<'_>) -> Result<Vec<Seen>, Trouble> {
        let sql = &self.table.sql;
        let skips = which.skips_unreadable();
        let used = || "t.owner IS NOT NULL OR t.line IS NOT NULL".to_owned();
        let rows = match which {
            Which::After(name, most) => {
                on.ask(&sql.read_old, &[("after", named(name)), ("limit", most.to_string())]).await
            }
            Which::Named(names) => {
                let names = list(names.into_iter().map(named));
                on.ask(&sql.read_many, &[("which", format!("t.name IN ({names})"))]).await
            }
            Which::Used => on.ask(&sql.read_many, &[("which", used())]).await,
        };
        let rows = or_none(rows).map_err(Trouble::of_reading)?;
        // One of them is about the table.
        let is_lock = |seen: &Result<Seen, _>| match seen {
            Ok(seen) => !seen.name.is_empty(),
            Err(_) => !skips,
        };
        rows.iter().map(seen).filter(is_lock).collect()
    }

    async fn write(&self, on: &Session, change: &Change<'_>) -> Result<bool, Trouble> {
        let seen = change.seen;
        let mut values = Vec::from(values(change.record)?);
        values.push(("name", named(&seen.name)));
        values.push(("id", text::text(self.known.table())));
        values.push(("version", seen.version.unwrap_or(seen.forgotten).to_string()));
        values.push(("careful", maybe(change.careful, |span| micros(span).to_string())));
        let sql = match seen.version {
            Some(_) => &self.table.sql.change,
            None => &self.table.sql.insert,
        };
        has_written(&on.ask_one(sql, &values).await?)
    }

    /// By one request, and in it one statement for each ttl.
    async fn renew_alone(
        &self,
        on: &Session,
        leases: &[&Held],
    ) -> Result<HashSet<(String, String)>, Trouble> {
        let sql = &self.table.sql;
        let mut by_ttl: BTreeMap<i64, Vec<&Held>> = BTreeMap::new();
        for held in leases {
            by_ttl.entry(micros(held.ttl)).or_default().push(held);
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
        let names = list(leases.iter().map(|held| named(held.name.as_str())));
        said += &fill(&sql.renewed, &[("names", names)]);
        let mut kept = HashSet::new();
        for row in &or_none(on.ask(&said, &[]).await)? {
            if let Some(owner) = column(row, "owner")? {
                kept.insert((column(row, "asked")?, owner));
            }
        }
        Ok(kept)
    }

    /// One after the other.
    async fn write_shares(&self, on: &Session, seen: &[Seen]) -> Result<HashSet<String>, Trouble> {
        let mut written = HashSet::new();
        for seen in seen {
            let mut values = Vec::from(values(&seen.record)?);
            values.push(("name", named(&seen.name)));
            values.push(("version", seen.version.unwrap_or_default().to_string()));
            let row = on.ask_one(&self.table.sql.renew_shares, &values).await?;
            if has_written(&row)? {
                written.insert(column(&row, "asked")?);
            }
        }
        Ok(written)
    }

    async fn forget(&self, on: &Session, seen: &[Seen]) -> Result<(), Trouble> {
        let fence = seen.iter().map(|seen| seen.record.fence).max().unwrap_or(0);
        let pair =
            |seen: &Seen| format!("({}, {})", named(&seen.name), seen.version.unwrap_or_default());
        let values = [
            ("fence", fence.to_string()),
            ("names", list(seen.iter().map(|seen| named(&seen.name)))),
            ("pairs", list(seen.iter().map(pair))),
        ];
        on.ask(&self.table.sql.forget, &values).await.map(drop)
    }
}

impl Store {
    /// An answer about the table that the first session has found, which says the table's id.
    /// What was taken in another table is given back: nobody is told of it.
    async fn of_table(
        &self,
        row: Result<Row, Trouble>,
        on: &Session,
        name: &LockName,
        owner: Owner,
    ) -> Result<Row, Trouble> {
        let row = self.of_one(row)?;
        if let Err(error) = self.known.check_table(&column::<String>(&row, "id")?) {
            let values = [("name", named(name.as_str())), ("owner", text::owner(owner))];
            drop(on.ask(&self.table.sql.release, &values).await);
            return Err(error.into());
        }
        Ok(row)
    }

    /// An answer that there is if the table has a row about itself.
    fn of_one(&self, row: Result<Row, Trouble>) -> Result<Row, Trouble> {
        match row {
            Err(Trouble { is: Is::Empty, error }) => {
                let outcome = error.outcome();
                Err(self.known.is_emptied(&self.table.named).with_outcome(outcome).into())
            }
            row => row,
        }
    }
}

/// What is seen of a lock in an answer that tells its name.
fn seen_of(on: &Session, row: &Row, name: &LockName) -> Result<Seen, Trouble> {
    match seen(row)? {
        seen if seen.name == name.as_str() => Ok(seen),
        _ => {
            let trouble = strange("the answer to another question");
            on.shut(&trouble.error.to_string());
            Err(trouble)
        }
    }
}

/// The rows of an answer. There is always one about the table, unless the table was emptied.
fn or_none(rows: Result<Vec<Row>, Trouble>) -> Result<Vec<Row>, Trouble> {
    match rows {
        Err(Trouble { is: Is::Empty, .. }) => Ok(Vec::new()),
        rows => rows,
    }
}

/// Whether the statement before has changed a row.
fn has_written(row: &Row) -> Result<bool, Trouble> {
    Ok(column::<i64>(row, "written")? == 1)
}
