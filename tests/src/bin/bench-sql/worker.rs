//! One of the processes between which locks are handed over.

use std::sync::Arc;
use std::time::Duration;

use leasehold::time::Instant;
use leasehold::{Lease, Lock};

use crate::Failure;
use crate::plain::{Plain, Statement};
use crate::turns::{self, print_turns};

/// The first argument of such a process.
pub(crate) const WORD: &str = "worker";

/// What a process is to do, as its arguments say it.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) who: Who,
    pub(crate) url: String,
    pub(crate) name: String,
    /// Of this process, each with a connection of its own,
    pub(crate) waiters: usize,
    /// so many are in processes before this one,
    pub(crate) first: usize,
    /// and so many in all.
    pub(crate) all: usize,
    pub(crate) hold: Duration,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

/// By what the lock is handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Leasehold,
    /// The least that PostgreSQL takes: whoever has the token notifies the next one.
    Token,
    /// The same where the token is also written in a row.
    Row,
    /// A lock of the server, which has its own line.
    Advisory,
}

impl Who {
    const ALL: [(Self, &str); 4] = [
        (Self::Leasehold, "leasehold"),
        (Self::Token, "token"),
        (Self::Row, "row"),
        (Self::Advisory, "advisory"),
    ];
}

impl Job {
    pub(crate) fn words(&self) -> [String; 9] {
        let name = Who::ALL.iter().find(|(who, _)| *who == self.who).map(|(_, name)| *name);
        [
            name.unwrap_or_default().to_owned(),
            self.url.clone(),
            self.name.clone(),
            self.waiters.to_string(),
            self.first.to_string(),
            self.all.to_string(),
            self.hold.as_micros().to_string(),
            self.start.as_nanos().to_string(),
            self.end.as_nanos().to_string(),
        ]
    }

    fn parse(words: &[String]) -> Result<Self, Failure> {
        let [who, url, name, waiters, first, all, hold, start, end] = words else {
            return Err("a job has nine words".into());
        };
        let who = Who::ALL.into_iter().find(|(_, name)| name == who);
        Ok(Self {
            who: who.ok_or("nobody has that name")?.0,
            url: url.clone(),
            name: name.clone(),
            waiters: waiters.parse()?,
            first: first.parse()?,
            all: all.parse()?,
            hold: Duration::from_micros(hold.parse()?),
            start: Instant::from_nanos(start.parse()?),
            end: Instant::from_nanos(end.parse()?),
        })
    }
}

pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    let job = Job::parse(words)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let waiters = runtime.block_on(Waiter::all(&job))?;
    print_turns(&runtime, waiters, job.hold, job.start, job.end)
}

enum Waiter {
    Lock(Lock, Option<Lease>),
    Token {
        plain: Plain,
        /// Whom to notify.
        next: String,
        /// What is written before.
        row: Option<String>,
        /// It is here from the start.
        has_token: bool,
    },
    Advisory(Plain, String),
}

impl Waiter {
    async fn all(job: &Job) -> Result<Vec<Self>, Failure> {
        let mut all = Vec::new();
        let client = match job.who {
            Who::Leasehold => Some(Arc::new(leasehold::connect(&job.url).await?)),
            _ => None,
        };
        for number in job.first..job.first + job.waiters {
            if let Some(client) = &client {
                all.push(Self::Lock(client.lock(&job.name), None));
                continue;
            }
            let plain = Plain::connect(&job.url).await?;
            if job.who == Who::Advisory {
                all.push(Self::Advisory(plain, job.name.clone()));
                continue;
            }
            let channel = |number: usize| format!("{}_{}", job.name, number % job.all);
            plain.listen(&channel(number)).await?;
            let row = (job.who == Who::Row).then(|| channel(number));
            if let Some(row) = &row {
                plain.execute(Statement::Insert, row).await?;
            }
            let (next, has_token) = (channel(number + 1), number == 0);
            all.push(Self::Token { plain, next, row, has_token });
        }
        Ok(all)
    }
}

impl turns::Waiter for Waiter {
    async fn take(&mut self) -> Result<(), Failure> {
        match self {
            Self::Lock(lock, lease) => *lease = Some(lock.acquire().await?),
            Self::Token { plain, row, has_token, .. } => {
                if !std::mem::take(has_token) {
                    plain.hear().await?;
                }
                if let Some(row) = row {
                    plain.execute(Statement::Take, row).await?;
                }
            }
            Self::Advisory(plain, name) => drop(plain.execute(Statement::Lock, name).await?),
        }
        Ok(())
    }

    async fn give(&mut self) -> Result<(), Failure> {
        match self {
            Self::Lock(_, lease) => {
                if let Some(lease) = lease.take() {
                    lease.release().await?;
                }
            }
            Self::Token { plain, next, row, .. } => {
                if let Some(row) = row {
                    plain.execute(Statement::Give, row).await?;
                }
                plain.notify(next).await?;
            }
            Self::Advisory(plain, name) => drop(plain.execute(Statement::Unlock, name).await?),
        }
        Ok(())
    }
}
