//! A lock's record as a row of the table.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::backend::columns::Columns;
use crate::backend::record::{Address, Record};
use crate::name::{LockName, Owner};
use crate::time::Instant;

fn load(db: &Connection, name: &LockName) -> rusqlite::Result<Option<Record>> {
    let sql = "SELECT fence, owner, client, label, since, expires, line, sharers FROM locks_4
               WHERE name = ?1";
    db.prepare_cached(sql)?.query_row([name.as_str()], record).optional()
}

/// The largest fence of all records that were ever dropped: a name that is new, or
/// that was forgotten, begins above it, whatever the clock says.
pub(super) fn forgotten(db: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT forgotten FROM boot";
    db.prepare_cached(sql)?.query_row([], |row| Ok(row.get::<_, i64>(0)? as u64))
}

/// Change one record. Rows that are as before are not written.
pub(super) fn change<T>(
    db: &Connection,
    name: &LockName,
    change: impl FnOnce(&mut Record) -> T,
) -> rusqlite::Result<T> {
    let found = load(db, name)?;
    let is_new = found.is_none();
    let before = match found {
        Some(found) => found,
        None => Record::after(forgotten(db)?),
    };
    let mut record = before.clone();
    let answer = change(&mut record);
    if record != before {
        save(db, name, is_new, &record)?;
    }
    Ok(answer)
}

fn save(db: &Connection, name: &LockName, is_new: bool, record: &Record) -> rusqlite::Result<()> {
    let sql = match is_new {
        false => {
            "UPDATE locks_4 SET fence = ?2, owner = ?3, client = ?4, label = ?5, since = ?6,
                 expires = ?7, line = ?8, sharers = ?9 WHERE name = ?1"
        }
        true => {
            "INSERT INTO locks_4 (name, fence, owner, client, label, since, expires, line, sharers)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        }
    };
    let failed = |e: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(e.into());
    let row = Columns::of(record).map_err(failed)?;
    db.prepare_cached(sql)?.execute(params![
        name.as_str(),
        row.fence as i64,
        row.owner.map(|owner| owner.bits().to_be_bytes()),
        row.client.map(|client| client as i64),
        row.label,
        row.since.map(|at| at.as_nanos() as i64),
        row.expires.map(|at| at.as_nanos() as i64),
        row.line,
        row.sharers,
    ])?;
    Ok(())
}

/// The column of the line.
const LINE: usize = 6;

pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let number = |column| row.get::<_, Option<i64>>(column);
    let instant = |column| number(column).map(|at| at.map(|at| Instant::from_nanos(at as u64)));
    let owner = row.get::<_, Option<[u8; 16]>>(1)?;
    let columns = Columns {
        fence: row.get::<_, i64>(0)? as u64,
        owner: owner.map(|owner| Owner::from_bits(u128::from_be_bytes(owner))),
        client: number(2)?.map(|client| client as Address),
        label: row.get(3)?,
        since: instant(4)?,
        expires: instant(5)?,
        line: row.get(LINE)?,
        sharers: row.get(7)?,
    };
    columns.record().map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(LINE, rusqlite::types::Type::Text, e)
    })
}
