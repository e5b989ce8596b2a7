//! A Redis server as one node of a quorum.

use std::sync::Arc;
use std::time::Duration;

use ::redis::Value;
use async_trait::async_trait;
use tokio::sync::mpsc;

use super::address::Address;
use super::dial::{Dial, Session};
use super::epoch::{self, Epoch, Unrecorded};
use super::inbox;
use super::keys::{Key, Keys};
use super::renew::BATCH;
use super::request::{Request, numbers};
use super::servers::Servers;
use super::{inspect, millis, scripts, strange};
use crate::backend::connection::Connection;
use crate::backend::quorum::{
    Ask, Ends, Evicted, Kept, LAG, News, Node, Renewed, Return, Returned, Role, Said, Seen,
    ServerId, Signed, Vote, Vow,
};
use crate::backend::{Claim, Ear, Mode};
use crate::error::Error;
use crate::name::{LockName, Owner};
use crate::runtime::Runtime;
use crate::time::Instant;
use crate::together::together;

const REPLACED: &str = "the server is not the one any more to which we connected";

impl Session {
    fn signed<T>(&self, said: T) -> Signed<T> {
        Signed { by: self.epoch.as_ref().map_or(ServerId(0), |epoch| epoch.server), said }
    }
}

/// One client's connection to it.
pub(super) struct RedisNode {
    pub(super) address: Arc<Address>,
    connection: Connection<Session>,
    runtime: Arc<dyn Runtime>,
    channel: Arc<str>,
    news: tokio::sync::Mutex<mpsc::UnboundedReceiver<inbox::News>>,
    ears: Arc<inbox::Ears>,
}

impl RedisNode {
    /// Begin to connect. `channel`: where the client is told what concerns it;
    /// `servers`: which ones its other nodes are.
    pub(super) fn start(
        address: Address,
        channel: Arc<str>,
        servers: Arc<Servers>,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        let address = Arc::new(address);
        let (ears, news) = inbox::Ears::new();
        let dial = Dial {
            address: address.clone(),
            channel: channel.clone(),
            ears: ears.clone(),
            runtime: runtime.clone(),
            number: 0,
            servers: Some(servers),
        };
        let connection = Connection::start(dial, runtime.clone());
        let news = tokio::sync::Mutex::new(news);
        Self { address, connection, runtime, channel, news, ears }
    }

    /// Which server it is, when it is known whether it can be reached.
    pub(super) async fn epoch(&self) -> Result<Signed<Arc<Epoch>>, Error> {
        let session = self.connection.session().await?;
        let epoch = session.epoch.clone().ok_or_else(|| strange(&"no epoch"))?;
        Ok(session.signed(epoch))
    }

    /// Make a record where there was none when we looked: the server is new, or
    /// begins a quarantine. If it is another one by now, the next vote finds out.
    pub(super) async fn enter(&self, seen: &Epoch, unrecorded: Unrecorded) -> Result<(), Error> {
        let Session { link, epoch, .. } = self.connection.session_now()?;
        if epoch.is_some_and(|epoch| epoch.identity == seen.identity) {
            epoch::enter(&link, &self.address, unrecorded, 0, None, &*self.runtime).await?;
        }
        Ok(())
    }

    fn request<'a>(
        &self,
        script: &'static scripts::Script,
        keys: &[Key<'_>],
        session: &'a Session,
    ) -> Request<'a> {
        let identity = session.epoch.as_ref().map_or("", |epoch| &epoch.identity);
        let epoch = Some((&*self.address.epoch_key, identity));
        Request::about(script, keys, epoch).arg(millis(self.address.remember))
    }

    fn keys<'a>(&'a self, name: &'a LockName) -> Keys<'a> {
        Keys::of(&self.address.prefix, name.as_str())
    }

    fn who<'a>(&'a self, claim: &'a Claim) -> [&'a str; 3] {
        [&self.channel, " ", &claim.label]
    }

    /// What all votes are asked with, after the owner.
    fn with_vote<'a>(&self, request: Request<'a>, ask: &Ask) -> Request<'a> {
        let request = request.arg(self.who(&ask.claim)).arg(millis(ask.claim.ttl)).arg(ask.ballot);
        let request = request.arg(ask.claim.place.map_or(0, millis));
        match ask.role {
            Role::Arbiter => request.arg("arbiter"),
            Role::Newcomer => request.arg("newcomer"),
            Role::First { waiting } => request.arg(waiting as u64),
        }
    }

    /// See `vote.lua`.
    fn said(&self, reply: &[i64], ballot: u64, session: &Session) -> Result<Said, Error> {
        let span = |millis: i64| u64::try_from(millis).ok().map(Duration::from_millis);
        let (vote, micros) = match *reply {
            [0, micros, holder, free_in, ahead] => {
                let (holder, ahead) = (holder as u64, ahead as usize);
                (Vote::Busy { holder, free_in: span(free_in), ahead }, micros)
            }
            [1, micros, waiting] => {
                (Vote::Granted { waiting: waiting as usize, fence: ballot }, micros)
            }
            [1, micros, waiting, turn] => {
                (Vote::Granted { waiting: waiting as usize, fence: turn as u64 }, micros)
            }
            [6, micros, turn] => (Vote::Other { turn: turn as u64 }, micros),
            [2, micros, ahead] => (Vote::Reserved { ahead: ahead as usize }, micros),
            [3, micros, left] => match span(left) {
                Some(ends_in) => (Vote::Quarantined { ends_in }, micros),
                None => {
                    session.link.shut(REPLACED);
                    return Err(Error::unavailable(REPLACED));
                }
            },
            [4, micros, above] => (Vote::Stale { above: above as u64 }, micros),
            [5, micros] => (Vote::Ahead, micros),
            _ => return Err(strange(&reply)),
        };
        Ok(Said { vote, micros: micros as u64 })
    }

    /// What a message on our channel says: `turn OWNER WAITING KEY`, or `gone KEY`.
    fn understand(&self, message: &[u8]) -> Option<News> {
        let message = std::str::from_utf8(message).ok()?;
        let name = |key: &str| LockName::new(key.strip_prefix(&self.address.prefix)?).ok();
        let (what, rest) = message.split_once(' ')?;
        match what {
            "gone" => Some(News::Gone(name(rest)?)),
            "turn" => {
                let mut words = rest.splitn(3, ' ');
                let owner = u128::from_str_radix(words.next()?, 16).ok()?;
                let (owner, waiting) = (Owner::from_bits(owner), words.next()?.parse().ok()?);
                Some(News::Turn { name: name(words.next()?)?, owner, waiting })
            }
            _ => None,
        }
    }

    async fn renew_together(
        &self,
        leases: &[&Vow],
        session: &Session,
    ) -> Result<(Vec<Kept>, Option<u64>), Error> {
        let keys = leases.iter().map(|vow| self.keys(&vow.claim.name));
        let is_shared = leases.iter().any(|vow| vow.claim.mode.is_shared());
        let request = match is_shared {
            false => {
                let keys: Vec<_> = keys.flat_map(|keys| [keys.lock(), keys.side()]).collect();
                self.request(&scripts::KEEP, &keys, session)
            }
            true => {
                let keys = keys.flat_map(|of| [of.lock(), of.side(), of.turn(), of.ends()]);
                let keys: Vec<_> = keys.collect();
                self.request(&scripts::KEEP_SHARE, &keys, session)
            }
        };
        let request = leases.iter().fold(request, |request, Vow { claim, ballot, fence }| {
            let request = request.arg(claim.owner).arg(self.who(claim)).arg(millis(claim.ttl));
            let request = request.arg(*ballot);
            if is_shared { request.arg(*fence) } else { request }
        });
        let answer = |kept: &u8| match kept {
            b'1' => Kept::Yes,
            b'2' => Kept::TakenIn,
            _ => Kept::No,
        };
        let (kept, micros) = match request.send(&session.link).await? {
            Value::BulkString(kept) if !is_shared => (kept, None),
            Value::Array(said) if is_shared => match &said[..] {
                [Value::BulkString(kept), Value::Int(micros)] => {
                    (kept.clone(), u64::try_from(*micros).ok())
                }
                other => return Err(strange(&other)),
            },
            other => return Err(strange(&other)),
        };
        if kept.contains(&b'3') {
            session.link.shut(REPLACED);
        }
        Ok((kept.iter().map(answer).collect(), micros))
    }
}

#[async_trait]
impl Node for RedisNode {
    async fn vote(&self, ask: &Ask) -> Result<Signed<Said>, Error> {
        let session = self.connection.session_now()?;
        let keys = self.keys(&ask.claim.name);
        let request = match ask.claim.mode {
            Mode::Exclusive => {
                let request = self.request(&scripts::VOTE, &keys.of_node(), &session);
                self.with_vote(request.arg(ask.claim.owner), ask)
            }
            _ => {
                let keys = keys.of_sharing_node();
                let request = self.request(&scripts::VOTE_SHARE, &keys, &session);
                let request = self.with_vote(request.arg(ask.claim.owner), ask);
                match ask.wanted {
                    Some(turn) => request.arg(turn),
                    None => request.arg(""),
                }
            }
        };
        let reply = numbers(request.send(&session.link).await?)?;
        Ok(session.signed(self.said(&reply, ask.ballot, &session)?))
    }

    async fn give_back(&self, back: &Return) -> Result<Signed<Returned>, Error> {
        let session = self.connection.session_now()?;
        let keys = self.keys(&back.name);
        let request = match back.mode {
            Mode::Exclusive => self.request(&scripts::GIVE_BACK, &keys.of_node(), &session),
            _ => self.request(&scripts::GIVE_BACK_SHARE, &keys.of_sharing_node(), &session),
        };
        let request = request.arg(back.owner).arg(back.ballot);
        let request = match back.what {
            Ends::Lease => request.arg("lease"),
            Ends::Attempt => request.arg("attempt"),
            Ends::Vote { place: None } => request.arg("vote"),
            Ends::Vote { place: Some(keep) } => request.arg(millis(keep)),
        };
        let request = match &back.next {
            Some(next) => self.with_vote(request.arg(next.claim.owner), next),
            // Nobody may wait for it.
            None if back.mode != Mode::Exclusive => request.owed(),
            None => request.arg("").owed(),
        };
        let reply = numbers(request.send(&session.link).await?)?;
        let [held, waiting, vote @ ..] = &reply[..] else { return Err(strange(&reply)) };
        let next = match (vote, &back.next) {
            ([], _) | (_, None) => None,
            (vote, Some(next)) => Some(self.said(vote, next.ballot, &session)?),
        };
        Ok(session.signed(Returned { held: *held == 1, waiting: *waiting as usize, next }))
    }

    async fn renew(&self, leases: &[Vow]) -> Result<Signed<Renewed>, Error> {
        let session = self.connection.session_now()?;
        // Another script is for those that are shared.
        let (shared, alone): (Vec<&Vow>, Vec<&Vow>) =
            leases.iter().partition(|vow| vow.claim.mode.is_shared());
        let all = alone.chunks(BATCH).chain(shared.chunks(BATCH));
        let batches = all.map(|batch| self.renew_together(batch, &session));
        let mut renewed = Renewed { kept: Vec::with_capacity(leases.len()), micros: None };
        for answers in together(batches).await {
            let (kept, micros) = answers?;
            renewed.kept.extend(kept);
            renewed.micros = micros.or(renewed.micros);
        }
        if !shared.is_empty() && !alone.is_empty() {
            // In their order again.
            let (mut one, mut other) = (0, alone.len());
            let in_order = leases.iter().map(|vow| {
                let at = if vow.claim.mode.is_shared() { &mut other } else { &mut one };
                *at += 1;
                renewed.kept.get(*at - 1).copied().unwrap_or(Kept::No)
            });
            renewed.kept = in_order.collect();
        }
        Ok(session.signed(renewed))
    }

    async fn evict(&self, name: &LockName, up_to: u64) -> Result<Signed<Evicted>, Error> {
        let session = self.connection.session_now()?;
        let keys = self.keys(name).of_sharing_node();
        let request = self.request(&scripts::OUST, &keys, &session).arg(up_to);
        let reply = numbers(request.send(&session.link).await?)?;
        let [held, over, holder] = reply[..] else { return Err(strange(&reply)) };
        let (over, holder) = (over as u64, holder as u64);
        Ok(session.signed(Evicted { held: held == 1, over, holder }))
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Signed<Vec<Seen>>, Error> {
        let session = self.connection.session_now()?;
        let found = inspect::inspect(&session.link, &self.address.prefix, name).await?;
        let seen = found.into_iter().map(|inspect::Found { status, ballot, sharers }| {
            let (name, waiters) = (status.name, status.waiters);
            match sharers.is_empty() {
                true => {
                    let holder = status.holders.into_iter().next().map(|holder| (ballot, holder));
                    Seen { name, holder, sharers: Vec::new(), waiters }
                }
                false => {
                    let sharers = sharers.into_iter().zip(status.holders).collect();
                    Seen { name, holder: None, sharers, waiters }
                }
            }
        });
        Ok(session.signed(seen.collect()))
    }

    async fn news(&self) -> News {
        let mut news = self.news.lock().await;
        loop {
            match news.recv().await {
                Some(inbox::News::Reconnected) => return News::Reconnected,
                Some(inbox::News::Message(message)) => {
                    if let Some(news) = self.understand(&message) {
                        return news;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        self.ears.awaited_if(move || ear.is_awaited());
    }

    fn is_well(&self) -> bool {
        self.connection.session_now().is_ok_and(|session| session.link.is_prompt(LAG))
    }

    fn is_connected(&self) -> bool {
        self.connection.session_now().is_ok()
    }

    fn response_timeout(&self) -> Duration {
        self.address.timeouts.longer_response()
    }

    fn clock_at_connect(&self) -> Option<(u64, Instant)> {
        let epoch = self.connection.session_now().ok()?.epoch?;
        Some((epoch.micros, epoch.at))
    }

    fn caveats(&self) -> Vec<String> {
        let session = self.connection.session_now().ok();
        session.and_then(|session| session.caveat).iter().map(|text| text.to_string()).collect()
    }

    fn describe(&self) -> &str {
        &self.address.shown
    }
}
