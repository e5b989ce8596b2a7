//! What a server says: its answers to claims, and the messages on our channel.

use std::time::Duration;

use super::inbox::News;
use super::strange;
use crate::backend::{Answer, Claim, GRANT_WINDOW, Grant, Mode, Wake};
use crate::error::Error;
use crate::name::{LockName, Owner};

/// Whether the server is the one that we connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Same,
    Other,
}

/// What the script says that was asked for a lock; see `claim_free.lua`.
pub(super) fn answer(claim: &Claim, reply: &[i64]) -> Result<(Answer, Identity), Error> {
    let granted = |fence: i64, slot: i64| Answer::Granted {
        fence: fence as u64,
        slot: slot as u32,
        term: None,
    };
    let answer = match reply[..] {
        [0, free_in, ahead, fence] => Answer::Busy {
            free_in: u64::try_from(free_in).ok().map(Duration::from_millis),
            ahead: ahead as usize,
            fence: fence as u64,
        },
        [1, fence] if fence > 0 && !claim.mode.is_shared() => granted(fence, 0),
        [1, fence, slot] if fence > 0 && claim.mode.has_slot(slot) => granted(fence, slot),
        [2] => Answer::Retired,
        [3, ends_in] => {
            let identity = if ends_in < 0 { Identity::Other } else { Identity::Same };
            let ends_in = Duration::from_millis(ends_in.max(0) as u64);
            return Ok((Answer::Quarantined { ends_in }, identity));
        }
        [4, used] => Answer::OtherKind { mode: Mode::from_code(used) },
        _ => return Err(strange(&reply)),
    };
    Ok((answer, Identity::Same))
}

/// What news mean. A message on our channel says `granted OWNER FENCE MS KEY`, or
/// `MS:SLOT` where it is shared, or `gone KEY`.
pub(super) fn understand(news: News, prefix: &str) -> Option<Wake> {
    let News::Message(message) = news else { return Some(Wake::All) };
    let message = std::str::from_utf8(&message).ok()?;
    let name = |key: &str| LockName::new(key.strip_prefix(prefix)?).ok();
    let (what, rest) = message.split_once(' ')?;
    if what == "gone" {
        return Some(Wake::Name(name(rest)?));
    }
    let mut words = rest.splitn(4, ' ');
    let owner = u128::from_str_radix(words.next()?, 16).ok()?;
    let (fence, lasts) = (words.next()?.parse().ok()?, words.next()?);
    let (millis, slot) = lasts.split_once(':').unwrap_or((lasts, "0"));
    Some(Wake::Granted(Grant {
        name: name(words.next()?)?,
        owner: Owner::from_bits(owner),
        fence,
        slot: slot.parse().ok()?,
        // Whoever may publish here can say anything: it lasts no longer than any
        // that a script grants, until it is renewed.
        lasts: Duration::from_millis(millis.parse().ok()?).min(GRANT_WINDOW),
    }))
}
