//! The records in the file, and one short transaction per request.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, params};

use super::file::{self, Database, Failure};
use super::lane::eagerly;
use super::rows;
use super::world::World;
use crate::backend::record::{Now, Record};
use crate::error::Outcome;
use crate::name::LockName;

pub(super) struct Store {
    database: Database,
    world: Arc<World>,
    /// Up to which name old records were looked for.
    swept_to: RefCell<String>,
}

/// How far the log was moved into the database, in pages.
struct Progress {
    log: i64,
    moved: i64,
}

impl Store {
    /// Neither this nor any request waits for other connections.
    pub(super) fn new(database: Database, world: Arc<World>) -> Self {
        database.connection.set_prepared_statement_cache_capacity(16);
        Self { database, world, swept_to: RefCell::default() }
    }

    /// With a connection that waits a while for those that are in their transactions.
    pub(super) fn for_chores(world: Arc<World>) -> Result<Self, Failure> {
        // Others of this process may be opening one just now.
        let store = Self::new(eagerly(|| world.open())?, world);
        store.wait_up_to(Duration::from_secs(1))?;
        Ok(store)
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    fn wait_up_to(&self, patience: Duration) -> Result<(), Failure> {
        self.db().busy_timeout(patience).map_err(|e| self.failure(e))
    }

    fn db(&self) -> &Connection {
        &self.database.connection
    }

    fn failure(&self, e: rusqlite::Error) -> Failure {
        file::failure(self.world.path(), e)
    }

    /// Change one lock's record in one transaction. The answer of `change`
    /// counts only when the commit went through.
    pub(super) fn change<T>(
        &self,
        name: &LockName,
        change: impl FnOnce(&mut Record) -> T,
    ) -> Result<T, Failure> {
        self.transaction(|db| rows::change(db, name, change))
    }

    /// Change many records in one transaction, one answer each.
    pub(super) fn change_each<'a, I, T>(
        &self,
        items: impl IntoIterator<Item = (&'a LockName, I)>,
        mut change: impl FnMut(&mut Record, I) -> T,
    ) -> Result<Vec<T>, Failure> {
        self.transaction(|db| {
            let one = |(name, item)| rows::change(db, name, |record| change(record, item));
            items.into_iter().map(one).collect()
        })
    }

    /// The records that are held or waited for: all, or the one of this name.
    pub(super) fn read(&self, name: Option<&LockName>) -> Result<Vec<(LockName, Record)>, Failure> {
        let sql =
            "SELECT fence, owner, client, label, since, expires, line, sharers, name FROM locks_4
                   WHERE (owner IS NOT NULL OR line IS NOT NULL) AND name = ifnull(?1, name)
                   ORDER BY name";
        let rows = self.select(sql, [name.map(LockName::as_str)])?;
        let named = rows.into_iter().map(|(name, record)| Ok((LockName::new(&name)?, record)));
        named.collect::<Result<_, _>>().map_err(Failure::Broken)
    }

    fn select(
        &self,
        sql: &str,
        what: impl rusqlite::Params,
    ) -> Result<Vec<(String, Record)>, Failure> {
        self.world.check()?;
        let read = || {
            let mut statement = self.db().prepare_cached(sql)?;
            let rows = statement.query_map(what, |row| Ok((row.get(8)?, rows::record(row)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|e| self.failure(e))
    }

    /// Move what was written into the database file, and start the log anew if it
    /// has grown long.
    pub(super) fn checkpoint(&self) -> Result<(), Failure> {
        const LONG: i64 = 256;
        const LITTLE: i64 = 64;
        const ROUNDS: usize = 5;
        // A checkpoint beside busy writers never catches up quite; a log can only be
        // started anew while they are kept out. So first as much as possible beside
        // them, and only the little that is left while they wait.
        for round in 1..=ROUNDS {
            let done = self.run_checkpoint("PRAGMA wal_checkpoint(PASSIVE)")?;
            if done.log <= LONG {
                return Ok(());
            }
            if done.log - done.moved <= LITTLE || round == ROUNDS {
                break;
            }
        }
        // It keeps writers out while it waits for readers: not for long.
        self.wait_up_to(Duration::from_millis(20))?;
        let done = self.run_checkpoint("PRAGMA wal_checkpoint(RESTART)");
        self.wait_up_to(Duration::from_secs(1))?;
        done.map(drop)
    }

    fn run_checkpoint(&self, sql: &str) -> Result<Progress, Failure> {
        self.world.check()?;
        let run = self
            .db()
            .query_row(sql, [], |row| Ok(Progress { log: row.get(1)?, moved: row.get(2)? }));
        run.map_err(|e| self.failure(e))
    }

    /// Drop the records that nobody has used for a day, among the next thousand by
    /// name: never much work at once, however large the table is. Others get their
    /// turn after every few.
    pub(super) fn forget_old(&self, now: Now) -> Result<(), Failure> {
        const BATCH: usize = 1000;
        const AT_ONCE: usize = 100;
        let sql =
            "SELECT fence, owner, client, label, since, expires, line, sharers, name FROM locks_4
                   WHERE name > ?1 ORDER BY name LIMIT ?2";
        let after = self.swept_to.take();
        let mut rows = self.select(sql, params![after, BATCH as u32])?;
        if rows.len() == BATCH
            && let Some((last, _)) = rows.last()
        {
            self.swept_to.replace(last.clone());
        }
        rows.iter_mut().for_each(|(_, record)| record.expire(now.instant));
        rows.retain(|(_, record)| record.is_forgettable(now.wall_micros));
        rows.chunks(AT_ONCE).try_for_each(|some| self.transaction(|db| forget(db, some)))
    }

    fn transaction<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.world.check()?;
        let db = self.db();
        let run = || {
            db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            work(db)
        };
        let commit = |answer| db.prepare_cached("COMMIT")?.execute([]).map(|_| answer);
        let (done, is_last) = match run() {
            Ok(answer) => (commit(answer), true),
            Err(e) => (Err(e), false),
        };
        done.map_err(|e| {
            if !db.is_autocommit() {
                drop(db.execute_batch("ROLLBACK"));
            }
            // After an I/O error in the middle of a commit nobody knows.
            let is_unknown = is_last && e.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
            match self.failure(e) {
                Failure::Broken(e) if is_unknown => {
                    Failure::Broken(e.with_outcome(Outcome::Unknown))
                }
                failure => failure,
            }
        })
    }
}

fn forget(db: &Connection, some: &[(String, Record)]) -> rusqlite::Result<()> {
    // Whoever was granted it since has another fence.
    let mut delete = db.prepare_cached("DELETE FROM locks_4 WHERE name = ?1 AND fence = ?2")?;
    let mut largest = 0;
    for (name, record) in some {
        delete.execute(params![name, record.fence as i64])?;
        largest = largest.max(record.fence);
    }
    let sql = "UPDATE boot SET forgotten = max(forgotten, ?1)";
    db.prepare_cached(sql)?.execute([largest as i64]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::world::Entry;
    use super::*;
    use crate::backend::{Answer, Claim, Mode};
    use crate::name::Owner;
    use crate::time::Instant;

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
            delay: Duration::ZERO,
            mode: Mode::Exclusive,
            label: "".into(),
            place: None,
            renewed: true,
        }
    }

    fn store(dir: &tempfile::TempDir) -> Store {
        let entry = Entry::of(dir, 1);
        Store::new(entry.database, Arc::new(entry.world))
    }

    #[test]
    fn no_two_trips_of_the_clock_bring_back_an_old_fence() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let fence = |name: &str, owner, now| {
            let name = LockName::new(name).unwrap();
            let granted = store.change(&name, |record| {
                let answer = record.claim(&claim(&name, owner), 0, now);
                record.release(Owner::from_bits(owner), now.instant);
                answer
            });
            let Ok(Answer::Granted { fence, .. }) = granted else { panic!("it is free") };
            fence
        };
        let today = at(Duration::ZERO);
        // Once the clock is ten days ahead, and once again, when the record is dropped.
        let ahead = Now { wall_micros: at(10 * DAY).wall_micros, ..today };
        let far_ahead = Now { wall_micros: at(20 * DAY).wall_micros, ..today };
        let first = fence("x", 1, ahead);
        assert!(store.forget_old(far_ahead).is_ok());
        let left = store.db().query_row("SELECT count(*) FROM locks_4", [], |row| row.get(0));
        assert_eq!(left, Ok(0));
        let second = fence("x", 2, today);
        assert!(second > first, "{second} after {first}");
        assert!(store.forget_old(far_ahead).is_ok());
        assert!(fence("y", 3, today) > second);
    }

    #[test]
    fn records_of_yesterday_are_forgotten_batch_by_batch_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let take = |name: &str, owner, now| {
            let name = LockName::new(name).unwrap();
            let taken = store.change(&name, |record| record.claim(&claim(&name, owner), 0, now));
            assert!(taken.is_ok());
        };
        let left = || -> u32 {
            store.db().query_row("SELECT count(*) FROM locks_4", [], |row| row.get(0)).unwrap()
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
