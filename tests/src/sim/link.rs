//! A connection through bad weather: delays, losses, duplicates, partitions.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold::{Error, Kind, Outcome};
use tokio::sync::oneshot;

use super::weather::{Fault, Weather};
use crate::world::Machine;

/// A request that has been without an answer for this long makes its server
/// count as unwell.
const UNWELL: Duration = Duration::from_millis(100);

/// One client's connection to one server, which `S` reaches without fail.
pub(super) struct Link<S> {
    inner: Arc<S>,
    machine: Arc<Machine>,
    state: Arc<LinkState>,
    /// A message stops its sender now and then, in so many of a hundred cases.
    pause_percent: u32,
    /// A message arrives twice now and then.
    doubles: bool,
}

/// What is wrong with a connection at the moment.
pub(super) struct LinkState {
    pub(super) weather: Arc<Weather>,
    /// The server does not run.
    down: Arc<AtomicBool>,
    requests_cut: AtomicBool,
    replies_cut: AtomicBool,
    health: Mutex<Health>,
}

/// What the client knows of its server.
#[derive(Default)]
struct Health {
    /// The last request failed.
    failed: bool,
    /// Since when there has been no answer to any request.
    unanswered: Option<Duration>,
}

pub(super) type Request<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;
/// Made once for every time that the request arrives.
pub(super) type Call<S, T> = Arc<dyn Fn(Arc<S>) -> Request<T> + Send + Sync>;

impl<S: Send + Sync + 'static> Link<S> {
    pub(super) fn new(
        inner: S,
        machine: &Arc<Machine>,
        weather: &Arc<Weather>,
        down: &Arc<AtomicBool>,
        pause_percent: u32,
    ) -> Self {
        let state = LinkState {
            weather: weather.clone(),
            down: down.clone(),
            requests_cut: AtomicBool::new(false),
            replies_cut: AtomicBool::new(false),
            health: Mutex::default(),
        };
        let (inner, state) = (Arc::new(inner), Arc::new(state));
        Self { inner, machine: machine.clone(), state, pause_percent, doubles: true }
    }

    /// One whose messages arrive once at most.
    pub(super) fn without_doubles(self) -> Self {
        Self { doubles: false, ..self }
    }

    /// For what no weather touches.
    pub(super) fn inner(&self) -> &Arc<S> {
        &self.inner
    }

    pub(super) fn state(&self) -> &Arc<LinkState> {
        &self.state
    }

    /// A request is a packet on its way: once sent it arrives, or not, or
    /// twice, whatever becomes of its sender.
    #[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
    pub(super) async fn send<T: Send + 'static>(&self, call: Call<S, T>) -> Result<T, Error> {
        let weather = &self.state.weather;
        self.state.asked();
        if self.doubles && weather.chance(4) {
            weather.faults.count(Fault::Duplicate);
            let (inner, call, state) = (self.inner.clone(), call.clone(), self.state.clone());
            tokio::spawn(async move {
                state.weather.truth.sleep(state.weather.way() + state.weather.way()).await;
                if !state.is_down() {
                    drop(call(inner).await);
                }
            });
        }
        if weather.chance(self.pause_percent) {
            // The worst moment to stop: the answer comes while nobody looks.
            let pause = Duration::from_millis(weather.roll(3000).into());
            let (weather, machine) = (weather.clone(), self.machine.clone());
            tokio::spawn(async move { weather.pause(machine, pause).await });
        }
        let (reply, answer) = oneshot::channel();
        let (inner, state) = (self.inner.clone(), self.state.clone());
        tokio::spawn(async move {
            if let Some(result) = state.carry(call(inner)).await {
                drop(reply.send(result));
            }
        });
        match answer.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await,
        }
    }
}

impl LinkState {
    /// There and back, if it gets so far.
    async fn carry<T>(&self, request: Request<T>) -> Option<Result<T, Error>> {
        let weather = &self.weather;
        weather.truth.sleep(weather.way()).await;
        if self.is_cut(&self.requests_cut) || weather.chance(4) {
            weather.faults.count(Fault::RequestLost);
            return self.break_or_hang(Outcome::Unknown).await;
        }
        if self.is_down() {
            weather.faults.count(Fault::Refused);
            return self.break_or_hang(Outcome::NotHeld).await;
        }
        let result = request.await;
        if self.is_cut(&self.replies_cut) || weather.chance(4) {
            weather.faults.count(Fault::ReplyLost);
            return self.break_or_hang(Outcome::Unknown).await;
        }
        weather.truth.sleep(weather.way()).await;
        *self.health() = Health::default();
        Some(result)
    }

    /// A lost message shows as a broken connection, or not at all.
    async fn break_or_hang<T>(&self, outcome: Outcome) -> Option<Result<T, Error>> {
        if !self.weather.chance(50) {
            return None;
        }
        self.weather.truth.sleep(self.weather.way()).await;
        self.health().failed = true;
        let error = Error::new(Kind::Unavailable, "the connection broke");
        Some(Err(error.with_outcome(outcome)))
    }

    /// Messages are lost for a while, both ways or one way.
    pub(super) async fn partition(&self, requests: bool, replies: bool, lasts: Duration) {
        self.weather.faults.count(Fault::Partition);
        self.requests_cut.store(requests, Ordering::SeqCst);
        self.replies_cut.store(replies, Ordering::SeqCst);
        self.weather.truth.sleep(lasts).await;
        self.requests_cut.store(false, Ordering::SeqCst);
        self.replies_cut.store(false, Ordering::SeqCst);
    }

    /// How long what the server tells unasked is on its way; `None` if it is lost.
    pub(super) fn wake_way(&self) -> Option<Duration> {
        if self.is_cut(&self.replies_cut) || self.weather.chance(10) {
            self.weather.faults.count(Fault::WakeLost);
            return None;
        }
        Some(self.weather.way())
    }

    pub(super) fn is_well(&self) -> bool {
        let now = self.weather.truth.elapsed();
        let health = self.health();
        !health.failed && health.unanswered.is_none_or(|since| now < since + UNWELL)
    }

    fn asked(&self) {
        let now = self.weather.truth.elapsed();
        self.health().unanswered.get_or_insert(now);
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::SeqCst)
    }

    fn is_cut(&self, way: &AtomicBool) -> bool {
        !self.weather.is_calm() && way.load(Ordering::SeqCst)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
