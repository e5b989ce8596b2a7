//! Virtual time, and clients whose clocks drift and whose processes stop.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leasehold::runtime::{BoxFuture, Runtime};
use leasehold::time::{Clock, Instant};

/// The true time, that of Tokio's paused clock.
#[derive(Clone, Copy, Debug)]
pub struct TrueClock {
    start: tokio::time::Instant,
}

#[allow(clippy::disallowed_methods)] // virtual time: it stands until all is idle
impl TrueClock {
    /// Now, as time zero.
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        tokio::time::Instant::now().duration_since(self.start)
    }

    /// Wait for true time to pass.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

impl Clock for TrueClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(1_000_000_000) + self.elapsed()
    }

    fn wall_micros(&self) -> u64 {
        1_700_000_000_000_000 + self.elapsed().as_micros() as u64
    }
}

/// A server's clock: true, except that its wall clock drifts and jumps.
pub struct ServerClock {
    truth: TrueClock,
    /// Of its wall clock's seconds, how many a true second has.
    rate: f64,
    wall_offset: AtomicI64,
}

impl ServerClock {
    /// A wall clock that goes at `rate`, from the right time on.
    pub fn new(truth: TrueClock, rate: f64) -> Arc<Self> {
        Arc::new(Self { truth, rate, wall_offset: AtomicI64::new(0) })
    }

    /// Set the wall clock to this many microseconds off the truth.
    pub fn set(&self, micros: i64) {
        self.wall_offset.store(micros, Ordering::SeqCst);
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Instant {
        self.truth.now()
    }

    fn wall_micros(&self) -> u64 {
        let gained = self.truth.elapsed().as_micros() as f64 * (self.rate - 1.0);
        let offset = self.wall_offset.load(Ordering::SeqCst) + gained as i64;
        self.truth.wall_micros().saturating_add_signed(offset)
    }
}

/// One client's process: its clock, its randomness, and whether it runs.
pub struct Machine {
    truth: TrueClock,
    /// Of this machine's seconds, how many a true second has.
    rate: f64,
    /// How far its wall clock is ahead, in microseconds.
    wall_ahead: AtomicU64,
    random: Mutex<fastrand::Rng>,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    stopped: AtomicBool,
    polls: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl Machine {
    /// A machine whose clock goes at `rate`, and whose choices follow `seed`.
    pub fn new(truth: TrueClock, rate: f64, seed: u64) -> Arc<Self> {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        let wall_ahead = AtomicU64::new(0);
        Arc::new(Self { truth, rate, wall_ahead, random, gate: Arc::default() })
    }

    /// Set its wall clock so far ahead of the true time.
    pub fn set_ahead(&self, span: Duration) {
        self.wall_ahead.store(span.as_micros() as u64, Ordering::SeqCst);
    }

    /// Stop the process as SIGSTOP does; its clock goes on.
    pub fn stop(&self) {
        self.gate.stopped.store(true, Ordering::SeqCst);
    }

    /// Go on as SIGCONT lets it.
    pub fn go_on(&self) {
        self.gate.stopped.store(false, Ordering::SeqCst);
        let mut waiting = self.gate.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..).for_each(Waker::wake);
    }

    /// Whether it stands still.
    pub fn is_stopped(&self) -> bool {
        self.gate.stopped.load(Ordering::SeqCst)
    }

    /// `work`, as part of this process: it stands still while the process does.
    pub fn within<F: Future>(&self, work: F) -> Within<F> {
        Within { gate: self.gate.clone(), work: Box::pin(work) }
    }
}

impl Clock for Machine {
    fn now(&self) -> Instant {
        Instant::from_nanos(5_000_000_000) + self.truth.elapsed().mul_f64(self.rate)
    }

    fn wall_micros(&self) -> u64 {
        // It seeds no fence; etcd's clients write it down for people.
        self.truth.wall_micros() + self.wall_ahead.load(Ordering::SeqCst)
    }
}

impl Runtime for Machine {
    fn sleep(&self, span: Duration) -> BoxFuture {
        let truth = self.truth;
        let span = span.div_f64(self.rate);
        Box::pin(async move { truth.sleep(span).await })
    }

    #[allow(clippy::disallowed_methods)] // the simulation is one Tokio runtime
    fn spawn(&self, task: BoxFuture) {
        tokio::spawn(self.within(task));
    }

    fn random(&self) -> u128 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).u128(..)
    }
}

/// Far more than any history needs of one process.
const MAX_POLLS: u64 = 1_000_000;

/// See [`Machine::within`].
pub struct Within<F> {
    gate: Arc<Gate>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.gate.stopped.load(Ordering::SeqCst) {
            let mut waiting = self.gate.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let polls = self.gate.polls.fetch_add(1, Ordering::Relaxed);
        assert!(polls < MAX_POLLS, "a process does not come to rest: a loop without a pause");
        self.work.as_mut().poll(cx)
    }
}

/// Drops `work` at its `polls`-th await point; `None` if it got that far.
pub async fn cut_at<F: Future>(polls: u32, work: F) -> Option<F::Output> {
    let mut work = Box::pin(work);
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(cx).map(Some)
    })
    .await
}
