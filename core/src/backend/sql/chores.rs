//! What is done now and then, besides what is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::Rows;
use super::failure::Trouble;
use super::locks::session;
use crate::error::Error;

/// How often the table is looked through for what is old,
const REQUESTS_PER_LOOK: u32 = 1000;
/// and how many rows at once.
const ROWS: usize = 1000;

/// How often the part of the table in which a look begins is made smaller.
const CHOICES: u32 = 3;

pub(super) struct Chores<R> {
    rows: Arc<R>,
    requests: AtomicU32,
    round: Arc<Round>,
}

#[derive(Default)]
struct Round {
    is_under_way: AtomicBool,
    /// Up to which name old rows were looked for, if it is known where to go on.
    swept_to: std::sync::Mutex<Option<String>>,
}

impl<R: Rows> Chores<R> {
    pub(super) fn of(rows: Arc<R>) -> Self {
        Self { rows, requests: AtomicU32::new(0), round: Arc::default() }
    }

    pub(super) fn count_request(&self) {
        if self.requests.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_PER_LOOK {
            self.requests.store(0, Ordering::Relaxed);
            self.forget_old();
        }
    }

    /// Drop the rows that nobody has used for a day, among the next few by name: never much
    /// work at once, however large the table is.
    pub(super) fn forget_old(&self) {
        if self.round.is_under_way.swap(true, Ordering::Relaxed) {
            return;
        }
        let (rows, round) = (Arc::downgrade(&self.rows), self.round.clone());
        self.rows.runtime().spawn(Box::pin(async move {
            if let Some(rows) = rows.upgrade() {
                // Failing costs space, not safety; it is done again.
                drop(forget(&*rows, &round).await);
            }
            round.is_under_way.store(false, Ordering::Relaxed);
        }));
    }
}

async fn forget<R: Rows>(rows: &R, round: &Round) -> Result<(), Error> {
    let swept_to = || round.swept_to.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let session = session(rows).await?;
    let after = swept_to().take();
    let after = match after {
        Some(after) => after,
        None => somewhere(rows, &session).await?,
    };
    let mut old = rows.old(&session, &after, ROWS).await?;
    // Behind the last comes the first.
    *swept_to() = Some(old.last.unwrap_or_default());
    old.rows.retain_mut(|seen| {
        seen.record.expire(seen.now.instant);
        seen.record.is_forgettable(seen.now.wall_micros)
    });
    if !old.rows.is_empty() {
        rows.forget(&session, &old.rows).await?;
    }
    Ok(())
}

/// Where the first look of a client begins. Of many clients that live for one look each, some
/// begin everywhere in the table: before the first name, or at a name in one of its parts.
async fn somewhere<R: Rows>(rows: &R, session: &R::Session) -> Result<String, Trouble> {
    let random = || rows.runtime().random();
    let [_, first] = rows.around(session, "").await?;
    let [last, _] = rows.around(session, &char::MAX.to_string()).await?;
    let (Some(mut first), Some(mut last)) = (first, last) else { return Ok(String::new()) };
    let mut begin = String::new();
    for _ in 0..random() % u128::from(CHOICES + 1) {
        begin = between(&first, &last, random());
        let [before, behind] = rows.around(session, &begin).await?;
        match (before, behind) {
            (Some(before), _) if random() % 2 == 0 => last = before,
            (_, Some(behind)) => first = behind,
            (..) => break,
        }
        if first >= last {
            break;
        }
    }
    Ok(begin)
}

/// Some name that does not sort before the first nor behind the last one.
fn between(first: &str, last: &str, random: u128) -> String {
    let mut name = String::new();
    let (mut lower, mut upper) = (first.chars(), last.chars());
    loop {
        let (from, to) = (lower.next().unwrap_or('\0'), upper.next().unwrap_or('\0'));
        if from != to || from == '\0' {
            let span = u128::from(u32::from(to).saturating_sub(u32::from(from))) + 1;
            let letter = u32::from(from) + (random % span) as u32;
            // There are none between 0xd800 and 0xdfff; and the server takes no NUL.
            name.extend(char::from_u32(letter).filter(|letter| *letter != '\0'));
            break;
        }
        name.push(from);
    }
    match name.as_str() < first {
        true => first.to_owned(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_between_two_sorts_between_them() {
        for (first, last) in [("a", "z"), ("job-1", "job-9"), ("a", "a"), ("x", "xyz"), ("a", "é")]
        {
            for random in 0..300 {
                let name = between(first, last, random);
                assert!(first <= &*name && &*name <= last, "{first} {name} {last}");
            }
        }
    }
}
