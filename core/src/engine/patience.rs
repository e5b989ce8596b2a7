//! How long somebody waits, for a lock that is busy and for a backend that does not answer.

use std::time::Duration;

use super::acquire::Visit;
use super::pauses::Row;
use super::word::{SILENCE, Verdict, silent};
use crate::error::{Error, Kind};
use crate::time::Instant;

/// How long somebody who waits without end goes on while the backend does not answer.
pub(super) const OUTAGE: Duration = Duration::from_secs(10);

/// How long a user is ready to wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all: busy is an answer.
    Try,
    /// This long at most.
    Wait(Duration),
    /// Without end.
    Forever,
}

impl Patience {
    /// When a busy lock is not waited for any longer.
    fn limit(self) -> Option<Duration> {
        match self {
            Self::Try => Some(Duration::ZERO),
            Self::Wait(limit) => Some(limit),
            Self::Forever => None,
        }
    }

    /// Whether a busy lock is waited for.
    pub(crate) fn waits(self) -> bool {
        self.limit() != Some(Duration::ZERO)
    }

    /// What is left of it after a while.
    pub(crate) fn after(self, waited: Duration) -> Self {
        match self {
            Self::Wait(limit) => Self::Wait(limit.saturating_sub(waited)),
            Self::Try | Self::Forever => self,
        }
    }

    /// How long a backend is waited for that is not there yet.
    pub(crate) fn with_an_outage(self) -> Duration {
        self.limit().unwrap_or(OUTAGE)
    }
}

/// That the backend did not answer.
pub(crate) struct Outage {
    pub(super) error: Error,
    /// When it was asked first.
    pub(super) since: Instant,
}

impl Outage {
    /// `None` for an error that is an answer.
    pub(crate) fn told_by(error: Error, since: Instant) -> Option<Self> {
        (error.kind() == Kind::Unavailable).then_some(Self { error, since })
    }
}

impl Visit<'_> {
    /// When to ask again after an error, if there is any point in it. Who has
    /// set a time to wait is told the error when that is over.
    pub(super) fn bear(&self, row: &mut Row, error: Error) -> Result<Duration, Error> {
        let since = self.word.broken(error.again(), self.engine.runtime.now());
        if error.kind() != Kind::Unavailable || self.has_borne_enough(since) {
            return Err(error);
        }
        Ok(row.next_pause(self.engine))
    }

    /// Who was at the head before may have borne an outage for all.
    pub(super) fn hear_outage(&self) -> Result<(), Error> {
        match self.word.outage() {
            Some((error, since)) if self.has_borne_enough(since) => Err(error),
            _ => Ok(()),
        }
    }

    fn has_borne_enough(&self, since: Instant) -> bool {
        self.outage_left(since).is_zero()
    }

    /// How long an outage since then is still borne. Who has set a time to wait bears any.
    fn outage_left(&self, since: Instant) -> Duration {
        let borne = self.engine.runtime.now().since(since.max(self.seat.since));
        match self.patience {
            Patience::Forever => OUTAGE.saturating_sub(borne),
            Patience::Try | Patience::Wait(_) => Duration::MAX,
        }
    }

    /// How long the answer to the next question can be waited for.
    pub(super) fn question_limit(&self) -> Duration {
        let limit = self.engine.question_limit(self.seat.plan.ttl);
        match self.word.outage() {
            Some((_, since)) => limit.min(self.outage_left(since)),
            None => limit,
        }
    }

    /// The end of the waiting, unless something is granted before: an error if it
    /// is not because somebody holds the lock. A question that has not been
    /// answered since the lock was last busy has its own limit.
    pub(super) async fn out_of_patience(&self) -> Result<(), Error> {
        let Some(limit) = self.patience.limit() else { return std::future::pending().await };
        let runtime = &self.engine.runtime;
        if !limit.is_zero() {
            runtime.sleep(limit).await;
        }
        // The head of the line may not be polled.
        let mut silence = runtime.sleep(self.engine.question_limit(self.seat.plan.ttl) * 3);
        let (mut unasked, mut is_early) = (runtime.sleep(SILENCE), true);
        // Who only tries is not told what was true before.
        let mut since = limit.is_zero().then_some(self.seat.since);
        loop {
            let changed = self.word.changed();
            if self.engine.lines.holder(&self.seat.plan.name).is_some() {
                return Ok(());
            }
            match self.word.verdict(runtime.now(), since) {
                Verdict::Busy => return Ok(()),
                Verdict::Broken(error) => return Err(error),
                Verdict::Unknown => {}
                Verdict::Stale => self.engine.lines.ring(&self.seat.plan.name),
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = &mut silence => return Err(silent()),
                () = &mut unasked, if is_early => {
                    is_early = false;
                    // The head is not polled, or it would have asked by now.
                    since = since.filter(|_| self.word.is_asked());
                }
            }
        }
    }
}
