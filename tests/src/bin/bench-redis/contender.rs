//! Who is compared: each takes a free lock and gives it back.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::{Client, Owner};
use leasehold_tests::servers::Server;
use redis::aio::MultiplexedConnection;
use rslock::LockManager;

use crate::Failure;

/// The default of Leasehold.
pub(crate) const TTL: Duration = Duration::from_secs(10);

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
    /// Each with one client of its own; of a quorum, if there are several servers.
    pub(crate) async fn all(servers: &[Server]) -> Result<[Self; COUNT], Failure> {
        let urls: Vec<String> = servers.iter().map(Server::url).collect();
        Ok([
            Self::Leasehold(leasehold::connect(&one_url(servers)).await?),
            Self::Plain(Plain::connect(&urls).await?),
            Self::Rslock(LockManager::new(urls)),
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

/// What Leasehold calls one server, or a quorum of several.
pub(crate) fn one_url(servers: &[Server]) -> String {
    match servers {
        [server] => server.url(),
        nodes => {
            let nodes: Vec<String> =
                nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
            format!("redlock://{}", nodes.join(","))
        }
    }
}

/// What one writes by hand from the page about locks in the manual of Redis;
/// with several servers the least that the algorithm takes: all are asked at
/// once, and no more answers than a majority are waited for.
#[derive(Clone)]
pub(crate) struct Plain {
    nodes: Vec<MultiplexedConnection>,
    release: Arc<redis::Script>,
    /// Leasehold's, so that owners are made the same way.
    random: Arc<ThreadRuntime>,
}

const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then
     return redis.call('DEL', KEYS[1]) end return 0";

/// The same by a connection that blocks its thread.
pub(crate) struct Blocking {
    connection: redis::Connection,
    release: redis::Script,
    random: Arc<ThreadRuntime>,
}

impl Blocking {
    pub(crate) fn connect(url: &str) -> Result<Self, Failure> {
        let connection = redis::Client::open(url)?.get_connection()?;
        let (release, random) = (redis::Script::new(RELEASE), ThreadRuntime::start()?);
        Ok(Self { connection, release, random })
    }

    pub(crate) fn pair(&mut self, name: &str) -> Result<(), Failure> {
        let owner = Owner::from_bits(self.random.random()).to_string();
        let mut set = redis::cmd("SET");
        set.arg(name).arg(&owner).arg("NX").arg("PX").arg(TTL.as_millis() as u64);
        let granted: Option<String> = set.query(&mut self.connection)?;
        let mut release = self.release.prepare_invoke();
        let deleted: u32 = release.key(name).arg(&owner).invoke(&mut self.connection)?;
        match granted.is_some() && deleted == 1 {
            true => Ok(()),
            false => Err("the plain lock was not free".into()),
        }
    }
}

impl Plain {
    async fn connect(urls: &[String]) -> Result<Self, Failure> {
        let release = redis::Script::new(RELEASE);
        let mut nodes = Vec::new();
        for url in urls {
            let client = redis::Client::open(url.as_str())?;
            let mut node = client.get_multiplexed_async_connection().await?;
            // Whose answer is not waited for would not be taught it.
            release.prepare_invoke().load_async(&mut node).await?;
            nodes.push(node);
        }
        Ok(Self { nodes, release: Arc::new(release), random: ThreadRuntime::start()? })
    }

    async fn pair(&mut self, name: &str) -> Result<(), Failure> {
        let owner = Owner::from_bits(self.random.random()).to_string();
        let mut set = redis::cmd("SET");
        set.arg(name).arg(&owner).arg("NX").arg("PX").arg(TTL.as_millis() as u64);
        let granting = self.nodes.iter_mut().map(|node| set.query_async::<Option<String>>(node));
        let granted = majority(granting, Option::is_some).await;
        let mut release = self.release.prepare_invoke();
        release.key(name).arg(&owner);
        let releasing = self.nodes.iter_mut().map(|node| release.invoke_async::<u32>(node));
        let released = majority(releasing, |deleted| *deleted == 1).await;
        match granted && released {
            true => Ok(()),
            false => Err("the plain lock was not free".into()),
        }
    }
}

/// Whether more than half say yes. The others are asked as well.
async fn majority<T>(
    asking: impl Iterator<Item = impl Future<Output = redis::RedisResult<T>>>,
    is_yes: impl Fn(&T) -> bool,
) -> bool {
    let mut open: Vec<_> = asking.map(Box::pin).collect();
    let (needed, mut yes) = (open.len() / 2 + 1, 0);
    poll_fn(|cx| {
        open.retain_mut(|asking| match asking.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                yes += usize::from(answer.as_ref().is_ok_and(&is_yes));
                false
            }
            Poll::Pending => true,
        });
        match yes >= needed || open.is_empty() {
            true => Poll::Ready(yes >= needed),
            false => Poll::Pending,
        }
    })
    .await
}
