//! A lock's record as a row of the table.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql, Type};

use crate::backend::columns::Columns;
use crate::backend::record::{Address, Now, Record};
use crate::backend::sql::{self, Seen, Trouble, read_owner};
use crate::error::Error;
use crate::time::Instant;

/// A column, whatever the server has put there.
pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, Trouble> {
    row.try_get(name).map_err(|e| Trouble::unreadable(&format!("a {name} that is none ({e})")))
}

/// A duration as the statements take it.
pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// A lock by a row that tells all of it.
pub(super) fn seen(row: &Row) -> Result<Seen, Trouble> {
    let instant = instant(column(row, "now")?);
    let version: Option<i64> = column(row, "version")?;
    let forgotten: i64 = column(row, "forgotten")?;
    let record = match version {
        Some(_) => record(row)?,
        None => Record::after(forgotten as u64),
    };
    let now = Now { instant, wall_micros: instant.as_nanos() / 1000 };
    Ok(Seen { name: column(row, "asked")?, now, version, forgotten, record })
}

fn record(row: &Row) -> Result<Record, Trouble> {
    let time = |name| column::<Option<SystemTime>>(row, name).map(|at| at.map(instant));
    let owner = read_owner(column(row, "owner")?).map_err(|what| Trouble::unreadable(&what))?;
    let columns = Columns {
        fence: column::<i64>(row, "fence")? as u64,
        owner,
        client: column::<Option<i64>>(row, "client")?.map(|client| client as Address),
        label: column::<Option<&str>>(row, "label")?.map(Into::into),
        since: time("since")?,
        expires: time("expires")?,
        line: column(row, "line")?,
        sharers: column(row, "sharers")?,
    };
    columns.record().map_err(|e| Trouble::unreadable(&format!("no list of ours ({e})")))
}

/// The columns of a row that is to be written, as this server takes them.
pub(super) struct Written {
    fence: i64,
    owner: Option<String>,
    client: Option<i64>,
    label: Option<String>,
    since: Option<SystemTime>,
    expires: Option<SystemTime>,
    line: Option<String>,
    sharers: Option<String>,
}

impl Written {
    pub(super) fn of(record: &Record) -> Result<Self, Error> {
        let columns = sql::columns(record)?;
        Ok(Self {
            fence: columns.fence as i64,
            owner: columns.owner.map(|owner| owner.to_string()),
            client: columns.client.map(|client| client as i64),
            label: columns.label.map(|label| (*label).to_owned()),
            since: columns.since.map(system_time),
            expires: columns.expires.map(system_time),
            line: columns.line,
            sharers: columns.sharers,
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
pub(super) fn instant(time: SystemTime) -> Instant {
    START + time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn system_time(instant: Instant) -> SystemTime {
    UNIX_EPOCH + instant.since(START)
}
