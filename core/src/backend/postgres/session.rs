//! One session with the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use crate::backend::sql::{self, Is, Trouble};
use crate::error::Error;
use crate::runtime::Runtime;
use crate::time::Instant;

/// What a statement is given, in order.
pub(super) type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// How often the server may end the statement that turns its own limit off.
const CANCELLED: u32 = 20;

/// How often others may be faster, where the server undoes what was slower.
const BEATEN: u32 = 64;

/// Where a statement that must outlive a crash of the server takes a column more,
const COMMITS: &str = "/* commits */";
/// which has its commit wait for the disk whatever is default for the user. A session that is
/// ours has been told so once.
const COMMITTED: &str = ", pg_catalog.set_config('synchronous_commit', \
    CASE pg_catalog.current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
    ELSE pg_catalog.current_setting('synchronous_commit') END, true)";

/// It works while its driver does. Statements are carried out one after the other, in the
/// order in which they are sent, and each is a transaction of its own.
pub(super) struct Session {
    client: Client,
    runtime: Arc<dyn Runtime>,
    response_timeout: Duration,
    /// Which attempt of its connection has opened it, counted from 1.
    number: u64,
    began: Instant,
    /// The process of the server that said it would serve us.
    process: Option<i32>,
    /// What the server keeps for this session, if there is nobody between us.
    prepared: OnceLock<Mutex<HashMap<String, Statement>>>,
    /// Why it has to end.
    broken: Mutex<Option<String>>,
    end: Notify,
}

impl Session {
    pub(super) fn new(
        client: Client,
        runtime: Arc<dyn Runtime>,
        response_timeout: Duration,
        number: u64,
        process: Option<i32>,
    ) -> Self {
        let (broken, end, began) = (Mutex::default(), Notify::new(), runtime.now());
        let prepared = OnceLock::new();
        Self { client, runtime, response_timeout, number, began, process, prepared, broken, end }
    }

    /// Have the session be ours, if it is: the process that answers is the one that greeted us.
    /// Then there is no pooler that has another session carry out the next statement, and the
    /// server can keep what is set, and statements: to plan one takes several times as long as
    /// to carry it out. Of a pooler's session others would keep what we set.
    pub(super) async fn take_over(&self, statement_timeout: &str) -> Result<(), Trouble> {
        let Some(process) = self.process else { return Ok(()) };
        let mut cancelled = 0;
        // First, and quickly: what is default for the user may be very short.
        // And nothing is looked for where others may have put something: a table is named with
        // its schema.
        let first = "SELECT pg_catalog.set_config('statement_timeout', '0', false), \
                     pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false) \
                     WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) $1";
        let is_ours = loop {
            match self.ask_again(first, &[(&process, Type::INT4)]).await {
                Ok(rows) => break !rows.is_empty(),
                Err(trouble) => {
                    cancelled += 1;
                    if trouble.is != Is::Cancelled || cancelled == CANCELLED {
                        return Err(trouble);
                    }
                }
            }
        };
        if is_ours {
            self.ask_again(&super::table::settings(), &[(&statement_timeout, Type::TEXT)]).await?;
            self.prepared.get_or_init(Mutex::default);
        }
        Ok(())
    }

    /// Whether there is nobody between us and the server.
    pub(super) fn is_ours(&self) -> bool {
        self.prepared.get().is_some()
    }

    /// Carry out a statement, once at most. Without an error it is committed.
    ///
    /// It is sent when this is polled first, so whoever has looked whether it is still wanted
    /// knows that what takes it back is sent later. For the same reason it is not sent again
    /// if the server has forgotten it: then it was [beaten](Is::Beaten).
    pub(super) async fn ask(&self, sql: &str, with: Parameters<'_>) -> Result<Vec<Row>, Trouble> {
        let Some(prepared) = self.prepared.get() else {
            let sql = sql.replace(COMMITS, COMMITTED);
            return self.in_time(self.client.query_typed(&sql, with)).await;
        };
        let known = lock(prepared).get(sql).cloned();
        let Some(statement) = known else {
            return self.ask_and_prepare(prepared, sql, with).await;
        };
        let values: Vec<_> = with.iter().map(|(value, _)| *value).collect();
        let mut answer = self.in_time(self.client.query(&statement, &values)).await;
        if let Err(trouble) = &mut answer
            && trouble.is == Is::Forgotten
        {
            // The table was changed, or somebody has made the server forget it.
            lock(prepared).remove(sql);
            trouble.is = Is::Beaten;
        }
        answer
    }

    /// The same, and again if others were faster: for what may be sent late.
    pub(super) async fn ask_again(
        &self,
        sql: &str,
        with: Parameters<'_>,
    ) -> Result<Vec<Row>, Trouble> {
        let mut attempt = 0;
        loop {
            match self.ask(sql, with).await {
                // Undone, for others were faster.
                Err(trouble) if trouble.is == Is::Beaten && attempt < BEATEN => {
                    let most = Duration::from_millis(1_u64 << attempt.min(5));
                    let part = f64::from(self.runtime.random() as u16) / f64::from(u16::MAX);
                    self.runtime.sleep(most.mul_f64(part)).await;
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    /// The statement goes first. What is kept of it is for the next time.
    async fn ask_and_prepare(
        &self,
        prepared: &Mutex<HashMap<String, Statement>>,
        sql: &str,
        with: Parameters<'_>,
    ) -> Result<Vec<Row>, Trouble> {
        let types: Vec<Type> = with.iter().map(|(_, kind)| kind.clone()).collect();
        let asked = async {
            let (answer, made) = tokio::join!(
                biased;
                self.client.query_typed(sql, with),
                self.client.prepare_typed(sql, &types)
            );
            if let (Ok(_), Ok(made)) = (&answer, made) {
                lock(prepared).insert(sql.to_owned(), made);
            }
            answer
        };
        self.in_time(asked).await
    }

    /// Carry out statements without parameters, in one transaction.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Trouble> {
        self.in_time(async { self.client.batch_execute(sql).await }).await
    }

    async fn in_time<T>(
        &self,
        answered: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Trouble> {
        if let Some(why) = self.over() {
            return Err(Trouble { error: Error::unavailable(why), is: Is::Broken });
        }
        let answered = async { answered.await.map_err(Trouble::from) };
        let answer = sql::in_time(&*self.runtime, self.response_timeout, answered).await;
        let Err(Trouble { error, is: Is::Broken }) = answer else { return answer };
        // Who has ended it knows more than who hears that it ended.
        let error = match lock(&self.broken).clone() {
            Some(why) => Error::unavailable(why).with_outcome(error.outcome()),
            None => error,
        };
        self.shut(&error.to_string());
        Err(Trouble { error, is: Is::Broken })
    }

    /// Why no more is asked.
    fn over(&self) -> Option<String> {
        let broken = lock(&self.broken).clone();
        let closed = || "the connection to the server is over".to_owned();
        broken.or_else(|| self.client.is_closed().then(closed))
    }

    /// End it: the next may do better.
    pub(super) fn shut(&self, why: &str) {
        lock(&self.broken).get_or_insert_with(|| why.to_owned());
        self.end.notify_one();
    }

    /// Ready when it has to end; answers why.
    pub(super) async fn ended(&self) -> String {
        self.end.notified().await;
        lock(&self.broken).clone().unwrap_or_default()
    }
}

impl sql::Session for Session {
    fn number(&self) -> u64 {
        self.number
    }

    fn age(&self) -> Duration {
        self.runtime.now().since(self.began)
    }

    fn limits_waits(&self) -> bool {
        self.is_ours()
    }

    /// Its driver hears of its end.
    async fn is_alive(&self) -> bool {
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
