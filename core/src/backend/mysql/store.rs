//! The rows of the table, by the statements of this server.

use std::collections::{BTreeMap, HashMap, HashSet};
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
use crate::backend::sql::{self, Change, Is, Old, Rows, Seen, Taken, Trouble, Which};
use crate::backend::{Claim, Held, Mode, Released, Renewal, lists};
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

    async fn take(&self, on: &Session, claim: &Claim, _: bool) -> Result<Taken, Trouble> {
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

    async fn free(&self, on: &Session, held: &Held) -> Result<Option<Released>, Trouble> {
        let values = [("name", named(held.name.as_str())), ("owner", text::owner(held.owner))];
        let sql = match held.mode {
            Mode::Exclusive => &self.table.sql.release,
            Mode::Shared | Mode::Counted { .. } => &self.table.sql.release_share,
        };
        let row = self.of_one(on.ask_one(sql, &values).await)?;
        let now = instant(column(&row, "now")?);
        let line: Option<String> = column(&row, "line")?;
        let others = sql::waiting(line.as_deref(), now);
        Ok(Some(Released { held: has_written(&row)?, next: None, others }))
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

    async fn old(&self, on: &Session, after: &str, most: usize) -> Result<Old, Trouble> {
        let values = [("after", named(after)), ("limit", most.to_string())];
        let rows = on.ask(&self.table.sql.read_old, &values).await?;
        let last =
            rows.first().map(|row| column::<Option<String>>(row, "last")).transpose()?.flatten();
        // What cannot be read is left to whoever asks for it.
        let rows = rows.iter().filter_map(|row| seen(row).ok()).collect();
        Ok(Old { rows, last })
    }

    async fn around(&self, on: &Session, name: &str) -> Result<[Option<String>; 2], Trouble> {
        let row = on.ask_one(&self.table.sql.around, &[("name", named(name))]).await?;
        Ok([column(&row, "before_it")?, column(&row, "behind_it")?])
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

    /// By one request, or a few if the names are long. Where rows that are locked are to be
    /// skipped, another one finds them first: no `UPDATE` can.
    async fn renew(
        &self,
        on: &Session,
        leases: &[&Held],
        waits: bool,
    ) -> Result<Vec<Renewal>, Trouble> {
        let mut answers = Vec::with_capacity(leases.len());
        for leases in in_parts(leases, |held| held.name.as_str().len()) {
            answers.extend(self.renew_part(on, leases, waits).await?);
        }
        Ok(answers)
    }

    async fn forget(&self, on: &Session, seen: &[Seen]) -> Result<(), Trouble> {
        for seen in in_parts(seen, |seen| seen.name.len()) {
            let fence = seen.iter().map(|seen| seen.record.fence).max().unwrap_or(0);
            let pair = |seen: &Seen| {
                format!("({}, {})", named(&seen.name), seen.version.unwrap_or_default())
            };
            let values = [
                ("fence", fence.to_string()),
                ("names", list(seen.iter().map(|seen| named(&seen.name)))),
                ("pairs", list(seen.iter().map(pair))),
            ];
            on.ask(&self.table.sql.forget, &values).await?;
        }
        Ok(())
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

    async fn renew_part(
        &self,
        on: &Session,
        leases: &[&Held],
        waits: bool,
    ) -> Result<Vec<Renewal>, Trouble> {
        let sql = &self.table.sql;
        let names = list(leases.iter().map(|held| named(held.name.as_str())));
        let mut unlocked = HashSet::new();
        if !waits {
            for row in &or_none(on.ask(&sql.unlocked, &[("names", names.clone())]).await)? {
                unlocked.extend(column::<Option<String>>(row, "asked")?);
            }
        }
        let is_asked = |held: &Held| waits || unlocked.contains(held.name.as_str());
        let mut said = self.renewals(leases.iter().copied().filter(|held| is_asked(held)));
        said += &fill(&sql.renewed, &[("names", names)]);
        let rows = or_none(on.ask(&said, &[]).await)?;
        let mut by_name = HashMap::new();
        for row in &rows {
            by_name.insert(column::<String>(row, "asked")?, row);
        }
        let answer = |held: &&Held| -> Result<Renewal, Trouble> {
            let row = by_name.get(held.name.as_str());
            Ok(match row.map_or(Ok(false), |row| is_held(held, row))? {
                false => Renewal::Gone,
                true if is_asked(held) => Renewal::Kept,
                true => Renewal::Unknown,
            })
        };
        leases.iter().map(answer).collect()
    }

    /// One statement for each ttl of leases that are held alone, and one for each share.
    fn renewals<'a>(&self, leases: impl Iterator<Item = &'a Held>) -> String {
        let sql = &self.table.sql;
        let (mut said, mut by_ttl) = (String::new(), BTreeMap::<i64, Vec<&Held>>::new());
        for held in leases {
            if held.mode == Mode::Exclusive {
                by_ttl.entry(micros(held.ttl)).or_default().push(held);
                continue;
            }
            let values = [
                ("name", named(held.name.as_str())),
                ("owner", text::owner(held.owner)),
                ("ttl", micros(held.ttl).to_string()),
            ];
            said += &fill(&sql.renew_share, &values);
            said += ";\n";
        }
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
        said
    }
}

/// Whether a lease is held, by what its row tells.
fn is_held(held: &Held, row: &Row) -> Result<bool, Trouble> {
    let now = instant(column(row, "now")?);
    let Some(sharers) = column::<Option<String>>(row, "sharers")? else {
        let expires = column::<Option<u64>>(row, "expires")?.map(instant);
        let owner = column::<Option<String>>(row, "owner")?;
        let is_ours = owner.is_some_and(|owner| owner == held.owner.to_string());
        return Ok(is_ours && expires.is_some_and(|expires| expires > now));
    };
    let sharers = lists::read_sharers(&sharers);
    let sharers = sharers.map_err(|e| strange(&format!("no list of ours ({e})")))?;
    Ok(sharers.iter().any(|share| share.owner == held.owner && share.expires > now))
}

/// The largest request about many rows, in bytes. By default even the oldest servers take four
/// times as much (`max_allowed_packet`).
const LARGEST: usize = 256 << 10;
/// How much of it one row takes, at most: so often its name, each byte as two digits,
const NAMES: usize = 4;
/// and besides.
const BESIDES: usize = 600;

/// What is asked about at once.
fn in_parts<T>(mut all: &[T], name: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut parts = Vec::new();
    while !all.is_empty() {
        let mut size = 0;
        let fits = all.iter().take_while(|one| {
            size += NAMES * 2 * name(one) + BESIDES;
            size <= LARGEST
        });
        let (part, rest) = all.split_at(fits.count().max(1));
        parts.push(part);
        all = rest;
    }
    parts
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
