//! A lock's record as a row of the table.

use std::collections::VecDeque;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::backend::record::{Address, Record, Tenant, Waiter};
use crate::name::{LockName, Owner};
use crate::time::Instant;

fn load(db: &Connection, name: &LockName) -> rusqlite::Result<Option<Record>> {
    let sql = "SELECT fence, owner, client, label, since, expires, line FROM locks WHERE name = ?1";
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
            "UPDATE locks SET fence = ?2, owner = ?3, client = ?4, label = ?5, since = ?6,
                 expires = ?7, line = ?8 WHERE name = ?1"
        }
        true => {
            "INSERT INTO locks (name, fence, owner, client, label, since, expires, line)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
        }
    };
    let tenant = record.tenant.as_ref();
    let line = match record.line.is_empty() {
        true => None,
        false => Some(
            Place::write(&record.line)
                .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?,
        ),
    };
    db.prepare_cached(sql)?.execute(params![
        name.as_str(),
        record.fence as i64,
        tenant.map(|t| t.owner.bits().to_be_bytes()),
        tenant.map(|t| t.client as i64),
        tenant.map(|t| &*t.label),
        tenant.map(|t| t.since.as_nanos() as i64),
        tenant.map(|t| t.expires.as_nanos() as i64),
        line,
    ])?;
    Ok(())
}

pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let fence = row.get::<_, i64>(0)? as u64;
    let owner = row.get::<_, Option<[u8; 16]>>(1)?;
    let tenant = match owner {
        None => None,
        Some(owner) => Some(Tenant {
            owner: Owner::from_bits(u128::from_be_bytes(owner)),
            client: row.get::<_, i64>(2)? as Address,
            label: row.get::<_, String>(3)?.into(),
            since: Instant::from_nanos(row.get::<_, i64>(4)? as u64),
            expires: Instant::from_nanos(row.get::<_, i64>(5)? as u64),
        }),
    };
    let line = match row.get_ref(6)?.as_str_or_null()? {
        None => VecDeque::new(),
        Some(line) => Place::read(line).map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(6, rusqlite::types::Type::Text, e)
        })?,
    };
    Ok(Record { fence, tenant, line })
}

/// A waiter as the column `line` holds it.
#[derive(Serialize, Deserialize)]
struct Place<'a> {
    owner: &'a str,
    client: Address,
    #[serde(borrow)]
    label: std::borrow::Cow<'a, str>,
    until: u64,
}

impl Place<'_> {
    fn write(line: &VecDeque<Waiter>) -> serde_json::Result<String> {
        let owners: Vec<String> = line.iter().map(|w| w.owner.to_string()).collect();
        let place = |(w, owner)| -> Place<'_> {
            let w: &Waiter = w;
            Place { owner, client: w.client, label: (*w.label).into(), until: w.until.as_nanos() }
        };
        let places = line.iter().zip(owners.iter().map(String::as_str)).map(place);
        serde_json::to_string(&places.collect::<Vec<_>>())
    }

    fn read(line: &str) -> Result<VecDeque<Waiter>, Box<dyn std::error::Error + Send + Sync>> {
        let waiter = |p: Place<'_>| {
            Ok(Waiter {
                owner: Owner::from_bits(u128::from_str_radix(p.owner, 16)?),
                client: p.client,
                label: p.label.into(),
                // Waiters are woken here, not granted: they say it again.
                ttl: Duration::ZERO,
                until: Instant::from_nanos(p.until),
            })
        };
        serde_json::from_str::<Vec<Place<'_>>>(line)?.into_iter().map(waiter).collect()
    }
}
