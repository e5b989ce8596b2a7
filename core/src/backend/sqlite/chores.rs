//! What may take long and can wait: reading everything, and seeing to it that
//! neither the log nor the table grows for ever. On a thread that lives as long as
//! there is something to do, with a connection for each piece of work.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::file::Failure;
use super::store::Store;
use super::world::World;
use crate::error::Error;

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct Chores {
    world: Arc<World>,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_running: bool,
}

impl Chores {
    pub(super) fn of(world: Arc<World>) -> Self {
        Self { world, queue: Arc::default() }
    }

    /// Run `work` after what was asked before.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, answer) = oneshot::channel();
        let world = self.world.clone();
        let job = move || {
            if !tell.is_closed() {
                drop(tell.send(Store::for_chores(world).and_then(|store| work(&store))));
            }
        };
        self.push(Box::new(job))?;
        match answer.await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Error::unavailable("the database's thread has ended")),
        }
    }

    /// Run `work` some time; nobody waits for it. Not if the client is gone by then,
    /// or no thread is to be had.
    pub(super) fn later(&self, work: impl FnOnce(&Store) + Send + 'static) {
        let world = Arc::downgrade(&self.world);
        let job = move || {
            if let Some(Ok(store)) = world.upgrade().map(Store::for_chores) {
                work(&store);
            }
        };
        drop(self.push(Box::new(job)));
    }

    fn push(&self, job: Job) -> Result<(), Error> {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        if queue.is_running {
            return Ok(());
        }
        let jobs = self.queue.clone();
        let thread = std::thread::Builder::new().name("leasehold-chores".into());
        match thread.spawn(move || run_all(&jobs)) {
            Ok(_) => queue.is_running = true,
            Err(e) => {
                queue.jobs.clear();
                let message = "could not start a thread for the database";
                return Err(Error::unavailable(message).because(e));
            }
        }
        Ok(())
    }
}

fn run_all(queue: &Mutex<Queue>) {
    loop {
        let mut waiting = lock(queue);
        let Some(job) = waiting.jobs.pop_front() else {
            waiting.is_running = false;
            return;
        };
        drop(waiting);
        // A panic is told to who waits for the answer; the others go on.
        drop(catch_unwind(AssertUnwindSafe(job)));
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use crate::backend::{Answer, Backend, Claim, Held, Mode, Renewal, Sqlite};
    use crate::name::{LockName, Owner};
    use crate::runtime::{Runtime, ThreadRuntime};

    #[tokio::test]
    async fn a_renewal_does_not_wait_for_a_chore() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = ThreadRuntime::start().unwrap();
        let clock = runtime.clone();
        let sqlite = Sqlite::open(&dir.path().join("locks.db"), runtime).await.unwrap();
        let (name, owner) = (LockName::new("x").unwrap(), Owner::from_bits(1));
        let ttl = Duration::from_secs(60);
        let claim = Claim {
            name: name.clone(),
            owner,
            ttl,
            delay: Duration::ZERO,
            mode: Mode::Exclusive,
            label: "".into(),
            place: None,
            renewed: true,
        };
        let Answer::Granted { fence, .. } = sqlite.claim(&claim).await.unwrap() else {
            panic!("it is free")
        };
        let (go_on, wait) = mpsc::channel::<()>();
        let (tell, started) = mpsc::channel();
        // As long as a checkpoint on a disk that hangs.
        sqlite.chores.later(move |_| {
            tell.send(()).unwrap();
            let _ = wait.recv();
        });
        started.recv().unwrap();
        let held = [Held { name, owner, mode: Mode::Exclusive, fence, ttl, renewed: true }];
        let renewal = tokio::select! {
            renewal = sqlite.renew(&held) => renewal.unwrap(),
            () = clock.sleep(ttl / 2) => panic!("it waits for the chore"),
        };
        assert_eq!(renewal, [Renewal::Kept]);
        drop(go_on);
    }
}
