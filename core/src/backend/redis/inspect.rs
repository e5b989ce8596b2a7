//! Who holds and who waits, for people to read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::redis::Value;

use super::command::Command;
use super::keys::{Key, Keys};
use super::link::Link;
use super::request::Request;
use super::{scripts, strange};
use crate::backend::{Holder, Mode, Status};
use crate::error::Error;
use crate::name::{LockName, Owner};

/// So many names are asked about in one script.
const TOGETHER: usize = 200;

/// A lock that is held or waited for.
pub(super) struct Found {
    pub(super) status: Status,
    /// Of its holder on a node of a quorum, zero for none.
    pub(super) ballot: u64,
    /// The owners of those who share it, in the order of the holders.
    pub(super) sharers: Vec<Owner>,
}

/// Each lock that is held or waited for.
pub(super) async fn inspect(
    link: &Arc<Link>,
    prefix: &str,
    name: Option<&LockName>,
) -> Result<Vec<Found>, Error> {
    if let Some(name) = name {
        return about(link, prefix, std::slice::from_ref(name)).await;
    }
    let (mut found, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let names;
        (names, cursor) = some_names(link, prefix, &cursor).await?;
        for names in names.chunks(TOGETHER) {
            found.extend(about(link, prefix, names).await?);
        }
        if cursor == "0" {
            break;
        }
    }
    // A server may tell a name twice while its keys move.
    found.sort_by(|a: &Found, b| a.status.name.cmp(&b.status.name));
    found.dedup_by(|a, b| a.status.name == b.status.name);
    Ok(found)
}

/// Some of the names that are remembered, and where to go on.
async fn some_names(
    link: &Arc<Link>,
    prefix: &str,
    cursor: &str,
) -> Result<(Vec<LockName>, String), Error> {
    let every = Keys::every_record(prefix);
    let scan = Command::of(&["SCAN", cursor, "MATCH", &every, "COUNT", "1000"]);
    let answer = link.call(scan).await.map_err(Error::from)?;
    let Value::Array(answer) = &answer else { return Err(strange(&answer)) };
    let [next, Value::Array(keys)] = &answer[..] else { return Err(strange(answer)) };
    let name = |key: String| LockName::new(Keys::lock_of_record(&key)?.strip_prefix(prefix)?).ok();
    let mut names: Vec<LockName> = keys.iter().filter_map(text).filter_map(name).collect();
    names.sort();
    names.dedup();
    Ok((names, text(next).unwrap_or_default()))
}

async fn about(link: &Arc<Link>, prefix: &str, names: &[LockName]) -> Result<Vec<Found>, Error> {
    let keys: Vec<Keys<'_>> = names.iter().map(|name| Keys::of(prefix, name.as_str())).collect();
    let all: Vec<Key<'_>> = keys.iter().flat_map(Keys::of_any).collect();
    let answer = match Request::over(&scripts::INSPECT, &all).send(link).await {
        // A node of a cluster takes keys of one slot only.
        Err(failure) if failure.code == "CROSSSLOT" => {
            let mut found = Vec::new();
            for name in names {
                found.extend(Box::pin(about(link, prefix, std::slice::from_ref(name))).await?);
            }
            return Ok(found);
        }
        answer => answer?,
    };
    let Value::Array(parts) = &answer else { return Err(strange(&answer)) };
    let [time, locks @ ..] = &parts[..] else { return Err(strange(parts)) };
    let now = micros(time);
    let mut found = Vec::new();
    for lock in locks {
        let mut lock = Seen::read(lock).ok_or_else(|| strange(lock))?;
        let asked = names.get(lock.number).zip(keys.get(lock.number));
        let (name, keys) = asked.ok_or_else(|| strange(parts))?;
        let mut waiters = lock.waiters(now);
        while let Some(last) = lock.more.take() {
            let (places, more) = queued(link, keys, &last).await?;
            waiters.extend(places);
            lock.more = more;
        }
        let mut more_sharers = lock.more_sharers.take();
        let mut further = Vec::new();
        while let Some(place) = more_sharers {
            let page;
            (page, more_sharers) = sharers_from(link, keys, &place).await?;
            further.extend(page);
        }
        let seen = lock.status(name.clone(), waiters, &further, now);
        if !seen.status.holders.is_empty() || !seen.status.waiters.is_empty() {
            found.push(seen);
        }
    }
    Ok(found)
}

/// Those who stand behind somebody, and the last one's score if there are more.
async fn queued(
    link: &Arc<Link>,
    keys: &Keys<'_>,
    last: &str,
) -> Result<(Vec<Arc<str>>, Option<String>), Error> {
    let answer =
        Request::about(&scripts::QUEUED, &keys.of_node(), None).arg(last).send(link).await?;
    let Value::Array(parts) = &answer else { return Err(strange(&answer)) };
    let [time, Value::Array(places), more] = &parts[..] else { return Err(strange(parts)) };
    Ok((waiters(places, micros(time)), text(more)))
}

/// Those who share a lock from a place on, and where to go on if there may be more.
async fn sharers_from(
    link: &Arc<Link>,
    keys: &Keys<'_>,
    place: &str,
) -> Result<(Vec<Value>, Option<String>), Error> {
    let answer =
        Request::over(&scripts::MORE_SHARERS, &keys.of_any()).arg(place).send(link).await?;
    let Value::Array(parts) = answer else { return Err(strange(&answer)) };
    match <[Value; 3]>::try_from(parts) {
        Ok([_, Value::Array(told), more]) => Ok((told, text(&more))),
        Ok(parts) => Err(strange(&parts)),
        Err(parts) => Err(strange(&parts)),
    }
}

/// A lock, as `inspect.lua` tells of it.
struct Seen<'a> {
    number: usize,
    holder: Option<String>,
    free_in: i64,
    fence: u64,
    ballot: Option<u64>,
    places: &'a [Value],
    /// More wait, behind this score.
    more: Option<String>,
    /// Who shares it: each one's end in ms, what is held, and owner.
    shared: &'a [Value],
    /// Where to go on if there may be more of those.
    more_sharers: Option<String>,
}

impl<'a> Seen<'a> {
    fn read(value: &'a Value) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let [Value::Int(number), holder, Value::Int(free_in), fence, ballot, rest @ ..] =
            &parts[..]
        else {
            return None;
        };
        let [places, more, shared, more_sharers] = rest else { return None };
        let Value::Array(shared) = shared else { return None };
        let Value::Array(places) = places else { return None };
        Some(Self {
            number: usize::try_from(*number).ok()?,
            holder: text(holder),
            free_in: *free_in,
            fence: text(fence).map_or(0, |fence| number_in(&fence)),
            ballot: text(ballot).map(|ballot| number_in(&ballot)),
            places,
            more: text(more),
            shared,
            more_sharers: text(more_sharers),
        })
    }

    fn waiters(&self, now: u64) -> Vec<Arc<str>> {
        waiters(self.places, now)
    }

    fn free_in(&self) -> Duration {
        u64::try_from(self.free_in).map_or(Duration::MAX, Duration::from_millis)
    }

    /// `further`: those who share it besides.
    fn status(self, name: LockName, waiters: Vec<Arc<str>>, further: &[Value], now: u64) -> Found {
        if let Some(mode) = self.holder.as_deref().and_then(shared_mode) {
            let shared = self.shared.iter().chain(further);
            let shared = shared.filter_map(|one| sharer(one, mode, now));
            // Who has renewed meanwhile is told twice.
            let once: BTreeMap<Owner, Holder> = shared.collect();
            let mut shared: Vec<(Owner, Holder)> = once.into_iter().collect();
            shared.sort_by_key(|(_, holder)| holder.free_in);
            let (sharers, holders) = shared.into_iter().unzip();
            let status = Status { name, fence: self.fence, holders, waiters };
            return Found { status, ballot: 0, sharers };
        }
        if let Some((since, label)) = self.holder.as_deref().and_then(resting) {
            let holder = Holder {
                label: label.into(),
                mode: Mode::Exclusive,
                slot: 0,
                fence: self.fence,
                held_for: Duration::from_micros(now.saturating_sub(since)),
                free_in: self.free_in(),
                resting: true,
            };
            let status = Status { name, fence: self.fence, holders: vec![holder], waiters };
            return Found { status, ballot: 0, sharers: Vec::new() };
        }
        let label = self.holder.as_deref().map(label);
        let is_ours = matches!(label, Some(Some(_)));
        let ballot = self.ballot.filter(|_| is_ours);
        let holder = label.map(|label| Holder {
            label: label.unwrap_or("a client of another library").into(),
            mode: Mode::Exclusive,
            slot: 0,
            fence: if is_ours { ballot.unwrap_or(self.fence) } else { 0 },
            // A fence is at least, and a ballot about, the clock at its grant.
            held_for: Duration::from_micros(if is_ours {
                now.saturating_sub(ballot.unwrap_or(self.fence))
            } else {
                0
            }),
            free_in: self.free_in(),
            resting: false,
        });
        let holders = holder.into_iter().collect();
        let status = Status { name, fence: self.fence, holders, waiters };
        Found { status, ballot: ballot.unwrap_or_default(), sharers: Vec::new() }
    }
}

/// Since when a lock rests whose key says `rest SINCE label`, and who held it.
fn resting(holder: &str) -> Option<(u64, &str)> {
    let (since, label) = holder.strip_prefix("rest ")?.split_once(' ')?;
    Some((since.parse().ok()?, label))
}

/// How a lock is shared whose key says `shared:MODE FENCE`.
fn shared_mode(holder: &str) -> Option<Mode> {
    let (mode, _) = holder.strip_prefix("shared:")?.split_once(' ')?;
    mode.parse().ok().map(Mode::from_code)
}

/// One of those who share it, if it does so `now`: its end, `held SLOT FENCE SINCE
/// channel label`, and its owner.
fn sharer(one: &Value, mode: Mode, now: u64) -> Option<(Owner, Holder)> {
    let Value::Array(one) = one else { return None };
    let [end, held, owner] = &one[..] else { return None };
    let owner = Owner::from_bits(u128::from_str_radix(&text(owner)?, 16).ok()?);
    let (ends, held) = (number_in(&text(end)?) * 1000, text(held)?);
    let mut words = held.splitn(6, ' ').skip(1);
    let (slot, fence, since) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let held_for = Duration::from_micros(now.saturating_sub(number_in(since)));
    let label = words.nth(1)?.into();
    let free_in = Duration::from_micros(ends.checked_sub(now).filter(|left| *left > 0)?);
    let fence = number_in(fence);
    Some((owner, Holder { label, mode, slot, fence, held_for, free_in, resting: false }))
}

/// The label in a holder's value `owner channel label`, if it is one of ours.
fn label(holder: &str) -> Option<&str> {
    let mut words = holder.splitn(3, ' ');
    words.next().filter(|owner| u128::from_str_radix(owner, 16).is_ok())?;
    words.next().filter(|channel| channel.starts_with("leasehold:"))?;
    words.next()
}

/// The labels in places `until ttl channel label` that have not lapsed.
fn waiters(places: &[Value], now: u64) -> Vec<Arc<str>> {
    let waiter = |place: String| {
        let mut words = place.splitn(4, ' ');
        let until = number_in(words.next()?) * 1000;
        words.nth(2).filter(|_| until > now).map(Into::into)
    };
    places.iter().filter_map(text).filter_map(waiter).collect()
}

/// What `TIME` says, in µs.
fn micros(time: &Value) -> u64 {
    let time = text(time).unwrap_or_default();
    let (seconds, micros) = time.split_once(' ').unwrap_or_default();
    number_in(seconds) * 1_000_000 + number_in(micros)
}

fn number_in(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}
