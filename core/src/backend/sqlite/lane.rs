//! A thread for what may take long: renewals must not stop the client's own
//! thread when the disk hangs, or nobody would hear that a lease is lost.

use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::file::Failure;
use super::store::Store;
use crate::error::{Error, Outcome};

type Job = Box<dyn FnOnce(&Store) + Send>;

/// The thread and its own connection to the database. It ends with the value.
pub(super) struct Lane {
    jobs: mpsc::Sender<Job>,
}

impl Lane {
    pub(super) fn start(store: Store) -> Result<Self, Error> {
        store.wait_up_to(Duration::from_secs(1))?;
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("leasehold-sqlite".into())
            .spawn(move || queue.into_iter().for_each(|job| job(&store)))
            .map_err(|e| Error::unavailable("could not start the database's thread").because(e))?;
        Ok(Self { jobs })
    }

    /// Run `work` after what was asked before. Not run if nobody waits for the
    /// answer any more when its turn comes.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, answer) = oneshot::channel();
        let job: Job = Box::new(move |store| {
            if !tell.is_closed() {
                drop(tell.send(work(store)));
            }
        });
        let gone =
            || Error::unavailable("the database's thread has ended").with_outcome(Outcome::Unknown);
        self.jobs.send(job).map_err(|_| gone())?;
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(failure.into()),
            Err(_) => Err(gone()),
        }
    }

    /// Run `work` some time; nobody waits for it.
    pub(super) fn later(&self, work: impl FnOnce(&Store) + Send + 'static) {
        drop(self.jobs.send(Box::new(work)));
    }
}
