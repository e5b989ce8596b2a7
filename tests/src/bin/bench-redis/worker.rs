//! One of the processes between which locks are handed over.

use std::time::Duration;

use leasehold::time::Instant;
use leasehold::{Lease, Lock};
use redis::aio::MultiplexedConnection;
use rslock::{LockGuard, LockManager};

use crate::Failure;
use crate::contender::TTL;
use crate::turns::{self, print_turns};

/// The first argument of such a process.
pub(crate) const WORD: &str = "worker";

/// What a process is to do, as its arguments say it.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) who: Who,
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) clients: usize,
    /// Of each client.
    pub(crate) waiters: usize,
    pub(crate) hold: Duration,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

/// By what the lock is handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Leasehold,
    Token,
    Rslock,
}

impl Who {
    const ALL: [(Self, &str); 3] =
        [(Self::Leasehold, "leasehold"), (Self::Token, "token"), (Self::Rslock, "rslock")];
}

impl Job {
    pub(crate) fn words(&self) -> [String; 8] {
        let name = Who::ALL.iter().find(|(who, _)| *who == self.who).map(|(_, name)| *name);
        [
            name.unwrap_or_default().to_owned(),
            self.url.clone(),
            self.name.clone(),
            self.clients.to_string(),
            self.waiters.to_string(),
            self.hold.as_micros().to_string(),
            self.start.as_nanos().to_string(),
            self.end.as_nanos().to_string(),
        ]
    }

    fn parse(words: &[String]) -> Result<Self, Failure> {
        let [who, url, name, clients, waiters, hold, start, end] = words else {
            return Err("a job has eight words".into());
        };
        let who = Who::ALL.into_iter().find(|(_, name)| name == who);
        Ok(Self {
            who: who.ok_or("nobody has that name")?.0,
            url: url.clone(),
            name: name.clone(),
            clients: clients.parse()?,
            waiters: waiters.parse()?,
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
    /// The shortest way that a server offers: whoever holds the token pushes it
    /// on a list, where all others wait.
    Token(MultiplexedConnection, String),
    Rslock(LockManager, String, Option<LockGuard>),
}

impl Waiter {
    async fn all(job: &Job) -> Result<Vec<Self>, Failure> {
        let mut all = Vec::new();
        for _ in 0..job.clients {
            all.append(&mut Self::of_one_client(job).await?);
        }
        Ok(all)
    }

    async fn of_one_client(job: &Job) -> Result<Vec<Self>, Failure> {
        let mut waiters = Vec::new();
        match job.who {
            Who::Leasehold => {
                let client = leasehold::connect(&job.url).await?;
                let waiter = || Self::Lock(client.lock(&job.name), None);
                waiters.extend((0..job.waiters).map(|_| waiter()));
            }
            Who::Token => {
                let client = redis::Client::open(job.url.as_str())?;
                // A wait for a token may last.
                let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
                for _ in 0..job.waiters {
                    // BLPOP blocks its connection.
                    let own = client.get_multiplexed_async_connection_with_config(&config).await?;
                    waiters.push(Self::Token(own, job.name.clone()));
                }
            }
            Who::Rslock => {
                let nodes = job.url.trim_start_matches("redlock://").split(',');
                let manager =
                    LockManager::new(nodes.map(|node| format!("redis://{node}")).collect());
                let waiter = || Self::Rslock(manager.clone(), job.name.clone(), None);
                waiters.extend((0..job.waiters).map(|_| waiter()));
            }
        }
        Ok(waiters)
    }
}

impl turns::Waiter for Waiter {
    async fn take(&mut self) -> Result<(), Failure> {
        match self {
            Self::Lock(lock, lease) => *lease = Some(lock.acquire().await?),
            Self::Token(connection, list) => {
                let mut take = redis::cmd("BLPOP");
                let _: (String, String) = take.arg(&*list).arg(0).query_async(connection).await?;
            }
            Self::Rslock(manager, name, guard) => {
                *guard = Some(manager.acquire(name.as_str(), TTL).await?);
            }
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
            Self::Token(connection, list) => {
                let mut give = redis::cmd("RPUSH");
                let _: u32 = give.arg(&*list).arg("token").query_async(connection).await?;
            }
            Self::Rslock(_, _, guard) => {
                if let Some(guard) = guard.take() {
                    guard.release().await;
                }
            }
        }
        Ok(())
    }
}
