//! A lock's record as a row of the table.

use std::time::Duration;

use mysql_async::Row;
use mysql_async::prelude::FromValue;

use super::text::{self, maybe};
use crate::backend::columns::Columns;
use crate::backend::record::{Address, Now, Record};
use crate::backend::sql::{self, Seen, Trouble, read_owner};
use crate::error::Error;
use crate::time::Instant;

/// A column, whatever the server has put there.
pub(super) fn column<T: FromValue>(row: &Row, name: &str) -> Result<T, Trouble> {
    match row.get_opt(name) {
        Some(Ok(value)) => Ok(value),
        _ => Err(Trouble::unreadable(&format!("a {name} that is none"))),
    }
}

/// A duration as the statements take it.
pub(super) fn micros(span: Duration) -> i64 {
    // What is added to it stays a number of the server, too.
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

/// A lock by a row that tells all of it.
pub(super) fn seen(row: &Row) -> Result<Seen, Trouble> {
    let wall_micros: u64 = column(row, "now")?;
    let version: Option<i64> = column(row, "version")?;
    let forgotten: i64 = column(row, "forgotten")?;
    let record = match version {
        Some(_) => record(row)?,
        None => Record::after(forgotten as u64),
    };
    let now = Now { instant: instant(wall_micros), wall_micros };
    Ok(Seen { name: column(row, "asked")?, now, version, forgotten, record })
}

fn record(row: &Row) -> Result<Record, Trouble> {
    let time = |name| column::<Option<u64>>(row, name).map(|at| at.map(instant));
    let owner = column::<Option<String>>(row, "owner")?;
    let columns = Columns {
        fence: column(row, "fence")?,
        owner: read_owner(owner.as_deref()).map_err(|what| Trouble::unreadable(&what))?,
        client: column::<Option<i64>>(row, "client")?.map(|client| client as Address),
        label: column::<Option<String>>(row, "label")?.map(Into::into),
        since: time("since")?,
        expires: time("expires")?,
        line: column(row, "line")?,
        sharers: column(row, "sharers")?,
    };
    columns.record().map_err(|e| Trouble::unreadable(&format!("no list of ours ({e})")))
}

/// The columns of a row that is to be written, as this server takes them.
pub(super) fn values(record: &Record) -> Result<[(&'static str, String); 8], Error> {
    let columns = sql::columns(record)?;
    Ok([
        ("fence", columns.fence.to_string()),
        ("owner", maybe(columns.owner, text::owner)),
        ("client", maybe(columns.client, |client| (client as i64).to_string())),
        ("label", maybe(columns.label, |label| text::text(&label))),
        ("since", maybe(columns.since, |at| wall_micros(at).to_string())),
        ("expires", maybe(columns.expires, |at| wall_micros(at).to_string())),
        ("line", maybe(columns.line, |line| text::text(&line))),
        ("sharers", maybe(columns.sharers, |sharers| text::text(&sharers))),
    ])
}

/// The server's times, counted from 1970.
pub(super) fn instant(wall_micros: u64) -> Instant {
    Instant::from_nanos(wall_micros.saturating_mul(1000))
}

/// Rounded up: a lease never ends before its ttl.
fn wall_micros(instant: Instant) -> u64 {
    instant.as_nanos().div_ceil(1000)
}
