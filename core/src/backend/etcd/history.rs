//! The cluster's history, which only ever goes on, and whose answers are answers
//! to what was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cluster::{Cluster, Done, Failure, Txn};
use super::proof;
use crate::error::{Error, Kind, Outcome};

pub(super) struct History {
    cluster: Arc<dyn Cluster>,
    /// The newest revision that was seen.
    newest: AtomicU64,
}

impl History {
    pub(super) fn of(cluster: Arc<dyn Cluster>) -> Self {
        Self { cluster, newest: AtomicU64::new(0) }
    }

    /// Carry out a transaction by which a lock may be granted or kept, and see
    /// that it comes after all that was seen before it was sent. An error may come
    /// too late to keep it from being carried out.
    pub(super) async fn txn(&self, txn: &Txn) -> Result<Done, Failure> {
        let newest = self.newest.load(Ordering::Acquire);
        let done = self.ask(txn).await?;
        if done.revision < newest {
            let message = format!(
                "the cluster is at revision {} and was at {newest} before: it has lost data, or \
                 was restored from a backup. Leases may be forgotten, and fences would go back",
                done.revision
            );
            let error = Error::new(Kind::Refused, message);
            return Err(error.with_outcome(Outcome::Unknown).into());
        }
        self.newest.fetch_max(done.revision, Ordering::AcqRel);
        Ok(done)
    }

    /// Carry out a transaction that grants and keeps nothing.
    pub(super) async fn ask(&self, txn: &Txn) -> Result<Done, Failure> {
        let done = self.cluster.txn(txn).await?;
        proof::check(txn, &done).inspect_err(|e| self.cluster.distrust(&e.to_string()))?;
        Ok(done)
    }
}
