//! Who holds and who waits, for people to read.

use std::time::Duration;

use ::redis::{Cmd, Value};

use super::keys::{EVERY_SIDE, Keys};
use super::link::Link;
use super::request::Request;
use super::{scripts, strange};
use crate::backend::{Holder, Status};
use crate::error::Error;
use crate::name::LockName;

pub(super) async fn inspect(
    link: &Link,
    prefix: &str,
    name: Option<&LockName>,
) -> Result<Vec<(Status, u64)>, Error> {
    let names = match name {
        Some(name) => vec![name.clone()],
        None => names(link, prefix).await?,
    };
    let mut found = Vec::new();
    for name in names {
        let keys = Keys::of(prefix, name.as_str());
        let answer = Request::about(&scripts::INSPECT, &keys, None).send(link).await?;
        let seen = status(name, &answer)?;
        if seen.0.holder.is_some() || !seen.0.waiters.is_empty() {
            found.push(seen);
        }
    }
    Ok(found)
}

/// Every lock that was used in the last day, in order.
async fn names(link: &Link, prefix: &str) -> Result<Vec<LockName>, Error> {
    let (mut names, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let mut scan = Cmd::new();
        scan.arg("SCAN").arg(&cursor).arg("MATCH").arg(EVERY_SIDE).arg("COUNT").arg(1000);
        let answer = link.call(&scan).await.map_err(Error::from)?;
        let Value::Array(answer) = &answer else { return Err(strange(&answer)) };
        let [next, Value::Array(keys)] = &answer[..] else { return Err(strange(answer)) };
        let locks = keys.iter().filter_map(text);
        names.extend(locks.filter_map(|side| {
            LockName::new(Keys::lock_of_side(&side)?.strip_prefix(prefix)?).ok()
        }));
        cursor = text(next).unwrap_or_default();
        if cursor == "0" {
            break;
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The lock, and its holder's ballot, zero for none. See `inspect.lua` for the
/// answer.
fn status(name: LockName, answer: &Value) -> Result<(Status, u64), Error> {
    let Value::Array(parts) = answer else { return Err(strange(answer)) };
    let [owner, Value::Int(free_in), fence, granted, ballot, time, places @ ..] = &parts[..] else {
        return Err(strange(parts));
    };
    let time = text(time).unwrap_or_default();
    let (seconds, micros) = time.split_once(' ').unwrap_or_default();
    let number = |text: &str| text.parse::<u64>().unwrap_or_default();
    let now = number(seconds) * 1_000_000 + number(micros);
    let fence = text(fence).map_or(0, |fence| number(&fence));
    let granted = text(granted).unwrap_or_default();
    let is_ours = |owner: &str| granted.split(' ').next() == Some(owner);
    let ballot = text(ballot).filter(|_| text(owner).is_some_and(|owner| is_ours(&owner)));
    let ballot = ballot.map(|ballot| number(&ballot));
    let holder = text(owner).map(|owner| {
        let label = granted.splitn(3, ' ').nth(2).filter(|_| is_ours(&owner));
        // A fence is at least, and a ballot about, the clock at its grant.
        let since = if is_ours(&owner) { ballot.unwrap_or(fence) } else { now };
        Holder {
            label: label.unwrap_or("a client of another library").into(),
            held_for: Duration::from_micros(now.saturating_sub(since)),
            free_in: u64::try_from(*free_in).map_or(Duration::MAX, Duration::from_millis),
        }
    });
    let waiter = |place: String| {
        let mut words = place.splitn(4, ' ');
        let until = number(words.next()?) * 1000;
        words.nth(2).filter(|_| until > now).map(Into::into)
    };
    let waiters = places.iter().filter_map(text).filter_map(waiter).collect();
    Ok((Status { name, fence, holder, waiters }, ballot.unwrap_or_default()))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}
