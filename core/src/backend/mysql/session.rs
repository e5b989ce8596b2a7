//! One session with the server.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tokio::sync::{Notify, oneshot};

use super::failure::{strange, trouble};
use super::rows::column;
use super::text::{Values, fill};
use crate::backend::connection::Driver;
use crate::backend::sql::{self, Is, Trouble, in_time};
use crate::error::{Error, Outcome};
use crate::runtime::Runtime;
use crate::time::Instant;

/// After so long without a word a session may have ended, which is only seen by asking.
const STALE: Duration = Duration::from_secs(1);

/// Statements are carried out one after the other, in the order in which they are asked, and
/// each is a transaction of its own.
pub(super) struct Session {
    line: Arc<Line>,
    /// Of the question that is asked next.
    questions: AtomicU64,
    /// Which attempt of its connection has opened it, counted from 1.
    number: u64,
    runtime: Arc<dyn Runtime>,
    began: Instant,
}

/// What is to be asked.
struct Line {
    state: Mutex<State>,
    rung: Notify,
}

#[derive(Default)]
struct State {
    questions: VecDeque<Question>,
    /// When the server has answered last.
    heard: Option<Instant>,
    /// Why no more is asked.
    over: Option<String>,
}

struct Question {
    sql: String,
    is_sent: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Vec<Row>, Trouble>>,
}

impl Session {
    /// A session on a connection, and what keeps it going.
    pub(super) fn new(
        conn: Conn,
        runtime: Arc<dyn Runtime>,
        response_timeout: Duration,
        number: u64,
    ) -> (Arc<Self>, Driver) {
        let line = Arc::new(Line { state: Mutex::default(), rung: Notify::new() });
        let began = runtime.now();
        let asker = Asker { conn, runtime: runtime.clone(), limit: response_timeout };
        let driver = asker.serve(Closing(line.clone()));
        let questions = AtomicU64::new(1);
        (Arc::new(Self { line, questions, number, runtime, began }), Box::pin(driver))
    }

    /// Carry out statements, once at most; the last of them says the number of the question in
    /// each row. Without an error all are committed.
    pub(super) async fn ask(&self, sql: &str, with: Values<'_>) -> Result<Vec<Row>, Trouble> {
        let number = self.questions.fetch_add(1, Ordering::Relaxed);
        let sql = fill(&fill(sql, with), &[("question", number.to_string())]);
        let rows = self.answer(sql).await?;
        if rows.is_empty() {
            // What was said before the question may have been carried out.
            let error = Error::unavailable("the table has no row about itself");
            return Err(Trouble { error: error.with_outcome(Outcome::Unknown), is: Is::Empty });
        }
        let answers = |row: &Row| matches!(column::<u64>(row, "question"), Ok(q) if q == number);
        match rows.iter().all(answers) {
            true => Ok(rows),
            false => {
                let trouble = strange("the answer to another question");
                self.shut(&trouble.error.to_string());
                Err(trouble)
            }
        }
    }

    /// The same with one row as the answer.
    pub(super) async fn ask_one(&self, sql: &str, with: Values<'_>) -> Result<Row, Trouble> {
        let mut rows = self.ask(sql, with).await?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(row),
            _ => Err(strange("several rows for one")),
        }
    }

    async fn answer(&self, sql: String) -> Result<Vec<Row>, Trouble> {
        let (answer, answered) = oneshot::channel();
        let is_sent = Arc::new(AtomicBool::new(false));
        {
            let mut state = lock(&self.line.state);
            if let Some(why) = &state.over {
                return Err(Trouble { error: Error::unavailable(&**why), is: Is::Broken });
            }
            state.questions.push_back(Question { sql, is_sent: is_sent.clone(), answer });
        }
        self.line.rung.notify_one();
        match answered.await {
            Ok(answer) => answer,
            Err(_) => {
                let why = lock(&self.line.state).over.clone();
                let why = why.unwrap_or_else(|| "the connection to the server is over".to_owned());
                let outcome = match is_sent.load(Ordering::SeqCst) {
                    true => Outcome::Unknown,
                    false => Outcome::NotHeld,
                };
                let error = Error::unavailable(why).with_outcome(outcome);
                Err(Trouble { error, is: Is::Broken })
            }
        }
    }

    /// End it: the next may do better.
    pub(super) fn shut(&self, why: &str) {
        self.line.close(why);
    }
}

impl Line {
    fn close(&self, why: &str) {
        let mut state = lock(&self.state);
        state.over.get_or_insert_with(|| why.to_owned());
        let dropped = std::mem::take(&mut state.questions);
        drop(state);
        drop(dropped);
        self.rung.notify_one();
    }

    /// The next question, or why there is none any more.
    async fn next(&self) -> Result<Question, String> {
        loop {
            {
                let mut state = lock(&self.state);
                if let Some(why) = &state.over {
                    return Err(why.clone());
                }
                if let Some(question) = state.questions.pop_front() {
                    return Ok(question);
                }
            }
            self.rung.notified().await;
        }
    }
}

/// Whatever ends the driver, nobody goes on waiting.
struct Closing(Arc<Line>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close("the connection to the server is over");
    }
}

struct Asker {
    conn: Conn,
    runtime: Arc<dyn Runtime>,
    limit: Duration,
}

impl Asker {
    /// Answers why it ended.
    async fn serve(mut self, closing: Closing) -> String {
        let line = closing.0.clone();
        loop {
            let question = match line.next().await {
                Ok(question) => question,
                Err(why) => return why,
            };
            // Nobody waits for it any more, and it was not sent.
            if question.answer.is_closed() {
                continue;
            }
            question.is_sent.store(true, Ordering::SeqCst);
            let asked = carry_out(&mut self.conn, question.sql);
            let answer = in_time(&*self.runtime, self.limit, asked).await;
            lock(&line.state).heard = Some(self.runtime.now());
            let broken = match &answer {
                Err(Trouble { error, is: Is::Broken }) => Some(error.to_string()),
                _ => None,
            };
            if let Some(why) = &broken {
                line.close(why);
            }
            drop(question.answer.send(answer));
            if let Some(why) = broken {
                return why;
            }
        }
    }
}

async fn carry_out(conn: &mut Conn, sql: String) -> Result<Vec<Row>, Trouble> {
    let mut rows = Vec::new();
    let mut wrote = false;
    let mut result = conn.query_iter(sql).await.map_err(|e| trouble(e, wrote))?;
    loop {
        wrote |= result.affected_rows() > 0;
        if result.is_empty() {
            // Also after an error of any statement but the first, which only this tells.
            result.drop_result().await.map_err(|e| trouble(e, wrote))?;
            return Ok(rows);
        }
        let set: Vec<Row> = result.collect().await.map_err(|e| trouble(e, wrote))?;
        if !set.is_empty() {
            rows = set;
        }
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
        true
    }

    /// Whether it has been heard of just now, or answers. One that has ended is not asked to
    /// carry out anything, so that nobody has to wonder whether it did.
    async fn is_alive(&self) -> bool {
        let (heard, is_over) = {
            let state = lock(&self.line.state);
            (state.heard.unwrap_or(self.began), state.over.is_some())
        };
        let is_fresh = self.runtime.now().since(heard) <= STALE;
        !is_over && (is_fresh || self.answer("DO 0".to_owned()).await.is_ok())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
