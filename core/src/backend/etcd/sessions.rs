//! The sessions of a client: one for all locks of a ttl, and when each ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::cluster::{Cluster, SessionId};
use super::proof::strange;
use crate::backend::{Claim, Term};
use crate::error::Error;
use crate::runtime::Runtime;
use crate::time::Instant;

/// A session that lives, as far as the client knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) ttl: Duration,
    /// The seconds that were asked for, if it was given more.
    asked: u64,
    /// Whether it is for one lock alone.
    pub(super) is_alone: bool,
    /// When the request was sent by which it was opened or kept alive last.
    alive_since: Instant,
}

impl Session {
    /// Whether a lease of who asks for this can be held in it.
    pub(super) fn suits(&self, claim: &Claim) -> bool {
        self.ttl >= claim.ttl && self.is_alone != claim.renewed
    }

    /// Whether it was made for this ttl.
    pub(super) fn lasts(&self, ttl: Duration) -> bool {
        self.asked == seconds(ttl) || self.ttl == ttl
    }

    /// What a lease in it has, whose claim was sent at `sent`.
    pub(super) fn term(&self, sent: Instant) -> Term {
        Term { began: sent.since(self.alive_since), lasts: self.ttl }
    }

    /// Whether a lease can begin in it that is renewed in time.
    fn is_fresh(&self, now: Instant, delay: Duration) -> bool {
        now.since(self.alive_since) <= self.ttl.saturating_sub(delay) / 3
    }
}

pub(super) struct Sessions {
    cluster: Arc<dyn Cluster>,
    clock: Arc<dyn Runtime>,
    known: Mutex<Known>,
    /// By the seconds that are asked for.
    attempts: Mutex<BTreeMap<u64, Arc<Told>>>,
}

#[derive(Default)]
struct Known {
    sessions: BTreeMap<SessionId, Session>,
    /// By the seconds that were asked for.
    shared: BTreeMap<u64, SessionId>,
    /// The same, of sessions for one lock alone that was busy.
    spare: BTreeMap<u64, SessionId>,
}

/// What an attempt to keep a session alive or to open one has come to. Those who wait
/// for it go on in the order in which they came, so that a simulation can be replayed.
#[derive(Default)]
struct Told {
    outcome: OnceLock<Result<Session, Error>>,
    bell: Notify,
}

impl Told {
    /// The first counts.
    fn tell(&self, outcome: Result<Session, Error>) {
        drop(self.outcome.set(outcome));
        self.bell.notify_waiters();
    }

    async fn ended(&self) -> Result<Session, Error> {
        loop {
            let rung = self.bell.notified();
            match self.outcome.get() {
                Some(Ok(session)) => return Ok(*session),
                Some(Err(error)) => return Err(error.again()),
                None => rung.await,
            }
        }
    }
}

/// One that is under way.
struct Attempt {
    sessions: Arc<Sessions>,
    ttl: Duration,
    told: Arc<Told>,
}

impl Attempt {
    async fn make(self) {
        let outcome = self.sessions.freshen(self.ttl).await;
        self.told.tell(outcome);
    }
}

impl Drop for Attempt {
    /// However it ends: who asks next makes another.
    fn drop(&mut self) {
        let mut attempts = self.sessions.attempts();
        let at = seconds(self.ttl);
        if attempts.get(&at).is_some_and(|attempt| Arc::ptr_eq(attempt, &self.told)) {
            attempts.remove(&at);
        }
        drop(attempts);
        self.told.tell(Err(Error::unavailable("the client's thread has ended")));
    }
}

/// So many are put aside for the next lock.
const MAX_SPARE: usize = 16;

/// Etcd makes a session longer than was asked for if that is too short to outlive
/// an election, which takes a minute at most.
const MOST_LONGER: Duration = Duration::from_secs(10 * 60);

/// The seconds that a session needs so as not to end before a ttl.
pub(super) fn seconds(ttl: Duration) -> u64 {
    ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)
}

impl Sessions {
    pub(super) fn new(cluster: Arc<dyn Cluster>, clock: Arc<dyn Runtime>) -> Self {
        Self { cluster, clock, known: Mutex::default(), attempts: Mutex::default() }
    }

    /// The session for locks of this ttl, if it lives and a lease can begin in it.
    pub(super) fn fresh(&self, ttl: Duration, delay: Duration) -> Option<Session> {
        self.shared(ttl).filter(|session| session.is_fresh(self.clock.now(), delay))
    }

    fn shared(&self, ttl: Duration) -> Option<Session> {
        let known = self.known();
        known.sessions.get(known.shared.get(&seconds(ttl))?).copied()
    }

    /// The session for locks of this ttl, kept alive or opened if need be. All who ask
    /// share one attempt, which none of them has to be polled for.
    pub(super) async fn usable(
        self: &Arc<Self>,
        ttl: Duration,
        delay: Duration,
    ) -> Result<Session, Error> {
        if let Some(session) = self.fresh(ttl, delay) {
            return Ok(session);
        }
        self.attempt(ttl).ended().await
    }

    fn attempt(self: &Arc<Self>, ttl: Duration) -> Arc<Told> {
        let mut attempts = self.attempts();
        if let Some(attempt) = attempts.get(&seconds(ttl)) {
            return attempt.clone();
        }
        let told = Arc::<Told>::default();
        attempts.insert(seconds(ttl), told.clone());
        drop(attempts);
        let attempt = Attempt { sessions: self.clone(), ttl, told: told.clone() };
        self.clock.spawn(Box::pin(attempt.make()));
        told
    }

    async fn freshen(&self, ttl: Duration) -> Result<Session, Error> {
        // However old it is, only the cluster knows whether it is over.
        if let Some(stale) = self.shared(ttl)
            && self.keep_alive(stale.id).await?
            && let Some(session) = self.fresh(ttl, Duration::ZERO)
        {
            return Ok(session);
        }
        let session = self.open(seconds(ttl), false).await?;
        self.known().shared.insert(seconds(ttl), session.id);
        Ok(session)
    }

    /// A session for one lock alone, whose time has just begun.
    pub(super) async fn alone(&self, ttl: Duration) -> Result<Session, Error> {
        let spare = self.known().spare.remove(&seconds(ttl));
        if let Some(id) = spare
            && self.keep_alive(id).await?
            && let Some(session) = self.get(id)
        {
            return Ok(session);
        }
        self.open(seconds(ttl), true).await
    }

    /// A session for one lock alone was opened in vain, and nothing was or will be
    /// written under it. It ends by itself if nobody needs it soon.
    pub(super) fn put_aside(&self, session: &Session) {
        let mut known = self.known();
        let dropped = match known.spare.len() {
            MAX_SPARE.. => known.spare.pop_first().map(|(_, id)| id),
            _ => None,
        };
        let replaced = known.spare.insert(seconds(session.ttl), session.id);
        for id in dropped.into_iter().chain(replaced) {
            known.sessions.remove(&id);
        }
    }

    /// The shortest ttl that the cluster keeps. What is too short it makes longer;
    /// how long, only an answer tells.
    pub(super) async fn shortest(&self) -> Result<Duration, Error> {
        let probe = self.open(1, false).await?;
        self.known().shared.insert(seconds(probe.ttl), probe.id);
        Ok(probe.ttl)
    }

    async fn open(&self, seconds: u64, is_alone: bool) -> Result<Session, Error> {
        let alive_since = self.clock.now();
        let (id, ttl) = self.cluster.open(seconds).await?;
        let asked = Duration::from_secs(seconds);
        let mut known = self.known();
        let is_credible = (asked..=asked + MOST_LONGER).contains(&ttl);
        if !is_credible || known.sessions.contains_key(&id) {
            drop(known);
            return Err(self.distrust("a lease that is none of those that can be"));
        }
        let session = Session { id, ttl, asked: seconds, is_alone, alive_since };
        known.sessions.insert(id, session);
        Ok(session)
    }

    /// Restart its time; no if it is over.
    pub(super) async fn keep_alive(&self, id: SessionId) -> Result<bool, Error> {
        let sent = self.clock.now();
        let Some(session) = self.get(id) else { return Ok(false) };
        match self.cluster.keep_alive(id).await? {
            Some(ttl) if ttl == session.ttl => {}
            Some(_) => return Err(self.distrust("a lease that lasts for another time")),
            None => {
                self.forget(id);
                return Ok(false);
            }
        }
        if let Some(session) = self.known().sessions.get_mut(&id) {
            session.alive_since = session.alive_since.max(sent);
        }
        Ok(true)
    }

    fn distrust(&self, what: &str) -> Error {
        let error = strange(what);
        self.cluster.distrust(&error.to_string());
        error
    }

    /// The session of this number, with time left for a lease to begin.
    pub(super) async fn refreshed(
        &self,
        id: SessionId,
        delay: Duration,
    ) -> Result<Option<Session>, Error> {
        let find = || self.known().sessions.get(&id).copied();
        let is_fresh = find().is_some_and(|session| session.is_fresh(self.clock.now(), delay));
        Ok((is_fresh || self.keep_alive(id).await?).then(find).flatten())
    }

    pub(super) fn get(&self, id: SessionId) -> Option<Session> {
        self.known().sessions.get(&id).copied()
    }

    /// It is over, or nobody needs it any more.
    pub(super) fn forget(&self, id: SessionId) {
        let mut known = self.known();
        known.sessions.remove(&id);
        known.shared.retain(|_, shared| *shared != id);
        known.spare.retain(|_, spare| *spare != id);
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Told>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
