//! The records in the table. What one statement cannot do is decided here from a row that was
//! read, and written if the row is still the one that was seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};

use super::dial::Dial;
use super::failure::{Is, Trouble};
use super::rows::{Columns, Seen, column};
use super::session::{Parameters, Session};
use super::table::Table;
use crate::backend::connection::Connection;
use crate::backend::record::{Address, Now, Record};
use crate::error::{Error, Outcome};
use crate::name::{LockName, Owner};
use crate::runtime::Runtime;

pub(super) struct Store {
    pub(super) requests: Connection<Arc<Session>>,
    pub(super) table: Table,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Where this client hears; 0 while it does not.
    pub(super) ear: Arc<AtomicU64>,
    /// See [`Backend::response_timeout`](crate::backend::Backend::response_timeout).
    pub(super) longer_response: Duration,
}

/// When something is decided, and what may come of it.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Now,
    /// Not while somebody keeps the row from getting another holder.
    pub(super) may_grant: bool,
}

/// Where a change begins.
#[derive(Default)]
pub(super) struct From {
    /// What is known of the lock already.
    pub(super) seen: Option<Seen>,
    /// Write in any case, and keep out for so long what was sent before and does not name the
    /// version that it saw.
    pub(super) careful: Option<Duration>,
}

/// How often somebody else may be faster.
const TRIES: u32 = 64;
/// So often a row that does not change may be locked by somebody who takes it just now.
const LOCKED: u32 = 5;

impl Store {
    pub(super) fn connect(dial: Dial, ear: Arc<AtomicU64>) -> Self {
        let (table, runtime) = (dial.table().clone(), dial.runtime().clone());
        let longer_response = dial.timeouts().longer_response();
        let requests = Connection::start(dial, runtime.clone());
        Self { requests, table, runtime, ear, longer_response }
    }

    /// Who this client is to those who wake it.
    pub(super) fn address(&self) -> Address {
        self.ear.load(Ordering::Relaxed)
    }

    /// A row as it is.
    async fn read(&self, session: &Session, name: &LockName) -> Result<Seen, Trouble> {
        let name = name.as_str();
        let rows = session.ask(&self.table.sql.read, &[(&name, Type::TEXT)]).await;
        let rows = rows.map_err(|mut trouble| {
            // Nothing was to be changed.
            trouble.error = trouble.error.with_outcome(Outcome::NotHeld);
            trouble
        })?;
        match rows.first().map(Seen::of) {
            Some(Ok(seen)) if seen.name == name => Ok(seen),
            Some(Err(trouble)) => Err(trouble),
            _ => Err(self.strange_read(session)),
        }
    }

    fn strange_read(&self, session: &Session) -> Trouble {
        let trouble = Trouble::strange("the answer to another question");
        session.shut(&trouble.error.to_string());
        trouble
    }

    /// Change one lock's record. The answer of `change`, which may be called several times,
    /// counts only when the row was written, or is to stay as it is; then who it names is told.
    pub(super) async fn change<T>(
        &self,
        name: &LockName,
        from: From,
        mut change: impl FnMut(&mut Record, Moment) -> (T, Vec<Address>),
    ) -> Result<T, Error> {
        let (mut known, mut last, mut locked) = (from.seen, None, 0);
        for attempt in 0..TRIES {
            let session = self.requests.session().await?;
            let seen = match known.take() {
                Some(seen) => seen,
                None => self.read(&session, name).await?,
            };
            let mut before = seen.record.clone();
            before.expire(seen.now.instant);
            let mut record = before.clone();
            let may_grant = locked < LOCKED;
            let (answer, told) = change(&mut record, Moment { now: seen.now, may_grant });
            if record == before && from.careful.is_none() {
                return Ok(answer);
            }
            let grants = has_another_holder(&before, &record);
            if grants && !may_grant {
                let message = "a transaction keeps the lock's row from being changed";
                return Err(Error::unavailable(message));
            }
            match self.write(&session, &seen, &record, &told, from.careful, grants).await {
                Ok(true) => return Ok(answer),
                Err(Trouble { error, is }) if is != Is::Beaten => return Err(error),
                Ok(false) | Err(_) => {}
            }
            locked = if grants && last == Some(seen.version) { locked + 1 } else { 0 };
            last = Some(seen.version);
            self.pause(attempt).await;
        }
        Err(Error::unavailable("others change this lock all the time; ask again"))
    }

    /// Let those go first who are as fast as we are.
    async fn pause(&self, attempt: u32) {
        if attempt > 0 {
            let most = Duration::from_millis(1 << attempt.min(5));
            let part = f64::from(self.runtime.random() as u16) / f64::from(u16::MAX);
            self.runtime.sleep(most.mul_f64(part)).await;
        }
    }

    /// Whether the row was as it had been seen, and is written.
    async fn write(
        &self,
        session: &Session,
        seen: &Seen,
        record: &Record,
        told: &[Address],
        careful: Option<Duration>,
        grants: bool,
    ) -> Result<bool, Trouble> {
        let columns = Columns::of(record)?;
        let careful = careful.map(super::rows::micros);
        let base = seen.version.unwrap_or(seen.forgotten);
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&seen.name, Type::TEXT), (&base, Type::INT8)];
        parameters.extend(columns.parameters());
        parameters.push((&careful, Type::INT8));
        let channels: Vec<String> =
            told.iter().filter(|client| **client != 0).map(|client| channel(*client)).collect();
        let sql = match seen.version {
            Some(_) => {
                parameters.push((&channels, Type::TEXT_ARRAY));
                parameters.push((&grants, Type::BOOL));
                &self.table.sql.change
            }
            None => &self.table.sql.insert,
        };
        let rows = session.ask(sql, &parameters).await?;
        let row = self.answer_to(session, &rows, "asked", &seen.name)?;
        Ok(column::<Option<i64>>(row, "version")?.is_some())
    }

    /// The one row of an answer, which names what was asked for in this column.
    pub(super) fn answer_to<'a>(
        &self,
        session: &Session,
        rows: &'a [tokio_postgres::Row],
        name: &str,
        asked: &str,
    ) -> Result<&'a tokio_postgres::Row, Trouble> {
        match rows {
            [row] if row.try_get::<_, &str>(name).is_ok_and(|said| said == asked) => Ok(row),
            _ => Err(self.strange_read(session)),
        }
    }

    /// Rows by a statement that reads many.
    pub(super) async fn read_rows(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<(LockName, Seen)>, Error> {
        let session = self.requests.session().await?;
        let rows = session.ask(sql, parameters).await;
        let rows = rows.map_err(|trouble| trouble.error.with_outcome(Outcome::NotHeld))?;
        let named = rows.iter().map(|row| {
            let seen = Seen::of(row)?;
            Ok((LockName::new(&seen.name)?, seen))
        });
        named.collect()
    }
}

/// On which a client hears.
pub(super) fn channel(client: Address) -> String {
    format!("leasehold_{client}")
}

/// Whether somebody holds it who did not.
fn has_another_holder(before: &Record, after: &Record) -> bool {
    let held = |owner: Owner| before.tenants.iter().any(|tenant| tenant.owner == owner);
    after.tenants.iter().any(|tenant| tenant.owner != Owner::NOBODY && !held(tenant.owner))
}
