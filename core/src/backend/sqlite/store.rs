//! The records in the file, and one short transaction per request.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::file::{DataFile, Failure};
use crate::backend::record::{Address, Now, Record, Tenant, Waiter};
use crate::name::{LockName, Owner};
use crate::time::Instant;

pub(super) struct Store {
    db: Connection,
    file: DataFile,
    /// Up to which name old records were looked for.
    swept_to: RefCell<String>,
}

impl Store {
    /// Open or create the database. Neither this nor any request waits for
    /// other connections, see [`Store::wait_up_to`].
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let (file, db) = DataFile::open(path)?;
        db.set_prepared_statement_cache_capacity(16);
        Ok(Self { db, file, swept_to: RefCell::default() })
    }

    /// From here on, block this long while another connection is in its
    /// transaction.
    pub(super) fn wait_up_to(&self, patience: Duration) -> Result<(), Failure> {
        self.db.busy_timeout(patience).map_err(|e| self.file.failure(e))
    }

    /// Change one lock's record in one transaction. The answer of `change`
    /// counts only when the commit went through.
    pub(super) fn change<T>(
        &self,
        name: &LockName,
        change: impl FnOnce(&mut Record) -> T,
    ) -> Result<T, Failure> {
        self.transaction(|db| {
            let found = load(db, name)?;
            let mut record = found.clone().unwrap_or_default();
            let answer = change(&mut record);
            save(db, name, found.as_ref(), &record)?;
            Ok(answer)
        })
    }

    /// Change many records in one transaction, one answer each.
    pub(super) fn change_each<'a, I, T>(
        &self,
        items: impl IntoIterator<Item = (&'a LockName, I)>,
        mut change: impl FnMut(&mut Record, I) -> T,
    ) -> Result<Vec<T>, Failure> {
        self.transaction(|db| {
            let one = |(name, item)| {
                let found = load(db, name)?;
                let mut record = found.clone().unwrap_or_default();
                let answer = change(&mut record, item);
                save(db, name, found.as_ref(), &record)?;
                Ok(answer)
            };
            items.into_iter().map(one).collect()
        })
    }

    /// The records that are held or waited for: all, or the one of this name.
    pub(super) fn read(&self, name: Option<&LockName>) -> Result<Vec<(LockName, Record)>, Failure> {
        let sql = "SELECT fence, owner, client, label, since, expires, line, name FROM locks
                   WHERE (owner IS NOT NULL OR line IS NOT NULL) AND name = ifnull(?1, name)
                   ORDER BY name";
        self.file.check()?;
        let read = || {
            let mut statement = self.db.prepare_cached(sql)?;
            let rows = statement
                .query_map([name.map(LockName::as_str)], |row| Ok((row.get(7)?, record(row)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, Record)>>>()
        };
        let rows = read().map_err(|e| self.file.failure(e))?;
        let named = rows.into_iter().map(|(name, record)| Ok((LockName::new(&name)?, record)));
        named.collect::<Result<_, _>>().map_err(Failure::Broken)
    }

    /// Move what was written into the database file, beside the writers.
    pub(super) fn checkpoint(&self) -> Result<(), Failure> {
        self.file.check()?;
        let run = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        run.map_err(|e| self.file.failure(e))
    }

    /// Start the log anew. A checkpoint beside busy writers never catches up;
    /// this keeps them out for the little that it has left.
    pub(super) fn restart_log(&self) -> Result<(), Failure> {
        self.checkpoint()?;
        let run = self.db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
        run.map_err(|e| self.file.failure(e))
    }

    /// Drop the records that nobody has used for a day, among the next
    /// thousand by name: never much work at once, however large the table is.
    pub(super) fn forget_old(&self, now: Now) -> Result<(), Failure> {
        const BATCH: usize = 1000;
        self.file.check()?;
        let sql = "SELECT fence, owner, client, label, since, expires, line, name FROM locks
                   WHERE name > ?1 ORDER BY name LIMIT ?2";
        let after = self.swept_to.take();
        let read = || {
            let mut statement = self.db.prepare_cached(sql)?;
            let rows = statement
                .query_map(params![after, BATCH as u32], |row| Ok((row.get(7)?, record(row)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, Record)>>>()
        };
        let mut rows = read().map_err(|e| self.file.failure(e))?;
        if rows.len() == BATCH
            && let Some((last, _)) = rows.last()
        {
            self.swept_to.replace(last.clone());
        }
        rows.iter_mut().for_each(|(_, record)| record.expire(now.instant));
        rows.retain(|(_, record)| record.is_forgettable(now.wall_micros));
        if rows.is_empty() {
            return Ok(());
        }
        self.transaction(|db| {
            // Whoever was granted it since has another fence.
            let mut delete =
                db.prepare_cached("DELETE FROM locks WHERE name = ?1 AND fence = ?2")?;
            for (name, record) in &rows {
                delete.execute(params![name, record.fence as i64])?;
            }
            Ok(())
        })
    }

    fn transaction<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.file.check()?;
        let run = || {
            self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let answer = work(&self.db)?;
            self.db.prepare_cached("COMMIT")?.execute([])?;
            Ok(answer)
        };
        run().map_err(|e| {
            if !self.db.is_autocommit() {
                drop(self.db.execute_batch("ROLLBACK"));
            }
            self.file.failure(e)
        })
    }
}

fn load(db: &Connection, name: &LockName) -> rusqlite::Result<Option<Record>> {
    let sql = "SELECT fence, owner, client, label, since, expires, line FROM locks WHERE name = ?1";
    db.prepare_cached(sql)?.query_row([name.as_str()], record).optional()
}

/// Write what `record` became, given what was `found`.
fn save(
    db: &Connection,
    name: &LockName,
    found: Option<&Record>,
    record: &Record,
) -> rusqlite::Result<()> {
    let sql = match found {
        Some(found) if found == record => return Ok(()),
        Some(_) => {
            "UPDATE locks SET fence = ?2, owner = ?3, client = ?4, label = ?5, since = ?6,
                 expires = ?7, line = ?8 WHERE name = ?1"
        }
        None => {
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

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Claim, Mode};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn at(passed: Duration) -> Now {
        let nanos = passed.as_nanos() as u64;
        Now {
            instant: Instant::from_nanos(1 + nanos),
            wall_micros: 1_700_000_000_000_000 + nanos / 1000,
        }
    }

    fn claim(name: &LockName, owner: u128) -> Claim {
        let owner = Owner::from_bits(owner);
        let ttl = Duration::from_secs(10);
        Claim {
            name: name.clone(),
            owner,
            ttl,
            mode: Mode::Exclusive,
            label: "".into(),
            place: None,
            renewed: true,
        }
    }

    #[test]
    fn records_of_yesterday_are_forgotten_batch_by_batch_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let Ok(store) = Store::open(&dir.path().join("locks.db")) else { panic!("no database") };
        let take = |name: &str, owner, now| {
            let name = LockName::new(name).unwrap();
            let taken = store.change(&name, |record| record.claim(&claim(&name, owner), 0, now));
            assert!(taken.is_ok());
        };
        let left = || -> u32 {
            store.db.query_row("SELECT count(*) FROM locks", [], |row| row.get(0)).unwrap()
        };
        // None is released: these are the leases of processes that died.
        (0..1500).for_each(|number| take(&format!("old {number}"), number, at(Duration::ZERO)));
        take("young", 2000, at(DAY + Duration::from_secs(1)));
        take("held", 2001, at(DAY * 2));
        for expected in [503, 2, 2] {
            assert!(store.forget_old(at(DAY * 2)).is_ok());
            assert_eq!(left(), expected);
        }
        assert!(store.forget_old(at(DAY * 4)).is_ok());
        assert_eq!(left(), 0);
    }
}
