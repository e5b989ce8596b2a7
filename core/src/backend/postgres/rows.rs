//! A lock's record as a row of the table.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql, Type};

use super::failure::Trouble;
use crate::backend::Mode;
use crate::backend::lists;
use crate::backend::record::{Address, Now, Record, Tenant};
use crate::error::Error;
use crate::name::Owner;
use crate::time::Instant;

/// A lock as it was at some moment.
pub(super) struct Seen {
    /// What was asked for.
    pub(super) name: String,
    /// The server's clock then, or a little before.
    pub(super) now: Now,
    /// `None`: it had no row.
    pub(super) version: Option<i64>,
    /// The largest fence of all rows that were dropped by then.
    pub(super) forgotten: i64,
    pub(super) record: Record,
}

/// A column, whatever the server has put there.
pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, Trouble> {
    row.try_get(name).map_err(|e| Trouble::strange(&format!("a row that cannot be read ({e})")))
}

/// A duration as the statements take it.
pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl Seen {
    pub(super) fn of(row: &Row) -> Result<Self, Trouble> {
        let now: SystemTime = column(row, "now")?;
        let instant = instant(now);
        let version: Option<i64> = column(row, "version")?;
        let forgotten: i64 = column(row, "forgotten")?;
        let record = match version {
            Some(_) => record(row)?,
            None => Record::after(forgotten as u64),
        };
        let now = Now { instant, wall_micros: instant.as_nanos() / 1000 };
        Ok(Self { name: column(row, "asked")?, now, version, forgotten, record })
    }
}

fn record(row: &Row) -> Result<Record, Trouble> {
    let unreadable = |e: lists::Unreadable| Trouble::strange(&format!("no list of ours ({e})"));
    let fence = column::<i64>(row, "fence")? as u64;
    let line = column::<Option<&str>>(row, "line")?.map_or(Ok(Vec::new()), lists::read_line);
    let line = line.map_err(unreadable)?;
    let sharers = column::<Option<&str>>(row, "sharers")?;
    let mut tenants = sharers.map_or(Ok(Vec::new()), lists::read_sharers).map_err(unreadable)?;
    let owner = column::<Option<&str>>(row, "owner")?;
    if let Some(owner) = owner.filter(|_| tenants.is_empty()) {
        let owner = u128::from_str_radix(owner, 16)
            .map_err(|_| Trouble::strange(&format!("an owner that is none: {owner:?}")))?;
        tenants.push(Tenant {
            owner: Owner::from_bits(owner),
            client: column::<Option<i64>>(row, "client")?.unwrap_or(0) as Address,
            label: column::<Option<&str>>(row, "label")?.unwrap_or_default().into(),
            mode: Mode::Exclusive,
            fence,
            slot: 0,
            since: column::<Option<SystemTime>>(row, "since")?.map_or(START, instant),
            expires: column::<Option<SystemTime>>(row, "expires")?.map_or(START, instant),
        });
    }
    Ok(Record { fence, tenants, line: line.into() })
}

/// The columns of a row that is to be written.
pub(super) struct Columns {
    fence: i64,
    owner: Option<String>,
    client: Option<i64>,
    label: Option<String>,
    since: Option<SystemTime>,
    pub(super) expires: Option<SystemTime>,
    line: Option<String>,
    pub(super) sharers: Option<String>,
}

impl Columns {
    pub(super) fn of(record: &Record) -> Result<Self, Error> {
        // Of several the one that ends last: who knows of no others waits for all.
        let tenant = record.tenants.iter().max_by_key(|tenant| tenant.expires);
        let failed = |e: serde_json::Error| {
            Error::invalid("the lock cannot be written down as JSON").because(e)
        };
        Ok(Self {
            fence: record.fence as i64,
            owner: tenant.map(|t| t.owner.to_string()),
            client: tenant.map(|t| t.client as i64),
            label: tenant.map(|t| (*t.label).to_owned()),
            since: tenant.map(|t| system_time(t.since)),
            expires: tenant.map(|t| system_time(t.expires)),
            line: lists::line(record).map_err(failed)?,
            sharers: lists::sharers(record).map_err(failed)?,
        })
    }

    /// In the order in which the statements that write rows take them.
    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 8] {
        [
            (&self.fence, Type::INT8),
            (&self.owner, Type::TEXT),
            (&self.client, Type::INT8),
            (&self.label, Type::TEXT),
            (&self.since, Type::TIMESTAMPTZ),
            (&self.expires, Type::TIMESTAMPTZ),
            (&self.line, Type::TEXT),
            (&self.sharers, Type::TEXT),
        ]
    }
}

/// 1970.
const START: Instant = Instant::from_nanos(0);

/// The server's times, counted from 1970.
fn instant(time: SystemTime) -> Instant {
    START + time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn system_time(instant: Instant) -> SystemTime {
    UNIX_EPOCH + instant.since(START)
}
