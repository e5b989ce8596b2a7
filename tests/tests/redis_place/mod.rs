//! A server, clients of it, and tests that are written from top to bottom.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses its part, and these are tests

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::{Client, Error, Lease, Lock};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::servers::{Server, Settings};
use tokio::task::JoinHandle;

pub(crate) mod records;
pub(crate) mod requests;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Only a ttl is this long: whatever happens sooner was not its end.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Far below the 600 ms after which a waiter looks again by itself, so that
/// whatever took less came by a message.
pub(crate) const PROMPT: Duration = Duration::from_millis(300);

/// Who waits, and then when they got it.
pub(crate) type Waiter = JoinHandle<Result<(Lease, Instant), Error>>;

pub(crate) struct Place {
    pub(crate) server: Server,
    clock: Arc<ThreadRuntime>,
    tasks: tokio::runtime::Runtime,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::on(Settings::default())
    }

    pub(crate) fn on(settings: Settings) -> Self {
        let mut tasks = tokio::runtime::Builder::new_multi_thread();
        let tasks = tasks.worker_threads(2).enable_all().build().unwrap();
        Self { server: settings.start(), clock: ThreadRuntime::start().unwrap(), tasks }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_of(&self.server.url())
    }

    #[track_caller]
    pub(crate) fn client_of(&self, url: &str) -> Client {
        self.wait(leasehold::connect(url)).unwrap()
    }

    /// Why no client comes of this URL.
    #[track_caller]
    pub(crate) fn no_client_of(&self, url: &str) -> Error {
        self.wait(leasehold::connect(url)).unwrap_err()
    }

    /// Wait here, while what was spawned goes on elsewhere.
    #[track_caller]
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let done = self.tasks.block_on(async {
            tokio::select! {
                biased;
                done = work => Some(done),
                () = self.clock.sleep(LIMIT) => None,
            }
        });
        done.unwrap_or_else(|| panic!("waited in vain"))
    }

    /// Do it elsewhere.
    pub(crate) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(work)
    }

    /// Let time pass, where that is what the test is about.
    pub(crate) fn pass(&self, span: Duration) {
        self.tasks.block_on(self.clock.sleep(span));
    }

    /// The clock of the machine, for work that is spawned.
    pub(crate) fn clock(&self) -> Arc<ThreadRuntime> {
        self.clock.clone()
    }

    /// With a ttl that no test outlasts.
    #[track_caller]
    pub(crate) fn hold(&self, client: &Client, name: &str) -> Lease {
        self.wait(client.lock(name).ttl(LONG).acquire()).unwrap()
    }

    #[track_caller]
    pub(crate) fn try_hold(&self, client: &Client, name: &str) -> Option<Lease> {
        self.wait(client.lock(name).ttl(LONG).try_acquire()).unwrap()
    }

    /// Wait for a lock elsewhere.
    pub(crate) fn queue(&self, lock: Lock) -> Waiter {
        self.spawn(async move { lock.acquire().await.map(|lease| (lease, now())) })
    }

    /// Wait for a lock elsewhere, and return when the server knows of it.
    #[track_caller]
    pub(crate) fn stand_in_line(&self, client: &Client, name: &str) -> Waiter {
        let before = self.line(name);
        let waiter = self.queue(client.lock(name).ttl(LONG));
        let stands = until(LIMIT, || (self.line(name) > before).then_some(()));
        stands.expect("a place in the line");
        waiter
    }

    /// How many stand in the server's line for a plain name.
    pub(crate) fn line(&self, name: &str) -> i64 {
        let line = format!("{{leasehold:{name}}}:leasehold:line");
        self.server.command(&["ZCARD", &line]).as_int().unwrap()
    }

    #[track_caller]
    pub(crate) fn granted(&self, waiter: Waiter) -> (Lease, Instant) {
        self.wait(waiter).unwrap().unwrap()
    }

    /// Release it, and answer who got it next and how long that took.
    #[track_caller]
    pub(crate) fn hand_over(&self, lease: Lease, waiter: Waiter) -> (Lease, Duration) {
        let released = now();
        self.wait(lease.release()).unwrap();
        let (next, at) = self.granted(waiter);
        assert!(next.fence() > lease.fence());
        (next, at.saturating_duration_since(released))
    }

    /// How many connections clients of ours have now.
    pub(crate) fn connections(&self) -> usize {
        let list = self.server.command(&["CLIENT", "LIST"]);
        list.as_str().unwrap().lines().filter(|line| !line.contains("user=rig")).count()
    }

    /// Every script is known to the server afterwards, so that what comes next
    /// is one command for one request.
    #[track_caller]
    pub(crate) fn warm_up(&self, client: &Client) {
        let lease = self.hold(client, "warm up");
        self.wait(lease.renew()).unwrap();
        // It is cancelled in the line, and so withdrawn.
        let other = self.client();
        self.stand_in_line(&other, "warm up").abort();
        let left = until(LIMIT, || (self.line("warm up") == 0).then_some(()));
        left.expect("withdrawn");
        self.wait(lease.release()).unwrap();
    }
}
