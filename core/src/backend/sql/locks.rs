//! The locks in a table. What no single statement can decide is decided here: a row is read,
//! changed, and written if it is still as it was read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::chores::Chores;
use super::expect::Expectations;
use super::failure::{Is, Trouble};
use super::renew::Doubt;
use super::{Change, LOCKED, Rows, Seen, Session, Which};
use crate::backend::connection::Connection;
use crate::backend::record::{Address, Now, Record, Rest, Retired};
use crate::backend::{Claim, Heir, Held, Released, Status, Transferred};
use crate::error::Error;
use crate::name::{LockName, Owner};

pub(crate) struct Locks<R: Rows> {
    pub(crate) rows: Arc<R>,
    /// For renewals.
    pub(super) second: Connection<Arc<R::Session>>,
    /// What this process gave back or withdrew.
    retired: Mutex<Retired>,
    pub(super) chores: Chores<R>,
    pub(super) doubt: Doubt,
    pub(super) expected: Expectations,
}

/// When something is decided, and what may come of it.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Now,
    /// Not while somebody keeps the row from getting another holder.
    pub(super) may_grant: bool,
}

/// How a change begins.
#[derive(Default)]
pub(super) struct Start {
    /// The row, if it has been read already.
    pub(super) seen: Option<Seen>,
    /// Write the row even if it stays the same, with this: see [`Change::careful`].
    pub(super) careful: Option<Duration>,
    /// Whoever asks for it asks again by itself, and is told soon that the row is locked.
    pub(super) asks_again: bool,
}

/// How long others may be faster, or keep the row locked, before a request gives up: of the ttl
/// this part, so that it is before nobody waits for the answer any more,
const PART: f64 = 0.4;
/// at least
const SHORTEST: Duration = Duration::from_millis(800);
/// and at most.
const LONGEST: Duration = Duration::from_secs(4);
/// The longest pause between two attempts. Whoever pauses for much longer than those who have
/// just come is never the fastest.
const PAUSE: Duration = Duration::from_millis(64);
/// What is said where others were faster all the time.
const BEATEN: &str = "others change this lock all the time; ask again";
/// How often a row that stays the same may be skipped: others lock it for a moment when they
/// take it, and on a busy machine that takes some 10 ms. So often is about 0.1 s.
const SKIPPED: u32 = 8;

impl<R: Rows> Locks<R> {
    pub(crate) fn of(rows: Arc<R>, second: Connection<Arc<R::Session>>) -> Self {
        let chores = Chores::of(rows.clone());
        chores.forget_old();
        let (retired, doubt, expected) = Default::default();
        Self { rows, second, retired, chores, doubt, expected }
    }

    pub(super) fn retired(&self) -> MutexGuard<'_, Retired> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_retired(&self, owner: Owner) -> bool {
        self.retired().contains(owner)
    }

    pub(super) async fn session(&self) -> Result<Arc<R::Session>, Error> {
        session(&*self.rows).await
    }

    /// Change one lock's record, for a lease of this ttl. The answer of `change`, which may be
    /// called several times, counts only when the row was written, or is to stay as it is; then
    /// who it names is told.
    pub(super) async fn change<T>(
        &self,
        name: &LockName,
        ttl: Duration,
        start: Start,
        mut change: impl FnMut(&mut Record, Moment) -> (T, Vec<Address>),
    ) -> Result<T, Error> {
        let (mut known, mut last, mut locked) = (start.seen, None, 0);
        let mut kept = None;
        let until = self.rows.runtime().now() + ttl.mul_f64(PART).clamp(SHORTEST, LONGEST);
        let mut attempt: u32 = 0;
        loop {
            let session = self.session().await?;
            let seen = match known.take() {
                Some(seen) => seen,
                None => self.rows.read(&session, name).await?,
            };
            let mut before = seen.record.clone();
            before.expire(seen.now.instant);
            let mut record = before.clone();
            let may_grant = locked < SKIPPED;
            let (answer, told) = change(&mut record, Moment { now: seen.now, may_grant });
            if record == before && start.careful.is_none() {
                return Ok(answer);
            }
            let grants = has_another_holder(&before, &record);
            if grants && !may_grant {
                return Err(Error::unavailable(LOCKED));
            }
            let (record, told, careful) = (&record, &*told, start.careful);
            let change = Change { seen: &seen, record, told, careful, grants };
            let why = match self.rows.write(&session, &change).await {
                Ok(true) => return Ok(answer),
                Ok(false) | Err(Trouble { is: Is::Beaten, .. }) => Error::unavailable(BEATEN),
                // Where many change a row, the time is over before one has had its turn. One
                // that stays the same is kept by a transaction.
                Err(Trouble { error, is: Is::Locked })
                    if R::SKIPS_LOCKED_ROWS
                        && (!start.asks_again || kept != Some(seen.version)) =>
                {
                    kept = Some(seen.version);
                    error
                }
                Err(trouble) => return Err(trouble.error),
            };
            let is_same = R::SKIPS_LOCKED_ROWS && grants && last == Some(seen.version);
            locked = if is_same { locked + 1 } else { 0 };
            last = Some(seen.version);
            let most = Duration::from_millis(1 << attempt.min(16)).min(PAUSE);
            if attempt > 0 {
                self.pause_up_to(most).await;
            }
            attempt += 1;
            if self.rows.runtime().now() >= until {
                return Err(why);
            }
        }
    }

    /// Let those go first who are as fast as we are.
    pub(super) async fn pause_up_to(&self, most: Duration) {
        let part = f64::from(self.rows.runtime().random() as u16) / f64::from(u16::MAX);
        self.rows.runtime().sleep(most.mul_f64(part)).await;
    }

    pub(crate) async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        self.retired().insert(held.owner);
        let rest = Rest { lasts: rest, client: 0 };
        let change = |record: &mut Record, moment: Moment| {
            let was_held = record.rest(held.owner, rest, moment.now.instant);
            let others = record.waiters_besides(None);
            (Released { held: was_held, next: None, others }, Vec::new())
        };
        self.change(&held.name, held.ttl, Start::default(), change).await
    }

    pub(crate) async fn transfer(
        &self,
        held: &Held,
        to: &Claim,
        heir: Heir,
    ) -> Result<Transferred, Error> {
        let client = match heir {
            Heir::Ticket => 0,
            Heir::Client => self.rows.address(),
        };
        let transfer = |record: &mut Record, moment: Moment| {
            let is_done = !self.is_retired(to.owner)
                && record.transfer(held.owner, to, client, moment.now.instant);
            (is_done, Vec::new())
        };
        if !self.change(&held.name, held.ttl, Start::default(), transfer).await? {
            return Ok(Transferred::Gone);
        }
        self.retired().insert(held.owner);
        Ok(Transferred::Done { term: None })
    }

    pub(crate) async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        let evict = |record: &mut Record, _: Moment| {
            let evicted = std::mem::take(&mut record.tenants);
            let mut told: Vec<Address> = evicted.iter().map(|tenant| tenant.client).collect();
            told.extend(next_client(record));
            (!evicted.is_empty(), told)
        };
        self.change(name, Duration::MAX, Start::default(), evict).await
    }

    pub(crate) async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        let relabel = |record: &mut Record, moment: Moment| {
            (record.relabel(held.owner, label, moment.now.instant), Vec::new())
        };
        self.change(&held.name, held.ttl, Start::default(), relabel).await
    }

    pub(crate) async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let which = name.map_or(Which::Used, |name| Which::Named(vec![name.as_str()]));
        let session = self.session().await?;
        let rows = self.rows.read_many(&session, which).await.map_err(Error::from)?;
        let status = |mut seen: Seen| {
            seen.record.expire(seen.now.instant);
            let name = LockName::new(&seen.name).ok()?;
            (!seen.record.is_idle()).then(|| seen.record.status(&name, seen.now.instant))
        };
        Ok(rows.into_iter().filter_map(status).collect())
    }
}

/// How often a session may turn out to have ended.
const PROOFS: u32 = 8;

/// A session that has not ended, as far as can be known.
pub(super) async fn session<R: Rows>(rows: &R) -> Result<Arc<R::Session>, Error> {
    for _ in 0..PROOFS {
        let session = rows.requests().session().await?;
        if session.is_alive().await {
            return Ok(session);
        }
        // It is noticed, and another one opened.
        rows.runtime().sleep(Duration::from_millis(1)).await;
    }
    rows.requests().session().await
}

/// Whom to wake: the first of the line, when there is room for it.
pub(super) fn next_client(record: &Record) -> Vec<Address> {
    record.next_in_line().map(|first| first.client).into_iter().collect()
}

/// Whether somebody holds it who did not.
fn has_another_holder(before: &Record, after: &Record) -> bool {
    let held = |owner: Owner| before.tenants.iter().any(|tenant| tenant.owner == owner);
    after.tenants.iter().any(|tenant| tenant.owner != Owner::NOBODY && !held(tenant.owner))
}
