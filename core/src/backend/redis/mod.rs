//! One Redis or Valkey server.
//!
//! The holder key is that of the published Redlock algorithm
//! (<https://redis.io/docs/latest/develop/use/patterns/distributed-locks/>),
//! so that other libraries which follow it exclude us and we them. A fence, a
//! line, and locks that are handed on by the release itself are ours; every
//! request is one script, in a file of its own under `lua/`.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::connection::Connection;
use super::{
    Answer, Backend, Claim, Ear, Heir, Held, Mode, Released, Renewal, Status, Transferred, Wake,
};
use crate::error::{Error, Kind, Outcome};
use crate::name::{LockName, Owner};
use crate::runtime::Runtime;

mod address;
mod cluster;
mod command;
mod dial;
mod epoch;
mod eviction;
mod failure;
#[cfg(test)]
mod fuzz;
mod heard;
mod inbox;
mod inspect;
mod keys;
mod link;
mod loan;
mod node;
mod past;
mod queue;
mod redlock;
mod renew;
mod request;
mod resp;
mod rest;
mod scripts;
mod servers;
mod share;
mod socket;
mod tend;
mod transfer;
mod unheard;

pub(crate) use address::Address;
use dial::{Dial, Session};
use failure::Failure;
use heard::{Identity, understand};
use inbox::{Ears, News};
use keys::Keys;

use past::{Past, Sent};
pub(crate) use redlock::Redlock;
use request::{Request, numbers};

/// How long a claim may be on its way over a connection that we have given up.
const LATE: Duration = Duration::from_secs(60 * 60);

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
/// * `remember=24h`, from `1h` to `30d`: see *Memory*.
/// * `ca=FILE` (`rediss` only): the authority that signed the server's
///   certificate, instead of those that the system trusts.
/// * `connect_timeout=5s`: until a connection can be used.
/// * `response_timeout=3s`: a server that answers nothing for so long while an
///   answer is due is given up, and connected to anew. Time in which this
///   process did not run does not count. A lease outlives one connection that
///   has died without a word if this is less than half of its ttl: renewals begin
///   at a third of it.
///
/// # What it promises
/// One holder at a time, and rising fences, as long as the server keeps its
/// data and its wall clock does not jump: Redis expires keys by the wall clock,
/// so a jump ahead ends leases early. Fences still rise then, and also when
/// data is lost while the clock is sane. A server that evicts keys
/// (`maxmemory-policy` other than `noeviction`) evicts locks too; it is named by
/// [`Client::caveats`](crate::Client::caveats), as it was at the last connect.
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
/// the same step. That grant lasts two seconds unless the client renews it, which
/// it does by itself, so a waiter that hangs costs the others two seconds.
///
/// # Sharing
/// While anybody [shares](crate::Lock::shared) a lock, its plain key says so instead of
/// who holds it, and keeps clients of the published algorithm out. No more than 10 000
/// share it at once, and of those [`status`](crate::Client::status) tells a thousand.
///
/// # Memory
/// The fence of a name, about 150 bytes with its key, stays on the server for a
/// day after the last use of the name, and an hour more at most. With one lock for
/// each message and 1 000 messages a second that comes to 86 million names and
/// 13 GB; with `remember=1h` to 3.7 million and 0.6 GB. What a shorter memory gives
/// up: the next fence of a name that was idle for longer is larger than the last
/// only as long as the server's clock has not been set back behind it. Give all
/// clients the same; of several, the shortest counts. [`list`](crate::Client::list)
/// goes through all names that are remembered, about 100 000 of them in a second,
/// in steps that keep no other client waiting.
///
/// # Access
/// One connection per client (two where the server does not speak RESP3). The
/// user needs the keys `PREFIX*`, the channels `leasehold:*`, and scripts. What
/// is stored beside the plain keys of the locks has their names, a NUL byte, which
/// no name can hold, and some letters. Let nobody else both read those keys and
/// publish on those channels: whoever can is able to make a waiter believe, until
/// its renewal some 20 ms later, that it was handed the lock.
pub struct Redis {
    address: Arc<Address>,
    connection: Connection<Session>,
    clock: Arc<dyn Runtime>,
    /// Where this client is told what it is granted.
    channel: Arc<str>,
    news: tokio::sync::Mutex<mpsc::UnboundedReceiver<News>>,
    ears: Arc<Ears>,
    past: Mutex<Past>,
    /// The server is a node of a cluster, which takes only keys of one slot in
    /// a command. Renewals are then sent one by one.
    in_cluster: AtomicBool,
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
        let (ears, news) = Ears::new();
        let dial = Dial {
            address: address.clone(),
            channel: channel.clone(),
            ears: ears.clone(),
            runtime: runtime.clone(),
            number: 0,
            servers: None,
        };
        let connection = Connection::start(dial, runtime.clone());
        connection.session().await?;
        let (news, past) = (tokio::sync::Mutex::new(news), Mutex::default());
        let (clock, in_cluster) = (runtime, AtomicBool::new(false));
        Ok(Self { address, connection, clock, channel, news, ears, past, in_cluster })
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys<'a>(&'a self, name: &'a LockName) -> Keys<'a> {
        Keys::of(&self.address.prefix, name.as_str())
    }

    /// The channel, and who that is.
    fn who<'a>(&'a self, claim: &'a Claim) -> [&'a str; 3] {
        [&self.channel, " ", &claim.label]
    }

    /// For how long the fence of a lease with this ttl is kept from its grant on: as long
    /// as a name is remembered, and until `renew.lua` extends that for the first time.
    fn remembers(&self, ttl: Duration) -> Duration {
        let remember = self.address.remember;
        remember + ttl.max(remember / 24)
    }

    /// A request about a lock, by a script that may make somebody the holder.
    fn request<'a>(
        &self,
        script: &'static scripts::Script,
        name: &LockName,
        session: &'a Session,
    ) -> Request<'a> {
        let epoch = session.epoch.as_ref();
        let epoch = epoch.map(|epoch| (&*self.address.epoch_key, &*epoch.identity));
        Request::about(script, &self.keys(name).all(), epoch).arg(millis(self.address.remember))
    }

    async fn withdraw_over(
        &self,
        session: &Session,
        name: &LockName,
        owner: Owner,
    ) -> Result<(), Error> {
        let late = self.past().may_come_late(owner, session.link.number, self.clock.now());
        let refuse = if late { LATE } else { Duration::ZERO };
        let request = self.request(&scripts::WITHDRAW, name, session);
        let request = request.arg(owner).arg(millis(refuse)).owed();
        request.send(&session.link).await?;
        self.past().in_doubt.remove(&owner);
        Ok(())
    }
}

#[async_trait]
impl Backend for Redis {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        self.address.check_ttl(claim.ttl)?;
        let session = self.connection.session().await?;
        let (script, mode) = match claim.mode {
            Mode::Exclusive => (&scripts::CLAIM, None),
            shared => (&scripts::CLAIM_SHARE, Some(shared.code().to_string())),
        };
        let request = self
            .request(script, &claim.name, &session)
            .arg(claim.owner)
            .arg(self.who(claim))
            .arg(millis(claim.ttl))
            .arg(claim.place.map_or(0, millis))
            .arg(millis(self.remembers(claim.ttl)))
            .arg(mode.as_deref());
        let Some(answer) = self.ask_for(claim.owner, request, &session.link).await? else {
            return Ok(Answer::Retired);
        };
        let (answer, identity) = heard::answer(claim, &numbers(answer)?)?;
        if identity == Identity::Other {
            session.link.shut("the server has another identity than when we connected");
        }
        Ok(answer)
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.renew_all(leases).await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        if held.mode.is_shared() {
            return self.release_share(held, then).await;
        }
        let session = self.connection.session().await?;
        let (withdrawn, next) = {
            let mut past = self.past();
            past.retired.insert(held.owner);
            let withdrawn = then.is_some_and(|then| past.retired.contains(then.owner));
            let next = then.filter(|_| !withdrawn);
            if let Some(next) = next {
                past.doubt(next.owner, self.clock.now()).is_next = true;
            }
            (withdrawn, next)
        };
        let mut sent = next.map(|next| Sent {
            past: &self.past,
            owner: next.owner,
            link: session.link.number,
            is_release: true,
            answered: false,
        });
        let request = self.request(&scripts::RELEASE, &held.name, &session).arg(held.owner);
        let request = match next {
            Some(next) => {
                let ttl = match next.mode {
                    Mode::Exclusive => millis(next.ttl).to_string(),
                    shared => format!("{}:{}", millis(next.ttl), shared.code()),
                };
                let request = request.arg(next.owner).arg(self.who(next)).arg(&ttl);
                request.arg(millis(self.remembers(next.ttl)))
            }
            None => request.arg("").arg("").arg(0).arg(0).owed(),
        };
        let late = self.past().may_come_late(held.owner, session.link.number, self.clock.now());
        let answer = request.send(&session.link).await;
        if let Some(sent) = &mut sent {
            sent.answered = Failure::is_answer(&answer);
        }
        drop(sent);
        let reply = numbers(answer?)?;
        let [was_held, others, fence] = reply[..] else { return Err(strange(&reply)) };
        if late {
            self.withdraw_over(&session, &held.name, held.owner).await?;
        }
        self.past().in_doubt.remove(&held.owner);
        let next = match next {
            _ if withdrawn => Some(Answer::Retired),
            Some(_) if fence > 0 => {
                Some(Answer::Granted { fence: fence as u64, slot: 0, term: None })
            }
            Some(next) => Some(self.claim(next).await?),
            None => None,
        };
        Ok(Released { held: was_held == 1, next, others: others as usize })
    }

    async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        self.release_to_rest(held, rest).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        self.past().retired.insert(claim.owner);
        let session = self.connection.session().await?;
        self.withdraw_over(&session, &claim.name, claim.owner).await
    }

    async fn transfer(&self, held: &Held, to: &Claim, _: Heir) -> Result<Transferred, Error> {
        self.hand_to(held, to).await
    }

    fn tickets(&self, lasts: Duration) -> Result<&'static str, Error> {
        self.address.check_ttl(lasts).map(|()| "redis")
    }

    fn supports(&self, _: Mode) -> Result<(), Error> {
        Ok(())
    }

    fn supports_rest(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        let session = self.connection.session().await?;
        let request = self.request(&scripts::EVICT, name, &session);
        match request.send(&session.link).await? {
            ::redis::Value::Int(evicted) => Ok(evicted == 1),
            other => Err(strange(&other)),
        }
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        let session = self.connection.session().await?;
        let request = Request::over(&scripts::RELABEL, &[self.keys(&held.name).lock()]);
        let who = [&*self.channel, " ", &**label];
        match request.arg(held.owner).arg(who).send(&session.link).await? {
            ::redis::Value::Int(shown) => Ok(shown == 1),
            other => Err(strange(&other)),
        }
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let session = self.connection.session().await?;
        let found = inspect::inspect(&session.link, &self.address.prefix, name).await?;
        Ok(found.into_iter().map(|found| found.status).collect())
    }

    fn response_timeout(&self) -> Duration {
        self.address.timeouts.longer_response()
    }

    fn caveats(&self) -> Vec<String> {
        let session = self.connection.session_now().ok();
        session.and_then(|session| session.caveat).iter().map(|text| text.to_string()).collect()
    }

    async fn wake(&self) -> Wake {
        let mut news = self.news.lock().await;
        loop {
            match news.recv().await {
                Some(news) => {
                    if let Some(wake) = understand(news, &self.address.prefix) {
                        return wake;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        let (heard, address) = (ear.clone(), self.address.clone());
        self.ears.awaited_if(move || ear.is_awaited());
        self.ears.tell_by(move |news| {
            let wake = understand(news, &address.prefix);
            wake.into_iter().for_each(|wake| heard.hear(wake));
        });
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
