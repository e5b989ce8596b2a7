//! A lock's record as a row of the table.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::backend::Mode;
use crate::backend::lists::{self, Unreadable};
use crate::backend::record::{Address, Record, Tenant};
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
    // Of several the one that ends last: who knows of no others waits for all.
    let tenant = record.tenants.iter().max_by_key(|tenant| tenant.expires);
    let failed = |e: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(e.into());
    let line = lists::line(record).map_err(failed)?;
    let sharers = lists::sharers(record).map_err(failed)?;
    db.prepare_cached(sql)?.execute(params![
        name.as_str(),
        record.fence as i64,
        tenant.map(|t| t.owner.bits().to_be_bytes()),
        tenant.map(|t| t.client as i64),
        tenant.map(|t| &*t.label),
        tenant.map(|t| t.since.as_nanos() as i64),
        tenant.map(|t| t.expires.as_nanos() as i64),
        line,
        sharers,
    ])?;
    Ok(())
}

pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let fence = row.get::<_, i64>(0)? as u64;
    let owner = row.get::<_, Option<[u8; 16]>>(1)?;
    let line = list(row, 6, lists::read_line)?;
    let mut tenants = list(row, 7, lists::read_sharers)?;
    if let Some(owner) = owner.filter(|_| tenants.is_empty()) {
        tenants.push(Tenant {
            owner: Owner::from_bits(u128::from_be_bytes(owner)),
            client: row.get::<_, i64>(2)? as Address,
            label: row.get::<_, String>(3)?.into(),
            mode: Mode::Exclusive,
            fence,
            slot: 0,
            since: Instant::from_nanos(row.get::<_, i64>(4)? as u64),
            expires: Instant::from_nanos(row.get::<_, i64>(5)? as u64),
        });
    }
    Ok(Record { fence, tenants, line: line.into() })
}

fn list<T>(
    row: &Row<'_>,
    column: usize,
    read: impl Fn(&str) -> Result<Vec<T>, Unreadable>,
) -> rusqlite::Result<Vec<T>> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else { return Ok(Vec::new()) };
    read(text).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, e)
    })
}
