//! A lock's record as a row of the table.

use std::time::Duration;

use mysql_async::Row;
use mysql_async::prelude::FromValue;

use super::failure::Trouble;
use super::text::{self, maybe};
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
pub(super) fn column<T: FromValue>(row: &Row, name: &str) -> Result<T, Trouble> {
    match row.get_opt(name) {
        Some(Ok(value)) => Ok(value),
        _ => Err(Trouble::strange(&format!("a row whose {name} cannot be read"))),
    }
}

/// A duration as the statements take it.
pub(super) fn micros(span: Duration) -> i64 {
    // What is added to it stays a number of the server, too.
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

impl Seen {
    pub(super) fn of(row: &Row) -> Result<Self, Trouble> {
        let wall_micros: u64 = column(row, "now")?;
        let version: Option<i64> = column(row, "version")?;
        let forgotten: i64 = column(row, "forgotten")?;
        let record = match version {
            Some(_) => record(row)?,
            None => Record::after(forgotten as u64),
        };
        let now = Now { instant: instant(wall_micros), wall_micros };
        Ok(Self { name: column(row, "asked")?, now, version, forgotten, record })
    }
}

fn record(row: &Row) -> Result<Record, Trouble> {
    let unreadable = |e: lists::Unreadable| Trouble::strange(&format!("no list of ours ({e})"));
    let fence = column::<u64>(row, "fence")?;
    let line = column::<Option<String>>(row, "line")?;
    let line = line.map_or(Ok(Vec::new()), |line| lists::read_line(&line)).map_err(unreadable)?;
    let sharers = column::<Option<String>>(row, "sharers")?;
    let sharers = sharers.map_or(Ok(Vec::new()), |sharers| lists::read_sharers(&sharers));
    let mut tenants = sharers.map_err(unreadable)?;
    let owner = column::<Option<String>>(row, "owner")?;
    if let Some(owner) = owner.filter(|_| tenants.is_empty()) {
        let owner = u128::from_str_radix(&owner, 16)
            .map_err(|_| Trouble::strange(&format!("an owner that is none: {owner:?}")))?;
        let time = |name| column::<Option<u64>>(row, name).map(|at| instant(at.unwrap_or(0)));
        tenants.push(Tenant {
            owner: Owner::from_bits(owner),
            client: column::<Option<i64>>(row, "client")?.unwrap_or(0) as Address,
            label: column::<Option<String>>(row, "label")?.unwrap_or_default().into(),
            mode: Mode::Exclusive,
            fence,
            slot: 0,
            since: time("since")?,
            expires: time("expires")?,
        });
    }
    Ok(Record { fence, tenants, line: line.into() })
}

/// The columns of a row that is to be written.
pub(super) struct Columns {
    pub(super) values: [(&'static str, String); 8],
}

impl Columns {
    pub(super) fn of(record: &Record) -> Result<Self, Error> {
        // Of several the one that ends last: who knows of no others waits for all.
        let tenant = record.tenants.iter().max_by_key(|tenant| tenant.expires);
        let failed = |e: serde_json::Error| {
            Error::invalid("the lock cannot be written down as JSON").because(e)
        };
        let list = |list: Option<String>| maybe(list, |list| text::text(&list));
        let values = [
            ("fence", record.fence.to_string()),
            ("owner", maybe(tenant, |t| text::owner(t.owner))),
            ("client", maybe(tenant, |t| (t.client as i64).to_string())),
            ("label", maybe(tenant, |t| text::text(&t.label))),
            ("since", maybe(tenant, |t| wall_micros(t.since).to_string())),
            ("expires", maybe(tenant, |t| wall_micros(t.expires).to_string())),
            ("line", list(lists::line(record).map_err(failed)?)),
            ("sharers", list(lists::sharers(record).map_err(failed)?)),
        ];
        Ok(Self { values })
    }
}

/// The server's times, counted from 1970.
fn instant(wall_micros: u64) -> Instant {
    Instant::from_nanos(wall_micros.saturating_mul(1000))
}

/// Rounded up: a lease never ends before its ttl.
fn wall_micros(instant: Instant) -> u64 {
    instant.as_nanos().div_ceil(1000)
}
