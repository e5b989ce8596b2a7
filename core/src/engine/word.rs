//! What the backend said last about a lock. Whoever stands in its line hears it,
//! for only the head asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::patience::Outage;
use crate::error::Error;
use crate::time::Instant;

/// A lock that was busy still is, as long as the answer to the next question is
/// not later than this.
pub(super) const SILENCE: Duration = Duration::from_millis(150);

#[derive(Default)]
pub(super) struct Word {
    heard: Mutex<Heard>,
    changed: Notify,
}

#[derive(Default)]
struct Heard {
    /// Somebody held the lock when the backend last said.
    is_busy: bool,
    /// Why the last question had no answer that can be used.
    trouble: Option<Error>,
    /// When the first was sent that had none.
    broken_since: Option<Instant>,
    /// When that was sent which is not answered yet.
    asked: Option<Instant>,
    /// When that was sent which was answered last.
    answered: Option<Instant>,
    /// When that was sent which told what is known: that it is busy, or the trouble.
    told: Option<Instant>,
}

/// What somebody hears who does not wait any longer.
pub(super) enum Verdict {
    Busy,
    Broken(Error),
    /// The question that tells has not been answered yet.
    Unknown,
    /// It was busy or broken earlier, and nobody has asked since.
    Stale,
}

impl Word {
    /// A question was sent.
    pub(super) fn ask(&self, now: Instant) {
        self.heard().asked = Some(now);
    }

    /// It was answered, in a way that says nothing about who holds the lock.
    pub(super) fn answered(&self) {
        self.change(|heard| {
            let Heard { is_busy, told, asked, .. } = *heard;
            *heard = Heard { is_busy, told, answered: asked, ..Heard::default() };
        });
    }

    /// Somebody holds the lock.
    pub(super) fn busy(&self) {
        self.change(|heard| {
            let told = heard.asked.or(heard.answered);
            *heard = Heard { is_busy: true, told, ..Heard::default() };
        });
    }

    /// The backend answers, and does not grant anything to anybody.
    pub(super) fn closed(&self, why: Error) {
        self.change(|heard| {
            *heard = Heard { trouble: Some(why), told: heard.asked, ..Heard::default() };
        });
    }

    /// A question had no answer that can be used; answers since when one was waited for.
    pub(super) fn broken(&self, why: Error, now: Instant) -> Instant {
        let mut since = now;
        self.change(|heard| {
            since = *heard.broken_since.get_or_insert(heard.asked.unwrap_or(now));
            heard.told = heard.asked.take().or(Some(now));
            (heard.trouble, heard.is_busy) = (Some(why), false);
        });
        since
    }

    /// Somebody who joins has heard this elsewhere, and here nobody knows anything yet.
    pub(super) fn begin_with(&self, outage: Outage) {
        self.change(|heard| {
            if !heard.is_busy && heard.trouble.is_none() {
                heard.broken_since = Some(outage.since);
                (heard.trouble, heard.told) = (Some(outage.error), Some(outage.since));
            }
        });
    }

    /// Why and since when the backend does not answer, if so.
    pub(super) fn outage(&self) -> Option<(Error, Instant)> {
        let heard = self.heard();
        Some((heard.trouble.as_ref()?.again(), heard.broken_since?))
    }

    /// Whether an answer is waited for.
    pub(super) fn is_asked(&self) -> bool {
        self.heard().asked.is_some()
    }

    /// `since`: what was true earlier than about then is not enough.
    pub(super) fn verdict(&self, now: Instant, since: Option<Instant>) -> Verdict {
        let heard = self.heard();
        if !heard.is_busy && heard.trouble.is_none() {
            return Verdict::Unknown;
        }
        let is_old = |since| heard.told.is_none_or(|sent| sent + SILENCE < since);
        match (since.is_some_and(is_old), heard.asked, &heard.trouble) {
            (true, Some(_), _) => Verdict::Unknown,
            (true, None, _) => Verdict::Stale,
            (false, _, Some(trouble)) => Verdict::Broken(trouble.again()),
            (false, Some(asked), None) if now.since(asked) > SILENCE => Verdict::Broken(silent()),
            (false, _, None) => Verdict::Busy,
        }
    }

    /// Ready when there is another word than now.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    fn change(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard());
        self.changed.notify_waiters();
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn silent() -> Error {
    Error::unavailable("the backend has not answered in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn busy_is_as_old_as_the_question_that_told_it() {
        let word = Word::default();
        word.ask(at(100));
        word.busy();
        assert!(matches!(word.verdict(at(200), Some(at(200))), Verdict::Busy));
        assert!(matches!(word.verdict(at(300), Some(at(300))), Verdict::Stale));
        assert!(matches!(word.verdict(at(300), None), Verdict::Busy));
        word.ask(at(310));
        assert!(matches!(word.verdict(at(320), Some(at(300))), Verdict::Unknown));
        // It has tied, and once too often.
        word.answered();
        assert!(matches!(word.verdict(at(330), Some(at(300))), Verdict::Stale));
        word.busy();
        assert!(matches!(word.verdict(at(330), Some(at(300))), Verdict::Busy));
    }

    #[test]
    fn trouble_is_as_old_as_its_question() {
        let word = Word::default();
        word.ask(at(100));
        word.broken(silent(), at(110));
        assert!(matches!(word.verdict(at(200), Some(at(200))), Verdict::Broken(_)));
        assert!(matches!(word.verdict(at(300), Some(at(300))), Verdict::Stale));
        assert!(matches!(word.verdict(at(300), None), Verdict::Broken(_)));
        word.ask(at(310));
        assert!(matches!(word.verdict(at(320), Some(at(300))), Verdict::Unknown));
        word.closed(silent());
        assert!(matches!(word.verdict(at(320), Some(at(300))), Verdict::Broken(_)));
    }
}
