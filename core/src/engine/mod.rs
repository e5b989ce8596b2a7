//! All patience: waiting, retrying, renewing, cleaning up. Once, for every
//! backend.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::backend::{Backend, Ear, Mode, Status, Wake};
use crate::error::{Error, Kind, Outcome};
use crate::event::{Telling, What};
use crate::name::{LockName, Owner};
use crate::runtime::Runtime;

mod acquire;
mod asked;
mod by_hand;
mod closed;
mod debts;
mod handing;
mod hold;
mod keeper;
mod kept;
mod label;
mod line;
mod loss;
mod offer;
mod own;
mod patience;
mod pauses;
mod payer;
mod refusals;
mod release;
mod rest;
mod seat;
mod tie;
mod turn;
mod word;

use closed::Closed;
use debts::Debts;
pub(crate) use handing::Given;
pub(crate) use hold::Hold;
use keeper::Keeper;
use line::Lines;
pub use loss::Loss;
pub(crate) use own::Asker;
pub(crate) use patience::{Outage, Patience};
pub(crate) use pauses::backoff;
pub(crate) use tie::Tie;

/// What a user wants of a lock.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: LockName,
    pub(crate) ttl: Duration,
    /// For so long beyond that the server has it, unless it is given back.
    pub(crate) delay: Duration,
    pub(crate) mode: Mode,
    pub(crate) label: Arc<str>,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) auto_renew: bool,
    /// Whether it may be given back so that its lock rests.
    pub(crate) may_rest: bool,
    pub(crate) asker: Asker,
}

impl Plan {
    /// How long the server has it.
    fn lasts(&self) -> Duration {
        self.ttl + self.delay
    }
}

/// What works for one client. Its background tasks hold it until [`Engine::stop`].
pub(crate) struct Engine {
    /// Until it is closed.
    backend: RwLock<Arc<dyn Backend>>,
    description: Arc<str>,
    runtime: Arc<dyn Runtime>,
    lines: Lines,
    keeper: Keeper,
    phase: watch::Sender<Phase>,
    debts: Debts,
    telling: Arc<Telling>,
    process: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Nothing new is taken, what is held is given back.
    Closed,
    /// Nobody has a handle any more.
    Stopped,
}

impl Engine {
    const LONGEST_REQUEST: Duration = Duration::from_secs(5);
    const LEAST_QUESTION: Duration = Duration::from_secs(1);

    pub(crate) fn start(
        backend: Arc<dyn Backend>,
        runtime: Arc<dyn Runtime>,
        telling: Arc<Telling>,
    ) -> Arc<Self> {
        let description = backend.describe().into();
        let engine = Arc::new(Self {
            backend: RwLock::new(backend),
            description,
            lines: Lines::by(runtime.clone()),
            runtime,
            keeper: Keeper::default(),
            phase: watch::Sender::new(Phase::Open),
            debts: Debts::default(),
            telling,
            process: std::process::id(),
        });
        engine.runtime.spawn(Box::pin(engine.clone().run_keeper()));
        engine.runtime.spawn(Box::pin(engine.clone().heed_wakes()));
        engine.runtime.spawn(Box::pin(engine.clone().heed_turns()));
        engine.backend().listen(Arc::new(Listener(Arc::downgrade(&engine))));
        engine
    }

    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        self.backend.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The backend as messages name it.
    pub(crate) fn describe(&self) -> &str {
        &self.description
    }

    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }

    /// End the background tasks. What is being cleaned up is finished first.
    pub(crate) fn stop(&self) {
        self.phase.send_replace(Phase::Stopped);
    }

    /// Whether this process is a fork of the one that made the client. Its
    /// threads do not exist here, and what it holds is the parent's.
    pub(crate) fn is_foreign(&self) -> bool {
        std::process::id() != self.process
    }

    /// Give everything back, and wait until the backend knows or every ttl has passed;
    /// then end, and let go of the backend.
    pub(crate) async fn close(self: &Arc<Self>) {
        if self.is_foreign() {
            return;
        }
        self.phase.send_if_modified(|phase| {
            let open = *phase == Phase::Open;
            *phase = (*phase).max(Phase::Closed);
            open
        });
        // Also when nobody waits for all of this.
        let _end = EndOfEvents(&self.telling);
        for hold in self.keeper.all() {
            self.lose_by_close(&hold);
            self.release_in_background(hold);
        }
        // Not left to the waiters, who may not be polled for a while.
        for claim in self.lines.take_sent() {
            self.withdraw_in_background(claim);
        }
        // What the users themselves have begun to give back, unless they do not go on.
        let limit = self.runtime.sleep(Self::LONGEST_REQUEST);
        tokio::select! {
            biased;
            () = self.debts.given_back() => {}
            () = limit => self.debts.settled().await,
        }
        self.settle().await;
        self.stop();
        let closed = Closed::was(self.description.clone());
        let open = {
            let mut backend = self.backend.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *backend, closed)
        };
        drop(open);
    }

    /// Until the slowest server that can be reached knows what was given back, but no
    /// longer than a request may take.
    async fn settle(&self) {
        let backend = self.backend();
        tokio::select! {
            biased;
            () = backend.settle() => {}
            () = async { self.runtime.sleep(Self::LONGEST_REQUEST).await } => {}
        }
    }

    /// Take the lock from whoever holds it.
    pub(crate) async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        let ours = self.keeper.named(name);
        let answer = self.backend().evict(name).await;
        let evicted = answer.map_err(|e| self.check_open().err().unwrap_or(e))?;
        // Who held it before that was asked does not any more, and hears it now.
        for hold in ours.into_iter().filter(|_| evicted) {
            self.keeper.remove(&hold);
            self.lose(&hold, Loss::Gone);
        }
        Ok(evicted)
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.is_foreign() {
            return Err(foreign());
        }
        match *self.phase.borrow() {
            Phase::Open => Ok(()),
            _ => Err(closed::closed()),
        }
    }

    async fn reached(&self, phase: Phase) {
        drop(self.phase.subscribe().wait_for(|now| *now >= phase).await);
    }

    /// Ready when the client is closed.
    pub(crate) async fn closed(&self) {
        self.reached(Phase::Closed).await;
    }

    async fn stopped(&self) {
        self.reached(Phase::Stopped).await;
    }

    /// Whoever hears it, on whatever thread.
    fn heed(self: &Arc<Self>, wake: Wake) {
        match wake {
            Wake::Name(name) => {
                self.lines.doubt(Some(&name));
                self.lines.ring(&name);
                self.check(Some(&name));
            }
            Wake::All => {
                self.lines.doubt(None);
                // What is held comes before what is wanted.
                self.check(None);
                self.lines.ring_all();
            }
            Wake::Granted(grant) => self.accept(&grant),
        }
    }

    async fn heed_wakes(self: Arc<Self>) {
        loop {
            let wake = tokio::select! {
                biased;
                () = self.stopped() => break,
                wake = async { self.backend().wake().await } => wake,
            };
            self.heed(wake);
        }
        // Of a client that was dropped: one that is closed has done so before.
        self.debts.settled().await;
        self.settle().await;
    }

    /// One request, given up after `limit`.
    async fn request<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            answer = call => answer,
            () = async { self.runtime.sleep(limit).await } => {
                let message = format!("no answer within {limit:?}; is the server alive?");
                Err(Error::unavailable(message).with_outcome(Outcome::Unknown))
            }
        }
    }

    /// How long an answer about a lease of this ttl is worth waiting for.
    fn request_limit(&self, ttl: Duration) -> Duration {
        let longest = Self::LONGEST_REQUEST.max(self.backend().response_timeout());
        (ttl / 2).clamp(Duration::from_millis(50), longest)
    }

    /// How long the answer to a question is waited for. That somebody else holds
    /// the lock is worth hearing also when a grant would come too late.
    fn question_limit(&self, ttl: Duration) -> Duration {
        Self::usual_limit(ttl).max(self.request_limit(ttl)).max(self.backend().response_timeout())
    }

    /// The same for a release, of which the successor's claim is a part. Of a server that
    /// may be slow it is waited for no longer than there is something to give back, which
    /// is so `left`; nor is one that was asked before.
    fn release_limit(&self, ttl: Duration, left: Duration, is_first: bool) -> Duration {
        let least = if is_first { Self::usual_limit(ttl) } else { Self::LEAST_QUESTION };
        self.question_limit(ttl).min(left.max(least))
    }

    /// How long a question is waited for where no `response_timeout` is longer.
    fn usual_limit(ttl: Duration) -> Duration {
        (ttl / 2).clamp(Self::LEAST_QUESTION, Self::LONGEST_REQUEST)
    }

    /// Who holds and who waits: all that the backend knows of, and in this client those
    /// behind them.
    pub(crate) async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let answer = self.backend().inspect(name).await;
        let mut all = answer.map_err(|e| self.check_open().err().unwrap_or(e))?;
        for status in &mut all {
            status.waiters.extend(self.lines.unseen(&status.name));
        }
        Ok(all)
    }

    /// Who holds and who waits for one lock, answered in time or not at all.
    pub(crate) async fn look_at(&self, name: &LockName) -> Result<Option<Status>, Error> {
        let limit = Self::LONGEST_REQUEST.max(self.backend().response_timeout());
        Ok(self.request(limit, self.inspect(Some(name))).await?.pop())
    }

    /// The error for using a lease after its end.
    pub(crate) fn over(&self, hold: &Hold) -> Error {
        let error = match hold.loss() {
            Some(loss) => hold.lost_by(loss),
            None if hold.is_handed_on() => Error::new(
                Kind::NotHeld,
                "the lease was handed on: whoever adopts its ticket holds it",
            ),
            None if hold.is_over() => Error::new(Kind::NotHeld, "the lease was released before"),
            None if self.is_foreign() => foreign(),
            // Nobody has come to say it yet.
            None => hold.lost_by(hold.loss_by_time()),
        };
        error.about(&hold.held().name, self.describe())
    }

    fn tell(&self, hold: &Hold, what: impl FnOnce() -> What) {
        self.telling.tell(&hold.held.name, hold.held.fence, what);
    }

    fn new_owner(&self) -> Owner {
        Owner::from_bits(self.runtime.random())
    }

    /// A random part of `span`.
    fn jitter(&self, span: Duration) -> Duration {
        part(self.runtime.random(), span)
    }
}

/// Hears for an engine what its backend is told unasked.
struct Listener(Weak<Engine>);

impl Ear for Listener {
    fn hear(&self, wake: Wake) {
        if let Some(engine) = self.0.upgrade() {
            engine.heed(wake);
        }
    }

    fn is_awaited(&self) -> bool {
        self.0.upgrade().is_some_and(|engine| engine.lines.are_asking())
    }
}

/// Nothing more is told of a client whose closing is over, or given up.
struct EndOfEvents<'a>(&'a Telling);

impl Drop for EndOfEvents<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn foreign() -> Error {
    let message = "this client or lease was made before a fork; the child has none of it";
    Error::new(Kind::Closed, message)
}

/// The part of `span` that some random bits stand for.
pub(crate) fn part(random: u128, span: Duration) -> Duration {
    span.mul_f64(random as u32 as f64 / f64::from(u32::MAX))
}
