//! A lock's record as a row of the table.

use std::num::ParseIntError;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::backend::Mode;
use crate::backend::record::{Address, Record, Tenant, Waiter};
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
    let line = write(record.line.iter(), Place::of)?;
    let sharers = record.tenants.iter().filter(|tenant| tenant.mode.is_shared());
    let sharers = write(sharers, Sharer::of)?;
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
    let line = read(row, 6, Place::waiter)?;
    let mut tenants = read(row, 7, Sharer::tenant)?;
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

/// A list as a column holds it; nothing if it is empty.
fn write<'a, T, J: Serialize>(
    all: impl Iterator<Item = &'a T>,
    one: impl Fn(&'a T) -> J,
) -> rusqlite::Result<Option<String>>
where
    T: 'a,
{
    let all: Vec<J> = all.map(one).collect();
    if all.is_empty() {
        return Ok(None);
    }
    let written = serde_json::to_string(&all);
    written.map(Some).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

fn read<J: DeserializeOwned, T>(
    row: &Row<'_>,
    column: usize,
    one: impl Fn(J) -> Result<T, ParseIntError>,
) -> rusqlite::Result<Vec<T>> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else { return Ok(Vec::new()) };
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, e)
    };
    let all: Vec<J> = serde_json::from_str(text).map_err(|e| failed(e.into()))?;
    all.into_iter().map(|json| one(json).map_err(|e| failed(e.into()))).collect()
}

/// A waiter as the column `line` holds it.
#[derive(Serialize, Deserialize)]
struct Place {
    owner: String,
    client: Address,
    label: String,
    until: u64,
    #[serde(default, skip_serializing_if = "is_exclusive")]
    mode: i64,
}

/// A holder who shares, as the column `sharers` holds it.
#[derive(Serialize, Deserialize)]
struct Sharer {
    owner: String,
    client: Address,
    label: String,
    mode: i64,
    fence: u64,
    slot: u32,
    since: u64,
    expires: u64,
}

impl Place {
    fn of(waiter: &Waiter) -> Self {
        Self {
            owner: waiter.owner.to_string(),
            client: waiter.client,
            label: (*waiter.label).into(),
            until: waiter.until.as_nanos(),
            mode: waiter.mode.code(),
        }
    }

    fn waiter(self) -> Result<Waiter, ParseIntError> {
        Ok(Waiter {
            owner: owner(&self.owner)?,
            client: self.client,
            label: self.label.into(),
            mode: Mode::from_code(self.mode),
            // Waiters are woken here, not granted: they say it again.
            ttl: Duration::ZERO,
            until: Instant::from_nanos(self.until),
        })
    }
}

impl Sharer {
    fn of(tenant: &Tenant) -> Self {
        Self {
            owner: tenant.owner.to_string(),
            client: tenant.client,
            label: (*tenant.label).into(),
            mode: tenant.mode.code(),
            fence: tenant.fence,
            slot: tenant.slot,
            since: tenant.since.as_nanos(),
            expires: tenant.expires.as_nanos(),
        }
    }

    fn tenant(self) -> Result<Tenant, ParseIntError> {
        Ok(Tenant {
            owner: owner(&self.owner)?,
            client: self.client,
            label: self.label.into(),
            mode: Mode::from_code(self.mode),
            fence: self.fence,
            slot: self.slot,
            since: Instant::from_nanos(self.since),
            expires: Instant::from_nanos(self.expires),
        })
    }
}

fn owner(text: &str) -> Result<Owner, ParseIntError> {
    u128::from_str_radix(text, 16).map(Owner::from_bits)
}

fn is_exclusive(code: &i64) -> bool {
    Mode::from_code(*code) == Mode::Exclusive
}
