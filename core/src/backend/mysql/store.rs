//! The records in the table. What one statement cannot do is decided here from a row that was
//! read, and written if the row is still the one that was seen.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::Row;

use super::dial::Dial;
use super::failure::{Is, Trouble};
use super::rows::{Columns, Seen, column, micros};
use super::session::Session;
use super::table::{Table, named};
use super::text::{Values, maybe};
use crate::backend::connection::Connection;
use crate::backend::record::{Now, Record};
use crate::error::Error;
use crate::name::LockName;
use crate::runtime::Runtime;

pub(super) struct Store {
    pub(super) requests: Connection<Arc<Session>>,
    pub(super) table: Table,
    pub(super) runtime: Arc<dyn Runtime>,
    /// See [`Backend::response_timeout`](crate::backend::Backend::response_timeout).
    pub(super) longer_response: Duration,
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
/// How often a session may turn out to have ended.
const PROOFS: u32 = 8;

impl Store {
    pub(super) fn connect(dial: Dial) -> Self {
        let (table, runtime) = (dial.table().clone(), dial.runtime().clone());
        let longer_response = dial.timeouts().longer_response();
        let requests = Connection::start(dial, runtime.clone());
        Self { requests, table, runtime, longer_response }
    }

    /// A session that has not ended, as far as can be known.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Error> {
        for _ in 0..PROOFS {
            let session = self.requests.session().await?;
            if session.is_alive().await {
                return Ok(session);
            }
            // It is noticed, and another one opened.
            self.runtime.sleep(Duration::from_millis(1)).await;
        }
        self.requests.session().await
    }

    /// A row as it is.
    async fn read(&self, session: &Session, name: &LockName) -> Result<Seen, Trouble> {
        let row = session.ask_one(&self.table.sql.read, &[("name", named(name.as_str()))]).await;
        self.seen(session, &row.map_err(Trouble::of_reading)?, name)
    }

    /// What is seen of a lock in an answer that tells its name.
    pub(super) fn seen(
        &self,
        session: &Session,
        row: &Row,
        name: &LockName,
    ) -> Result<Seen, Trouble> {
        match Seen::of(row)? {
            seen if seen.name == name.as_str() => Ok(seen),
            _ => {
                let trouble = Trouble::strange("the answer to another question");
                session.shut(&trouble.error.to_string());
                Err(trouble)
            }
        }
    }

    /// Change one lock's record. The answer of `change`, which may be called several times,
    /// counts only when the row was written, or is to stay as it is.
    pub(super) async fn change<T>(
        &self,
        name: &LockName,
        from: From,
        mut change: impl FnMut(&mut Record, Now) -> T,
    ) -> Result<T, Error> {
        let mut known = from.seen;
        for attempt in 0..TRIES {
            let session = self.session().await?;
            let seen = match known.take() {
                Some(seen) => seen,
                None => self.read(&session, name).await?,
            };
            let mut before = seen.record.clone();
            before.expire(seen.now.instant);
            let mut record = before.clone();
            let answer = change(&mut record, seen.now);
            if record == before && from.careful.is_none() {
                return Ok(answer);
            }
            match self.write(&session, &seen, &record, from.careful).await {
                Ok(true) => return Ok(answer),
                Err(Trouble { error, is }) if is != Is::Beaten => return Err(error),
                Ok(false) | Err(_) => {}
            }
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
        careful: Option<Duration>,
    ) -> Result<bool, Trouble> {
        let mut values = Vec::from(Columns::of(record)?.values);
        values.push(("name", named(&seen.name)));
        values.push(("version", seen.version.unwrap_or(seen.forgotten).to_string()));
        values.push(("careful", maybe(careful, |span| micros(span).to_string())));
        let sql = match seen.version {
            Some(_) => &self.table.sql.change,
            None => &self.table.sql.insert,
        };
        let row = session.ask_one(sql, &values).await?;
        has_written(&row)
    }

    /// Rows by a statement that reads many, and the row about the table.
    pub(super) async fn read_rows(
        &self,
        session: &Session,
        sql: &str,
        values: Values<'_>,
    ) -> Result<Vec<Seen>, Trouble> {
        let rows = session.ask(sql, values).await.map_err(Trouble::of_reading)?;
        let seen = rows
            .iter()
            .map(Seen::of)
            .filter(|seen| !matches!(seen, Ok(seen) if seen.name.is_empty()));
        seen.collect()
    }
}

/// Whether the statement before has changed a row.
pub(super) fn has_written(row: &Row) -> Result<bool, Trouble> {
    Ok(column::<i64>(row, "written")? == 1)
}
