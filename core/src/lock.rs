//! A name and options: the plan for a lease.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::anchor::Anchor;
use crate::backend::{Mode, Status};
use crate::block::{asker, inside};
use crate::engine::{Asker, Engine, Outage, Patience, Plan};
use crate::error::{Error, Kind};
use crate::lease::Lease;
use crate::name::LockName;
use crate::settings::{Settings, check_rest};
use crate::ticket::Content;
use crate::time::{Clock, SystemClock};

/// A lock to be taken: a name plus options. Making one does no I/O, and a bad
/// name or option is reported when it is [checked](Lock::check) or taken.
///
/// It is not reentrant: a task that takes a lock twice waits for itself. Inside the work of
/// a [`run`](Lock::run) that is known, and refused at once.
#[derive(Clone)]
#[must_use = "a lock does nothing until it is acquired"]
pub struct Lock {
    anchor: Arc<Anchor>,
    name: String,
    shared: bool,
    permits: Option<u32>,
    min_hold: Duration,
    settings: Settings,
    /// As far as a face knows.
    asker: Asker,
}

impl Lock {
    pub(crate) fn new(anchor: Arc<Anchor>, name: String, settings: Settings) -> Self {
        let (min_hold, asker) = (Duration::ZERO, Asker::Unknown);
        Self { anchor, name, shared: false, permits: None, min_hold, settings, asker }
    }

    /// Share it: any number of leases that share it are held at once, and no
    /// [exclusive](Mode::Exclusive) one beside them. All stand in one line, first come
    /// first served: whoever asks while an exclusive one waits comes after it. Those that
    /// are held at once have the same [fence](Lease::fence). None is turned into an
    /// exclusive one: release it and take that.
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Let as many hold it at once, from 1 to 1000, each with a [slot](Lease::slot) of
    /// its own. All who use the name say the same number; another is `refused` for as
    /// long as the lock is held or waited for, or rests. So is a lock without permits.
    /// `unsupported` on a quorum.
    pub fn permits(mut self, permits: u32) -> Self {
        self.permits = Some(permits);
        self
    }

    /// How long a lease outlives its last renewal, from 100 ms to 24 h; 10 s
    /// unless set. It is renewed at a third of it, so this bounds how long
    /// others wait for a holder that vanished, not how long one can hold. What a
    /// backend cannot count is raised to the next that it can, which
    /// [`Lease::ttl`] tells.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// A lock-delay: how long the lock stays taken after the end of a lease that was not
    /// released, from 0 to 24 h together with the ttl; zero unless set. For resources
    /// that cannot check a [fence](Lease::fence): a write that was on its way when its
    /// holder crashed, or lost the lease, arrives before anybody else has the lock. It
    /// does not count for the holder, whose deadline is that of the ttl alone.
    ///
    /// After a release, or a drop in time, the lock is free at once. After a loss it is
    /// not, whoever releases then, nor when the client is closed while it is held; but
    /// [`break_lock`](crate::Client::break_lock) is not delayed, and nothing outlives the
    /// server's data. On the embedded backend, too, a holder that is killed keeps the
    /// lock for ttl and delay.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.settings.delay = delay;
        self
    }

    /// How long [`acquire`](Lock::acquire) and [`run`](Lock::run) wait for a
    /// busy lock, and for a backend that does not answer or is not there yet. Not
    /// set, and with [`Duration::MAX`], the first is without end, and the second
    /// 10 s. Zero is no wait; a lock that is free is taken all the same, for the
    /// first question always has the time that an answer takes. So does the first
    /// attempt to connect: a server that hangs is given up after the URL's
    /// `connect_timeout`, 5 s unless set, however short this is.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.settings.wait = Some(wait);
        self
    }

    /// The longest a lease is held, however healthy its renewals; unbounded
    /// unless set. A worker that hangs then frees the lock.
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.settings.max_hold = Some(max_hold);
        self
    }

    /// The shortest time that the lock stays taken, from its grant on: zero unless set, at
    /// most 400 days. A lease that is released or dropped earlier ends at once, but its
    /// lock *rests*: nobody holds it, and everybody finds it busy until the time is over,
    /// by the server's clock. [`break_lock`](crate::Client::break_lock) ends a rest, and
    /// so does the loss of the server's data. After a crash or a loss there is none: ttl
    /// and [`delay`](Lock::delay) rule there. Such a lease cannot be handed to another
    /// process by a [ticket](Lease::into_ticket). For work that is to be done once per
    /// interval see [`once`](crate::Client::once).
    ///
    /// Only for a lock that is held alone, and not on a quorum, which is `unsupported`.
    pub fn min_hold(mut self, min_hold: Duration) -> Self {
        self.min_hold = min_hold;
        self
    }

    /// Whether a lease is renewed in the background; yes unless set.
    pub fn auto_renew(mut self, auto_renew: bool) -> Self {
        self.settings.auto_renew = auto_renew;
        self
    }

    /// What others see of the holder, after its host and process id.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.settings.label = label.into();
        self
    }

    /// Whether its name and options can be used. Taking it tells the same.
    ///
    /// # Errors
    /// `invalid`.
    pub fn check(&self) -> Result<(), Error> {
        self.checked().map(drop)
    }

    /// Wait for the lock and hold it.
    ///
    /// Waiters of one client are served first come first served, and so are
    /// clients among each other. One that is not polled when it is its turn goes to
    /// the end of its client's line after one to two seconds; it waits still, and
    /// asks again when it is polled. A backend that does not answer is asked again,
    /// and connected to if need be, until [`wait`](Lock::wait) is over, without
    /// one for 10 s. An error that asking again does not mend comes at once.
    ///
    /// # Errors
    /// `timeout` when the lock was busy for all of [`wait`](Lock::wait);
    /// `unavailable` when the backend did not answer, or only when a grant was
    /// too late to be used; `invalid`, `refused`, `closed` as they say. Nothing is
    /// held after an error.
    ///
    /// # Cancel safety
    /// Cancel safe: dropped at any point, nothing stays held, and whoever waits
    /// behind is served.
    pub async fn acquire(&self) -> Result<Lease, Error> {
        match self.take(self.patience()).await? {
            Some(lease) => Ok(lease),
            None => Err(Error::new(Kind::Internal, "a wait ended without an answer")),
        }
    }

    /// Hold the lock if it is free now, and nobody stands in line for it.
    ///
    /// # Errors
    /// As [`acquire`](Lock::acquire), except that a busy lock is `None`, and a
    /// backend that does not answer, or cannot be connected to, is tried once.
    ///
    /// # Cancel safety
    /// Cancel safe, as [`acquire`](Lock::acquire).
    pub async fn try_acquire(&self) -> Result<Option<Lease>, Error> {
        self.take(Patience::Try).await
    }

    /// Do `work` while holding the lock: acquire, work, release.
    ///
    /// When the lease is lost, `work` is dropped where it stands and the error
    /// is `lost`. So it is when only the release tells that the lease was gone:
    /// then `work` was done, but perhaps beside somebody else's, and its result
    /// is dropped. That a release is not confirmed does not matter, see
    /// [`Lease::finish`].
    ///
    /// What is polled as a part of `work` and waits for the lock again, without an end, would
    /// wait for the end of `work`, and is `refused` at once, unless the lease is not
    /// [renewed](Lock::auto_renew) and so ends by itself. A task that `work` has spawned waits.
    ///
    /// # Errors
    /// As [`acquire`](Lock::acquire), and `lost`.
    ///
    /// # Cancel safety
    /// Dropped at any point, `work` is dropped and the lock given back.
    pub async fn run<T>(&self, work: impl AsyncFnOnce(&Lease) -> T) -> Result<T, Error> {
        let lease = self.acquire().await?;
        let result = {
            let work = pin!(work(&lease));
            tokio::select! {
                biased;
                _ = lease.lost() => None,
                result = inside(|block| lease.keep_for(block), work) => Some(result),
            }
        };
        lease.finish().await?;
        result.ok_or_else(|| lease.over())
    }

    /// Go on with a lease of this lock that was [handed
    /// on](crate::Lease::into_ticket), as [`Client::adopt`](crate::Client::adopt) does. Of
    /// the lock only the name is used: the ticket says the rest.
    ///
    /// # Errors
    /// `refused` for the ticket of another lock, which stays good; else as
    /// [`Client::adopt`](crate::Client::adopt).
    ///
    /// # Cancel safety
    /// As [`Client::adopt`](crate::Client::adopt).
    pub async fn adopt(&self, ticket: &str) -> Result<Lease, Error> {
        let (name, content) = (LockName::new(&self.name)?, Content::read(ticket)?);
        if content.name != name {
            let message = format!(
                "the ticket is for the lock {:?} and not for {:?}; the two were mixed up on the way",
                content.name.as_str(),
                name.as_str()
            );
            return Err(Error::new(Kind::Refused, message));
        }
        Lease::adopt(&self.anchor, content).await
    }

    pub(crate) fn patience(&self) -> Patience {
        match self.settings.wait {
            None | Some(Duration::MAX) => Patience::Forever,
            Some(wait) => Patience::Wait(wait),
        }
    }

    pub(crate) fn anchor(&self) -> &Arc<Anchor> {
        &self.anchor
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Who holds it and who waits for it now.
    pub(crate) async fn status(&self) -> Result<Option<Status>, Error> {
        let name = LockName::new(&self.name)?;
        let (engine, _) = self.connected(Patience::Try).await?;
        engine.look_at(&name).await
    }

    /// See [`Locks::asked_by`](crate::Locks::asked_by).
    pub(crate) fn asked_by(self, asker: Asker) -> Self {
        Self { asker, ..self }
    }

    /// Another, with the same options.
    pub(crate) fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    fn checked(&self) -> Result<LockName, Error> {
        self.settings.check()?;
        let mode = self.mode()?;
        if !self.min_hold.is_zero() {
            self.check_min_hold(mode)?;
        }
        LockName::new(&self.name)
    }

    fn check_min_hold(&self, mode: Mode) -> Result<(), Error> {
        let span = self.min_hold;
        check_rest("min_hold", span)?;
        if mode.is_shared() {
            return Err(Error::invalid(format!(
                "min_hold is for a lock that one holds alone, not for one that is {}",
                mode.name()
            )));
        }
        match self.settings.max_hold.filter(|most| *most < span) {
            Some(most) => Err(Error::invalid(format!(
                "min_hold must not be longer than max_hold, and {span:?} is longer than {most:?}"
            ))),
            None => Ok(()),
        }
    }

    fn mode(&self) -> Result<Mode, Error> {
        const MOST: u32 = 1000;
        match (self.shared, self.permits) {
            (false, None) => Ok(Mode::Exclusive),
            (true, None) => Ok(Mode::Shared),
            (false, Some(permits @ 1..=MOST)) => Ok(Mode::Counted { permits }),
            (false, Some(permits)) => {
                Err(Error::invalid(format!("permits must be from 1 to {MOST}, not {permits}")))
            }
            (true, Some(_)) => Err(Error::invalid(
                "a lock is shared or has permits, not both: permits bound how many hold it",
            )),
        }
    }

    async fn take(&self, patience: Patience) -> Result<Option<Lease>, Error> {
        let lease = self.take_without_rest(patience, false, None).await?;
        lease.iter().for_each(|lease| self.begin_min_hold(lease));
        Ok(lease)
    }

    /// From now on it counts.
    pub(crate) fn begin_min_hold(&self, lease: &Lease) {
        if !self.min_hold.is_zero() {
            lease.rest_for(self.min_hold);
        }
    }

    /// A lease that leaves no rest unless it is told to, which it `may_rest`. `outage`: what
    /// whoever asks has borne already.
    pub(crate) async fn take_without_rest(
        &self,
        patience: Patience,
        may_rest: bool,
        outage: Option<Outage>,
    ) -> Result<Option<Lease>, Error> {
        let plan = Plan {
            name: self.checked()?,
            ttl: self.settings.ttl,
            delay: self.settings.delay,
            mode: self.mode()?,
            label: self.anchor.label(&self.settings.label),
            max_hold: self.settings.max_hold,
            auto_renew: self.settings.auto_renew,
            may_rest: may_rest || !self.min_hold.is_zero(),
            asker: match &self.asker {
                Asker::Unknown => asker(),
                known => known.clone(),
            },
        };
        let (engine, patience) = self.connected(patience).await?;
        let hold = engine.acquire(plan, patience, outage).await?;
        Ok(hold.map(|hold| Lease::new(self.anchor.clone(), engine.clone(), hold)))
    }

    /// The engine, and the patience that is left when it is there.
    pub(crate) async fn connected(
        &self,
        patience: Patience,
    ) -> Result<(&Arc<Engine>, Patience), Error> {
        if let Some(engine) = self.anchor.connected() {
            return Ok((engine, patience));
        }
        let began = SystemClock.now();
        let engine = self.anchor.engine(patience.with_an_outage()).await?;
        let left = match patience {
            Patience::Wait(limit) => {
                Patience::Wait(limit.saturating_sub(SystemClock.now().since(began)))
            }
            Patience::Try | Patience::Forever => patience,
        };
        Ok((engine, left))
    }
}
