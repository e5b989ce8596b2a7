//! One of the processes between which locks are handed over.

use std::fmt::Write;
use std::time::Duration;

use leasehold::time::Instant;
use leasehold::{Lease, Lock};
use redis::aio::MultiplexedConnection;

use crate::Failure;
use crate::clock::{now, pause, pause_until};

/// The first argument of such a process.
pub(crate) const WORD: &str = "worker";

/// What a process is to do, as its arguments say it.
pub(crate) struct Job {
    /// Or by a token.
    pub(crate) leasehold: bool,
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) waiters: usize,
    pub(crate) hold: Duration,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Job {
    pub(crate) fn words(&self) -> [String; 7] {
        [
            self.leasehold.to_string(),
            self.url.clone(),
            self.name.clone(),
            self.waiters.to_string(),
            self.hold.as_micros().to_string(),
            self.start.as_nanos().to_string(),
            self.end.as_nanos().to_string(),
        ]
    }

    fn parse(words: &[String]) -> Result<Self, Failure> {
        let [leasehold, url, name, waiters, hold, start, end] = words else {
            return Err("a job has seven words".into());
        };
        Ok(Self {
            leasehold: leasehold.parse()?,
            url: url.clone(),
            name: name.clone(),
            waiters: waiters.parse()?,
            hold: Duration::from_micros(hold.parse()?),
            start: Instant::from_nanos(start.parse()?),
            end: Instant::from_nanos(end.parse()?),
        })
    }
}

/// When somebody held the lock, in nanoseconds of the machine's clock.
pub(crate) struct Turn {
    pub(crate) waiter: usize,
    pub(crate) acquired: u64,
    pub(crate) releasing: u64,
}

impl Turn {
    pub(crate) fn parse(line: &str) -> Result<Self, Failure> {
        let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [waiter, acquired, releasing] = numbers[..] else { return Err("a broken turn".into()) };
        Ok(Self { waiter: waiter as usize, acquired, releasing })
    }
}

pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    let job = Job::parse(words)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let waiters = runtime.block_on(Waiter::all(&job))?;
    let (hold, start, end) = (job.hold, job.start, job.end);
    let tasks = waiters.into_iter().map(|waiter| runtime.spawn(waiter.turns(hold, start, end)));
    let mut said = String::new();
    for (waiter, task) in tasks.collect::<Vec<_>>().into_iter().enumerate() {
        for (acquired, releasing) in runtime.block_on(task)?? {
            writeln!(said, "{waiter} {} {}", acquired.as_nanos(), releasing.as_nanos())?;
        }
    }
    print!("{said}");
    Ok(())
}

enum Waiter {
    Lock(Lock, Option<Lease>),
    /// The shortest way that a server offers: whoever holds the token pushes it
    /// on a list, where all others wait.
    Token(MultiplexedConnection, String),
}

impl Waiter {
    async fn all(job: &Job) -> Result<Vec<Self>, Failure> {
        if job.leasehold {
            let client = leasehold::connect(&job.url).await?;
            let waiter = || Self::Lock(client.lock(&job.name), None);
            return Ok((0..job.waiters).map(|_| waiter()).collect());
        }
        let client = redis::Client::open(job.url.as_str())?;
        // A wait for a token may last.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let mut waiters = Vec::new();
        for _ in 0..job.waiters {
            // BLPOP blocks its connection.
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            waiters.push(Self::Token(connection, job.name.clone()));
        }
        Ok(waiters)
    }

    async fn turns(
        mut self,
        hold: Duration,
        start: Instant,
        end: Instant,
    ) -> Result<Vec<(Instant, Instant)>, Failure> {
        let mut turns = Vec::with_capacity(4096);
        pause_until(start).await;
        loop {
            self.take().await?;
            let acquired = now();
            if !hold.is_zero() {
                pause(hold).await;
            }
            let releasing = now();
            self.give().await?;
            turns.push((acquired, releasing));
            // Only now, so that nobody keeps what others wait for.
            if releasing >= end {
                return Ok(turns);
            }
        }
    }

    async fn take(&mut self) -> Result<(), Failure> {
        match self {
            Self::Lock(lock, lease) => *lease = Some(lock.acquire().await?),
            Self::Token(connection, list) => {
                let mut take = redis::cmd("BLPOP");
                let _: (String, String) = take.arg(&*list).arg(0).query_async(connection).await?;
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
        }
        Ok(())
    }
}
