//! Who is compared: each takes a free lock and gives it back.

use std::sync::Arc;
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::{Client, Owner};
use redis::aio::MultiplexedConnection;
use rslock::LockManager;

use crate::Failure;

/// The default of Leasehold.
const TTL: Duration = Duration::from_secs(10);

pub(crate) const COUNT: usize = 3;

/// In the order of [`Contender::all`].
pub(crate) const LEASEHOLD: usize = 0;
pub(crate) const OTHERS: [(usize, &str); 2] = [(1, "plain redis crate"), (2, "rslock")];

#[derive(Clone)]
pub(crate) enum Contender {
    Leasehold(Client),
    Plain(Plain),
    Rslock(LockManager),
}

impl Contender {
    /// Each with one client of its own.
    pub(crate) async fn all(url: &str) -> Result<[Self; COUNT], Failure> {
        Ok([
            Self::Leasehold(leasehold::connect(url).await?),
            Self::Plain(Plain::connect(url).await?),
            Self::Rslock(LockManager::new(vec![url])),
        ])
    }

    pub(crate) async fn pair(&mut self, name: &str) -> Result<(), Failure> {
        match self {
            Self::Leasehold(client) => {
                let lease = client.lock(name).acquire().await?;
                Ok(lease.release().await?)
            }
            Self::Plain(plain) => plain.pair(name).await,
            Self::Rslock(manager) => {
                manager.acquire(name, TTL).await?.release().await;
                Ok(())
            }
        }
    }
}

/// What one writes by hand from the page about locks in the manual of Redis.
#[derive(Clone)]
pub(crate) struct Plain {
    connection: MultiplexedConnection,
    release: Arc<redis::Script>,
    /// Leasehold's, so that owners are made the same way.
    random: Arc<ThreadRuntime>,
}

impl Plain {
    async fn connect(url: &str) -> Result<Self, Failure> {
        let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        let release = Arc::new(redis::Script::new(
            "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
             return 0",
        ));
        Ok(Self { connection, release, random: ThreadRuntime::start()? })
    }

    async fn pair(&mut self, name: &str) -> Result<(), Failure> {
        let owner = Owner::from_bits(self.random.random()).to_string();
        let mut set = redis::cmd("SET");
        set.arg(name).arg(&owner).arg("NX").arg("PX").arg(TTL.as_millis() as u64);
        let granted: Option<String> = set.query_async(&mut self.connection).await?;
        let released: u32 =
            self.release.key(name).arg(&owner).invoke_async(&mut self.connection).await?;
        match (granted, released) {
            (Some(_), 1) => Ok(()),
            _ => Err("the plain lock was not free".into()),
        }
    }
}
