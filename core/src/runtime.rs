//! What a client needs from the world besides its backend: time, timers,
//! randomness, and a thread of its own.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::error::Error;
use crate::time::{Clock, Instant, SystemClock};

/// A boxed future, as [`Runtime`] hands them out and takes them.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Time and effects, passed in per client.
///
/// The default runs on a thread of the client's own, so that a busy event loop
/// or an interpreter lock in the program cannot starve renewals, and so that
/// every future of this crate can be polled by any executor.
pub trait Runtime: Clock {
    /// A future that is ready `span` from now, on any executor.
    fn sleep(&self, span: Duration) -> BoxFuture;

    /// Run `task` to its end in the background.
    fn spawn(&self, task: BoxFuture);

    /// 128 random bits, unpredictable outside simulations.
    fn random(&self) -> u128;
}

/// How often each task has a turn when the thread is to end.
const LAST_TURNS: usize = 64;

/// The default [`Runtime`]: the machine's clock and randomness, one thread.
///
/// The thread ends when the last handle is dropped; what was spawned before
/// and holds a handle is finished first. Or it is [stopped](ThreadRuntime::stop).
#[derive(Debug)]
pub struct ThreadRuntime {
    /// Until it is stopped.
    alive: RwLock<Option<Alive>>,
    /// Whether timers must not be polled any more. Locked while they are.
    is_over: Arc<RwLock<bool>>,
    /// Closed when the thread has dropped everything that it had.
    ended: watch::Receiver<()>,
}

#[derive(Debug)]
struct Alive {
    /// It has descriptors of its own.
    handle: Handle,
    // Dropping it ends the thread.
    _end: oneshot::Sender<()>,
}

impl ThreadRuntime {
    /// Start the thread. Fails when the machine has no thread or no file
    /// descriptor to give.
    pub fn start() -> Result<Arc<Self>, Error> {
        let failed = |e: std::io::Error| {
            Error::unavailable("could not start the client's thread").because(e)
        };
        // Tokio panics where a signal's driver finds no descriptors, which whoever else uses
        // it in this process may have enabled, and then at every later attempt, too.
        spare_descriptors().map_err(failed)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (end, gone) = oneshot::channel::<()>();
        let (tell, ended) = watch::channel(());
        let is_over = Arc::new(RwLock::new(false));
        // The thread's, once there is one: to drop it panics inside of another.
        let runtime = Arc::new(Mutex::new(Some(runtime)));
        let take = |runtime: &Mutex<Option<tokio::runtime::Runtime>>| {
            runtime.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        let started = std::thread::Builder::new().name("leasehold".into()).spawn({
            let (runtime, is_over) = (runtime.clone(), is_over.clone());
            move || {
                let Some(runtime) = take(&runtime) else { return };
                runtime.block_on(async {
                    drop(gone.await);
                    // What was spawned just before may send what it has to.
                    for _ in 0..LAST_TURNS {
                        tokio::task::yield_now().await;
                    }
                });
                *is_over.write().unwrap_or_else(PoisonError::into_inner) = true;
                // What is dropped is what it had; a name that is looked up is not waited for.
                runtime.shutdown_background();
                drop(tell);
            }
        });
        if let Err(error) = started {
            take(&runtime).into_iter().for_each(tokio::runtime::Runtime::shutdown_background);
            return Err(failed(error));
        }
        let alive = RwLock::new(Some(Alive { handle, _end: end }));
        Ok(Arc::new(Self { alive, is_over, ended }))
    }

    /// End the thread, whoever has a handle: what was spawned is dropped where it
    /// stands, as is everything that is spawned later, and all timers are over.
    pub fn stop(&self) {
        let alive = self.alive.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(alive);
    }

    /// Whether it was [stopped](ThreadRuntime::stop).
    pub fn is_stopped(&self) -> bool {
        self.handle().is_none()
    }

    /// Ready when the thread has ended and what it had is dropped. Not to be waited
    /// for on that thread.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&self) {
        drop(self.ended.clone().changed().await);
    }

    /// Not used under the lock: what is spawned may be dropped there and then.
    fn handle(&self) -> Option<Handle> {
        let alive = self.alive.read().unwrap_or_else(PoisonError::into_inner);
        alive.as_ref().map(|alive| alive.handle.clone())
    }
}

/// Whether there are as many as a runtime needs.
fn spare_descriptors() -> std::io::Result<()> {
    let pairs = [(); 4].map(|()| std::os::unix::net::UnixStream::pair());
    pairs.into_iter().try_for_each(|pair| pair.map(drop))
}

impl Clock for ThreadRuntime {
    fn now(&self) -> Instant {
        SystemClock.now()
    }

    fn wall_micros(&self) -> u64 {
        SystemClock.wall_micros()
    }
}

impl Runtime for ThreadRuntime {
    #[allow(clippy::disallowed_methods)] // this is what the others go through
    fn sleep(&self, span: Duration) -> BoxFuture {
        let Some(handle) = self.handle() else {
            // Not at once: a task that waits between its attempts would never let the
            // thread end.
            let mut ended = self.ended.clone();
            return Box::pin(async move { drop(ended.changed().await) });
        };
        let _here = handle.enter();
        let (timer, is_over) = (tokio::time::sleep(span), self.is_over.clone());
        Box::pin(async move {
            let mut timer = pin!(timer);
            // Tokio's own panics when it is polled after the end of its runtime.
            let poll = poll_fn(|context| {
                let is_over = is_over.read().unwrap_or_else(PoisonError::into_inner);
                if *is_over { Poll::Ready(()) } else { timer.as_mut().poll(context) }
            });
            poll.await
        })
    }

    fn spawn(&self, task: BoxFuture) {
        if let Some(handle) = self.handle() {
            handle.spawn(task);
        }
    }

    #[allow(clippy::disallowed_methods)] // this is what the others go through
    fn random(&self) -> u128 {
        let mut bits = [0; 16];
        // The kernel's generator fails only on systems without one; then there
        // is no unique owner to be had, and no lock to be taken safely.
        getrandom::fill(&mut bits).expect("the operating system has a random generator");
        u128::from_ne_bytes(bits)
    }
}
