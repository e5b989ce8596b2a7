//! A thread for renewals alone: they must not stop the client's own thread when
//! the disk hangs, or nobody would hear that a lease is lost; and nothing that
//! can wait may stand before them.

use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

use super::file::Failure;
use super::store::Store;
use crate::error::{Error, Outcome};
use crate::time::{Clock, SystemClock};

type Job = Box<dyn FnOnce(&Store) + Send>;

/// The thread and its own connection to the database. It ends with the value.
pub(super) struct Lane {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

impl Lane {
    pub(super) fn start(store: Store) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("leasehold-sqlite".into())
            .spawn(move || queue.into_iter().for_each(|job| job(&store)))
            .map_err(|e| Error::unavailable("could not start the database's thread").because(e))?;
        Ok(Self { jobs: Mutex::new(Some(jobs)) })
    }

    /// Close the connection, after what was asked before.
    pub(super) fn end(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Run `work` after what was asked before. Not run if nobody waits for the
    /// answer any more when its turn comes.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, answer) = oneshot::channel();
        let job: Job = Box::new(move |store| {
            if !tell.is_closed() {
                drop(tell.send(eagerly(|| work(store))));
            }
        });
        let ended = || Error::unavailable("the database's thread has ended");
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        jobs.and_then(|jobs| jobs.send(job).ok()).ok_or_else(ended)?;
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(failure.into()),
            Err(_) => Err(ended().with_outcome(Outcome::Unknown)),
        }
    }
}

/// Repeat `work` while others are in their transactions. It asks much more often
/// than SQLite itself would, whose pauses let others pass for 100 ms at a time.
pub(super) fn eagerly<T>(mut work: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let started = SystemClock.now();
    let mut pause = Duration::from_micros(20);
    loop {
        match work() {
            Err(Failure::Busy) if SystemClock.now().since(started) < PATIENCE => {
                #[allow(clippy::disallowed_methods)] // a thread of its own, and real files
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}
