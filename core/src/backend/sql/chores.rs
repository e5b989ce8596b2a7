//! What is done now and then, besides what is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::locks::session;
use super::{Rows, Which};
use crate::error::Error;

/// How often the table is looked through for what is old,
const REQUESTS_PER_LOOK: u32 = 1000;
/// and how many rows at once.
const ROWS: usize = 500;

pub(super) struct Chores<R> {
    rows: Arc<R>,
    requests: AtomicU32,
    round: Arc<Round>,
}

#[derive(Default)]
struct Round {
    is_under_way: AtomicBool,
    /// Up to which name old rows were looked for.
    swept_to: std::sync::Mutex<String>,
}

impl<R: Rows> Chores<R> {
    pub(super) fn of(rows: Arc<R>) -> Self {
        Self { rows, requests: AtomicU32::new(0), round: Arc::default() }
    }

    pub(super) fn count_request(&self) {
        if self.requests.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_PER_LOOK {
            self.requests.store(0, Ordering::Relaxed);
            self.forget_old();
        }
    }

    /// Drop the rows that nobody has used for a day, among the next few by name: never much
    /// work at once, however large the table is.
    pub(super) fn forget_old(&self) {
        if self.round.is_under_way.swap(true, Ordering::Relaxed) {
            return;
        }
        let (rows, round) = (Arc::downgrade(&self.rows), self.round.clone());
        self.rows.runtime().spawn(Box::pin(async move {
            if let Some(rows) = rows.upgrade() {
                // Failing costs space, not safety; it is done again.
                drop(forget(&*rows, &round).await);
            }
            round.is_under_way.store(false, Ordering::Relaxed);
        }));
    }
}

async fn forget<R: Rows>(rows: &R, round: &Round) -> Result<(), Error> {
    let swept_to = || round.swept_to.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let after = std::mem::take(&mut *swept_to());
    let session = session(rows).await?;
    let mut seen = rows.read_many(&session, Which::After(&after, ROWS)).await?;
    if seen.len() == ROWS
        && let Some(last) = seen.last()
    {
        swept_to().clone_from(&last.name);
    }
    seen.retain_mut(|seen| {
        seen.record.expire(seen.now.instant);
        seen.record.is_forgettable(seen.now.wall_micros)
    });
    if !seen.is_empty() {
        rows.forget(&session, &seen).await?;
    }
    Ok(())
}
