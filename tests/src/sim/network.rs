//! What lies between a client and its server: delays, losses, duplicates.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use leasehold::backend::{
    Answer, Backend, Claim, Held, Memory, MemoryClient, Released, Renewal, Status, Wake,
};
use leasehold::{Error, Kind, LockName, Outcome};
use tokio::sync::oneshot;

use super::ledger::Ledger;
use crate::world::{Machine, TrueClock};

/// What can go wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Delay,
    RequestLost,
    ReplyLost,
    Duplicate,
    WakeLost,
    Refused,
    Pause,
    Restart,
    WallJump,
    Cancelled,
}

/// How often each thing went wrong, over all seeds.
#[derive(Debug, Default)]
pub struct Faults([AtomicU64; 10]);

impl Faults {
    /// By name, all kinds.
    pub fn counts(&self) -> Vec<(String, u64)> {
        use Fault::*;
        let all = [
            Delay,
            RequestLost,
            ReplyLost,
            Duplicate,
            WakeLost,
            Refused,
            Pause,
            Restart,
            WallJump,
            Cancelled,
        ];
        let count = |fault| (format!("{fault:?}"), self.0[fault as usize].load(Ordering::Relaxed));
        all.map(count).into()
    }

    pub(super) fn count(&self, fault: Fault) {
        self.0[fault as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The state of all connections to one server.
pub(super) struct Weather {
    pub(super) truth: TrueClock,
    pub(super) faults: Arc<Faults>,
    pub(super) ledger: Arc<Ledger>,
    random: Mutex<fastrand::Rng>,
    /// Nothing goes wrong, and every message takes a millisecond.
    calm: AtomicBool,
    /// The server is down.
    down: AtomicBool,
}

impl Weather {
    pub(super) fn new(
        truth: TrueClock,
        faults: Arc<Faults>,
        ledger: Arc<Ledger>,
        seed: u64,
    ) -> Arc<Self> {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        let (calm, down) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { truth, faults, ledger, random, calm, down })
    }

    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::SeqCst);
        self.down.store(false, Ordering::SeqCst);
    }

    /// The server dies and is started again a while later.
    pub(super) async fn restart(&self, server: &Memory, down_for: Duration) {
        self.faults.count(Fault::Restart);
        self.down.store(true, Ordering::SeqCst);
        self.truth.sleep(down_for).await;
        self.down.store(false, Ordering::SeqCst);
        server.restart();
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    fn chance(&self, percent: u32) -> bool {
        !self.is_calm() && self.roll(100) < percent
    }

    fn roll(&self, below: u32) -> u32 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).u32(..below)
    }

    /// How long a message is on its way.
    fn way(&self) -> Duration {
        let millis = if self.chance(8) {
            self.faults.count(Fault::Delay);
            self.roll(2500)
        } else if self.is_calm() {
            1
        } else {
            self.roll(20)
        };
        Duration::from_millis(millis.into())
    }
}

/// A connection to the server through bad weather.
pub(super) struct Network {
    inner: Arc<MemoryClient>,
    machine: Arc<Machine>,
    weather: Arc<Weather>,
}

type Call<T> = Arc<
    dyn Fn(Arc<MemoryClient>) -> Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>
        + Send
        + Sync,
>;

impl Network {
    pub(super) fn new(
        server: &Memory,
        machine: &Arc<Machine>,
        weather: &Arc<Weather>,
    ) -> Arc<Self> {
        let (inner, machine) = (Arc::new(server.client()), machine.clone());
        Arc::new(Self { inner, machine, weather: weather.clone() })
    }

    /// A request is a packet on its way: once sent it arrives, or not, or
    /// twice, whatever becomes of its sender.
    #[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
    async fn send<T: Send + 'static>(&self, call: Call<T>) -> Result<T, Error> {
        let weather = self.weather.clone();
        let faults = weather.faults.clone();
        if weather.chance(4) {
            faults.count(Fault::Duplicate);
            let (inner, call, weather) = (self.inner.clone(), call.clone(), weather.clone());
            tokio::spawn(async move {
                weather.truth.sleep(weather.way() + weather.way()).await;
                if !weather.down.load(Ordering::SeqCst) {
                    drop(call(inner).await);
                }
            });
        }
        if weather.chance(2) {
            // The worst moment to stop: the answer comes while nobody looks.
            let pause = Duration::from_millis(weather.roll(3000).into());
            tokio::spawn(pause_process(weather.clone(), self.machine.clone(), pause));
        }
        let (reply, answer) = oneshot::channel();
        let inner = self.inner.clone();
        tokio::spawn(async move {
            weather.truth.sleep(weather.way()).await;
            if weather.chance(4) {
                faults.count(Fault::RequestLost);
                return hang_or_fail(&weather, reply, Outcome::Unknown).await;
            }
            if weather.down.load(Ordering::SeqCst) {
                faults.count(Fault::Refused);
                return hang_or_fail(&weather, reply, Outcome::NotHeld).await;
            }
            let result = call(inner).await;
            if weather.chance(4) {
                faults.count(Fault::ReplyLost);
                return hang_or_fail(&weather, reply, Outcome::Unknown).await;
            }
            weather.truth.sleep(weather.way()).await;
            drop(reply.send(result));
        });
        match answer.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Stop a process for a while, as SIGSTOP and SIGCONT do.
pub(super) async fn pause_process(weather: Arc<Weather>, machine: Arc<Machine>, pause: Duration) {
    weather.faults.count(Fault::Pause);
    machine.stop();
    weather.truth.sleep(pause).await;
    machine.go_on();
}

/// A lost message shows as a broken connection, or not at all.
async fn hang_or_fail<T>(
    weather: &Weather,
    reply: oneshot::Sender<Result<T, Error>>,
    outcome: Outcome,
) {
    if weather.chance(50) {
        weather.truth.sleep(weather.way()).await;
        let error = Error::new(Kind::Unavailable, "the connection broke").with_outcome(outcome);
        drop(reply.send(Err(error)));
    }
}

#[async_trait]
impl Backend for Network {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        let claim = claim.clone();
        let ledger = self.weather.ledger.clone();
        self.send(Arc::new(move |inner| {
            let (claim, ledger) = (claim.clone(), ledger.clone());
            Box::pin(async move {
                let answer = inner.claim(&claim).await?;
                ledger.answered(&claim, answer);
                Ok(answer)
            })
        }))
        .await
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.weather.ledger.renewing(leases);
        let leases = leases.to_vec();
        self.send(Arc::new(move |inner| {
            let leases = leases.clone();
            Box::pin(async move { inner.renew(&leases).await })
        }))
        .await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        let (held, then) = (held.clone(), then.cloned());
        self.send(Arc::new(move |inner| {
            let (held, then) = (held.clone(), then.clone());
            Box::pin(async move { inner.release(&held, then.as_ref()).await })
        }))
        .await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        let withdrawn = claim.clone();
        let answer = self.send(Arc::new(move |inner| {
            let claim = withdrawn.clone();
            Box::pin(async move { inner.withdraw(&claim).await })
        }));
        answer.await.inspect(|()| self.weather.ledger.withdrawn(claim.owner))
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        self.inner.evict(name).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        self.inner.inspect(name).await
    }

    async fn wake(&self) -> Wake {
        loop {
            let wake = self.inner.wake().await;
            if !self.weather.chance(10) {
                self.weather.truth.sleep(self.weather.way()).await;
                return wake;
            }
            self.weather.faults.count(Fault::WakeLost);
        }
    }

    fn describe(&self) -> &str {
        "memory: in bad weather"
    }
}
