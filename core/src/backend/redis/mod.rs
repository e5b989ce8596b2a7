//! One Redis or Valkey server.
//!
//! The holder key is that of the published Redlock algorithm
//! (<https://redis.io/docs/latest/develop/use/patterns/distributed-locks/>),
//! so that other libraries which follow it exclude us and we them. A fence, a
//! line, and locks that are handed on by the release itself are ours; every
//! request is one script, in a file of its own under `lua/`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::connection::Connection;
use super::record::Retired;
use super::{Answer, Backend, Claim, Grant, Held, Released, Renewal, Status, Wake};
use crate::error::{Error, Kind, Outcome};
use crate::name::{LockName, Owner};
use crate::runtime::Runtime;

mod address;
mod dial;
mod failure;
mod inbox;
mod inspect;
mod keys;
mod link;
mod node;
mod redlock;
mod request;
mod scripts;

pub(crate) use address::Address;
use dial::{Dial, Session};
use failure::Failure;
use inbox::News;
use keys::Keys;
use link::Link;
pub(crate) use redlock::Redlock;
use request::{Request, numbers};

/// How long a claim may be on its way over a connection that we have given up.
const LATE: Duration = Duration::from_secs(60 * 60);
/// Stands for a link that is not known.
const ANY_LINK: u64 = 0;
/// Renewals of so many leases go in one command.
const BATCH: usize = 1000;

/// One client's connection to one Redis server, 6.2 or newer, or Valkey.
///
/// # URL
/// `redis://USER:PASSWORD@HOST:PORT/DB`, `rediss://…` encrypted,
/// `redis+unix:///PATH?db=DB&user=USER&pass=PASSWORD` through a socket;
/// `valkey` means the same as `redis`. Options follow as a query:
///
/// * `prefix=leasehold:` stands before every name. The holder of a lock is the
///   plain string key `PREFIX` + `NAME`, as in the published Redlock algorithm
///   for one server: with the same key, locks of redis-py, node-redlock or
///   redsync exclude ours and ours theirs.
/// * `quarantine=on` and `max_ttl=30s`: see below.
/// * `ca=FILE` (`rediss` only): the authority that signed the server's
///   certificate, instead of those that the system trusts.
///
/// # What it promises
/// One holder at a time, and rising fences, as long as the server keeps its
/// data and its wall clock does not jump: Redis expires keys by the wall clock,
/// so a jump ahead ends leases early. Fences still rise then, and also when
/// data is lost while the clock is sane. A server that evicts keys
/// (`maxmemory-policy` other than `noeviction`) evicts locks too.
///
/// A server that restarts without its last writes, or a replica that takes over
/// without them, has forgotten leases that their holders believe in. With
/// `quarantine=on` it then grants nothing for `max_ttl` and a margin, until all
/// of those are over; ttls are limited to `max_ttl`. It also does so at the very
/// first connect. Every client of the server must set it, to the same `max_ttl`;
/// it is off by default because a restart that loses nothing pauses all locks too.
///
/// # Waiting
/// A release hands the lock to the first of the line, and tells its client in
/// the same step. That grant lasts a second unless the client renews it, which
/// it does by itself, so a waiter that hangs costs the others a second.
///
/// # Access
/// One connection per client (two where the server does not speak RESP3). The
/// user needs the keys of the prefix and `{*}:leasehold:*`, the channels
/// `leasehold:*`, and scripts.
pub struct Redis {
    address: Arc<Address>,
    connection: Connection<Session>,
    /// Where this client is told what it is granted.
    channel: Arc<str>,
    news: tokio::sync::Mutex<mpsc::UnboundedReceiver<News>>,
    past: Mutex<Past>,
    /// The server is a node of a cluster, which takes only keys of one slot in
    /// a command. Renewals are then sent one by one.
    in_cluster: AtomicBool,
}

/// What is to be known about owners whose claims may still be on their way.
#[derive(Default)]
struct Past {
    /// Released or withdrawn: over this connection no claim of theirs can come
    /// after that, as a server answers in order. A bug of ours could send one.
    retired: Retired,
    /// The number of the link over which a claim without an answer was sent, or
    /// [`ANY_LINK`].
    in_doubt: BTreeMap<Owner, u64>,
}

impl Past {
    /// Only as many as can matter, whatever happens.
    const MAX_IN_DOUBT: usize = 65_536;

    fn doubt(&mut self, owner: Owner, link: u64) {
        self.in_doubt.insert(owner, link);
        if self.in_doubt.len() > Self::MAX_IN_DOUBT {
            self.in_doubt.pop_first();
        }
    }
}

/// A claim that has been sent, and not answered before it is dropped.
struct Sent<'a> {
    redis: &'a Redis,
    owner: Owner,
    link: u64,
    answered: bool,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.redis.past().doubt(self.owner, self.link);
        }
    }
}

impl Redis {
    /// Connect to the server that the URL names, with the options above. The
    /// `runtime` must run its tasks on a Tokio runtime with I/O, as
    /// [`ThreadRuntime`](crate::runtime::ThreadRuntime) does.
    ///
    /// # Errors
    /// `unavailable` when it cannot be reached, `refused` when it does not
    /// accept the user, `invalid` for a URL or certificates that cannot be read.
    pub async fn connect(url: &str, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let options: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self::at(Address::parse(address, &options)?, runtime).await
    }

    pub(crate) async fn at(address: Address, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let address = Arc::new(address);
        let channel: Arc<str> = format!("leasehold:{:032x}", runtime.random()).into();
        let (tell, news) = mpsc::unbounded_channel();
        let dial = Dial {
            address: address.clone(),
            channel: channel.clone(),
            news: tell,
            runtime: runtime.clone(),
            number: 0,
        };
        let connection = Connection::start(dial, runtime);
        connection.session().await?;
        let (news, past) = (tokio::sync::Mutex::new(news), Mutex::default());
        Ok(Self { address, connection, channel, news, past, in_cluster: AtomicBool::new(false) })
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self, name: &LockName) -> Keys {
        Keys::of(&self.address.prefix, name.as_str())
    }

    /// The channel, and who that is.
    fn who(&self, claim: &Claim) -> String {
        format!("{} {}", self.channel, claim.label)
    }

    /// A request about a lock, by a script that may make somebody the holder.
    fn request<'a>(
        &self,
        script: &'static scripts::Script,
        name: &LockName,
        session: &'a Session,
    ) -> Request<'a> {
        let epoch =
            session.epoch.as_ref().map(|epoch| (self.address.epoch_key(), &*epoch.identity));
        Request::about(script, &self.keys(name), epoch)
    }

    /// Whether a claim of this owner may come later than what is sent now.
    fn may_come_late(&self, owner: Owner, link: &Link) -> bool {
        self.past().in_doubt.get(&owner).is_some_and(|number| *number != link.number)
    }

    async fn withdraw_over(
        &self,
        session: &Session,
        name: &LockName,
        owner: Owner,
    ) -> Result<(), Error> {
        let late = self.may_come_late(owner, &session.link);
        let refuse = if late { LATE } else { Duration::ZERO };
        let request = self.request(&scripts::WITHDRAW, name, session);
        request.arg(owner.to_string()).arg(millis(refuse)).send(&session.link).await?;
        self.past().in_doubt.remove(&owner);
        Ok(())
    }

    /// Renew in one command.
    async fn renew_together(&self, leases: &[Held], link: &Link) -> Result<Vec<Renewal>, Failure> {
        let locks: Vec<_> = leases.iter().map(|held| self.keys(&held.name).lock).collect();
        let mut request = Request::over(&scripts::RENEW, &locks);
        for held in leases {
            request = request.arg(held.owner.to_string()).arg(millis(held.ttl));
        }
        let answer = |kept: &u8| if *kept == b'1' { Renewal::Kept } else { Renewal::Gone };
        match request.send(link).await? {
            ::redis::Value::BulkString(kept) => Ok(kept.iter().map(answer).collect()),
            other => Err(strange(&other).into()),
        }
    }

    /// What a message on our channel says: `granted OWNER FENCE MS KEY`, or
    /// `gone KEY`.
    fn understand(&self, message: &[u8]) -> Option<Wake> {
        let message = std::str::from_utf8(message).ok()?;
        let name = |key: &str| LockName::new(key.strip_prefix(&self.address.prefix)?).ok();
        let (what, rest) = message.split_once(' ')?;
        if what == "gone" {
            return Some(Wake::Name(name(rest)?));
        }
        let mut words = rest.splitn(4, ' ');
        let owner = u128::from_str_radix(words.next()?, 16).ok()?;
        let (fence, millis) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Wake::Granted(Grant {
            name: name(words.next()?)?,
            owner: Owner::from_bits(owner),
            fence,
            lasts: Duration::from_millis(millis),
        }))
    }
}

#[async_trait]
impl Backend for Redis {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        if self.past().retired.contains(claim.owner) {
            return Ok(Answer::Retired);
        }
        self.address.check_ttl(claim.ttl)?;
        let session = self.connection.session().await?;
        let request = self
            .request(&scripts::CLAIM, &claim.name, &session)
            .arg(claim.owner.to_string())
            .arg(self.who(claim))
            .arg(millis(claim.ttl))
            .arg(claim.place.map_or(0, millis));
        let mut sent =
            Sent { redis: self, owner: claim.owner, link: session.link.number, answered: false };
        let answer = request.send(&session.link).await;
        sent.answered = Failure::is_answer(&answer);
        let reply = numbers(answer?)?;
        match reply[..] {
            [0, free_in, ahead, fence] => Ok(Answer::Busy {
                free_in: u64::try_from(free_in).ok().map(Duration::from_millis),
                ahead: ahead as usize,
                fence: fence as u64,
            }),
            [1, fence] => Ok(Answer::Granted { fence: fence as u64, term: None }),
            [2] => Ok(Answer::Retired),
            [3, ends_in] => {
                if ends_in < 0 {
                    session.link.shut("the server has another identity than when we connected");
                }
                Ok(Answer::Quarantined { ends_in: Duration::from_millis(ends_in.max(0) as u64) })
            }
            _ => Err(strange(&reply)),
        }
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        let session = self.connection.session().await?;
        let one_by_one = self.in_cluster.load(Ordering::Relaxed);
        let mut answers = Vec::with_capacity(leases.len());
        for batch in leases.chunks(if one_by_one { 1 } else { BATCH }) {
            match self.renew_together(batch, &session.link).await {
                Err(failure) if failure.code == "CROSSSLOT" => {
                    self.in_cluster.store(true, Ordering::Relaxed);
                    for held in batch {
                        let alone = std::slice::from_ref(held);
                        answers.extend(self.renew_together(alone, &session.link).await?);
                    }
                }
                kept => answers.extend(kept?),
            }
        }
        Ok(answers)
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        let session = self.connection.session().await?;
        let (withdrawn, next) = {
            let mut past = self.past();
            past.retired.insert(held.owner);
            let withdrawn = then.is_some_and(|then| past.retired.contains(then.owner));
            let next = then.filter(|_| !withdrawn);
            if let Some(next) = next {
                // The next may withdraw while the release is under way, which is
                // sent again where the server has forgotten the script.
                past.doubt(next.owner, ANY_LINK);
            }
            (withdrawn, next)
        };
        let request = self
            .request(&scripts::RELEASE, &held.name, &session)
            .arg(held.owner.to_string())
            .arg(next.map_or(String::new(), |next| next.owner.to_string()))
            .arg(next.map_or(String::new(), |next| self.who(next)))
            .arg(next.map_or(0, |next| millis(next.ttl)));
        let late = self.may_come_late(held.owner, &session.link);
        let answer = request.send(&session.link).await;
        if let Some(next) = next.filter(|_| Failure::is_answer(&answer)) {
            self.past().in_doubt.remove(&next.owner);
        }
        let reply = numbers(answer?)?;
        let [was_held, others, fence] = reply[..] else { return Err(strange(&reply)) };
        if late {
            self.withdraw_over(&session, &held.name, held.owner).await?;
        }
        self.past().in_doubt.remove(&held.owner);
        let next = match next {
            _ if withdrawn => Some(Answer::Retired),
            Some(_) if fence > 0 => Some(Answer::Granted { fence: fence as u64, term: None }),
            Some(next) => Some(self.claim(next).await?),
            None => None,
        };
        Ok(Released { held: was_held == 1, next, others: others as usize })
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        self.past().retired.insert(claim.owner);
        let session = self.connection.session().await?;
        self.withdraw_over(&session, &claim.name, claim.owner).await
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        let session = self.connection.session().await?;
        let request = self.request(&scripts::EVICT, name, &session);
        match request.send(&session.link).await? {
            ::redis::Value::Int(evicted) => Ok(evicted == 1),
            other => Err(strange(&other)),
        }
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let session = self.connection.session().await?;
        let found = inspect::inspect(&session.link, &self.address.prefix, name).await?;
        Ok(found.into_iter().map(|(status, _)| status).collect())
    }

    async fn wake(&self) -> Wake {
        let mut news = self.news.lock().await;
        loop {
            match news.recv().await {
                Some(News::Reconnected) => return Wake::All,
                Some(News::Message(message)) => {
                    if let Some(wake) = self.understand(&message) {
                        return wake;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    fn describe(&self) -> &str {
        &self.address.shown
    }
}

/// Rounded up, so that a server does not end a lease before its client.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn strange(reply: &impl std::fmt::Debug) -> Error {
    Error::new(Kind::Internal, format!("a script answered what none of ours does: {reply:?}"))
        .with_outcome(Outcome::Unknown)
}
