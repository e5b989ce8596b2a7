//! Clients and waiters in tests that are written from top to bottom.
#![allow(clippy::unwrap_used, missing_docs)] // for tests; the names say it

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::{Client, Error, Lease, Lock};
use tokio::task::JoinHandle;

use crate::patience::{LIMIT, now};

pub const SECOND: Duration = Duration::from_secs(1);

/// Only a ttl is this long: whatever happens sooner was not its end.
pub const LONG: Duration = Duration::from_secs(60);

/// Who waits, and then when they got it.
pub type Waiter = JoinHandle<Result<(Lease, Instant), Error>>;

/// Where the work of a test is done.
pub struct Scene {
    clock: Arc<ThreadRuntime>,
    tasks: tokio::runtime::Runtime,
}

impl Scene {
    #[allow(clippy::new_without_default)] // it starts threads
    pub fn new() -> Self {
        let mut tasks = tokio::runtime::Builder::new_multi_thread();
        let tasks = tasks.worker_threads(2).enable_all().build().unwrap();
        Self { clock: ThreadRuntime::start().unwrap(), tasks }
    }

    #[track_caller]
    pub fn client_of(&self, url: &str) -> Client {
        self.wait(leasehold::connect(url)).unwrap()
    }

    /// Why no client comes of this URL.
    #[track_caller]
    pub fn no_client_of(&self, url: &str) -> Error {
        self.wait(leasehold::connect(url)).unwrap_err()
    }

    /// Wait here, while what was spawned goes on elsewhere.
    #[track_caller]
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let done = self.tasks.block_on(async {
            tokio::select! {
                biased;
                done = work => Some(done),
                () = self.clock.sleep(LIMIT) => None,
            }
        });
        // Not in a closure, which would not tell where.
        match done {
            Some(done) => done,
            None => panic!("waited in vain"),
        }
    }

    /// Do it elsewhere.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(work)
    }

    /// Let time pass, where that is what the test is about.
    pub fn pass(&self, span: Duration) {
        self.tasks.block_on(self.clock.sleep(span));
    }

    /// The clock of the machine, for work that is spawned.
    pub fn clock(&self) -> Arc<ThreadRuntime> {
        self.clock.clone()
    }

    /// With a ttl that no test outlasts.
    #[track_caller]
    pub fn hold(&self, client: &Client, name: &str) -> Lease {
        self.wait(client.lock(name).ttl(LONG).acquire()).unwrap()
    }

    #[track_caller]
    pub fn try_hold(&self, client: &Client, name: &str) -> Option<Lease> {
        self.wait(client.lock(name).ttl(LONG).try_acquire()).unwrap()
    }

    /// Wait for a lock elsewhere.
    pub fn queue(&self, lock: Lock) -> Waiter {
        self.spawn(async move { lock.acquire().await.map(|lease| (lease, now())) })
    }

    #[track_caller]
    pub fn granted(&self, waiter: Waiter) -> (Lease, Instant) {
        self.wait(waiter).unwrap().unwrap()
    }

    /// Release it, and answer who got it next and how long that took.
    #[track_caller]
    pub fn hand_over(&self, lease: Lease, waiter: Waiter) -> (Lease, Duration) {
        let released = now();
        self.wait(lease.release()).unwrap();
        let (next, at) = self.granted(waiter);
        assert!(next.fence() > lease.fence());
        (next, at.saturating_duration_since(released))
    }
}
