//! What a client needs from the world besides its backend: time, timers,
//! randomness, and a thread of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

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

/// The default [`Runtime`]: the machine's clock and randomness, one thread.
///
/// The thread ends when the last handle is dropped; what was spawned before
/// and holds a handle is finished first.
#[derive(Debug)]
pub struct ThreadRuntime {
    handle: Handle,
    // Dropping it ends the thread.
    _alive: oneshot::Sender<()>,
}

impl ThreadRuntime {
    /// Start the thread. Fails when the machine has no thread or no file
    /// descriptor to give.
    pub fn start() -> Result<Arc<Self>, Error> {
        let failed = |e: std::io::Error| {
            Error::unavailable("could not start the client's thread").because(e)
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (alive, gone) = oneshot::channel::<()>();
        // The thread's, once there is one: to drop it panics inside of another.
        let runtime = Arc::new(Mutex::new(Some(runtime)));
        let take = |runtime: &Mutex<Option<tokio::runtime::Runtime>>| {
            runtime.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        let started = std::thread::Builder::new().name("leasehold".into()).spawn({
            let runtime = runtime.clone();
            move || take(&runtime).map(|runtime| runtime.block_on(async { drop(gone.await) }))
        });
        if let Err(error) = started {
            take(&runtime).into_iter().for_each(tokio::runtime::Runtime::shutdown_background);
            return Err(failed(error));
        }
        Ok(Arc::new(Self { handle, _alive: alive }))
    }
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
        let _here = self.handle.enter();
        Box::pin(tokio::time::sleep(span))
    }

    fn spawn(&self, task: BoxFuture) {
        self.handle.spawn(task);
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
