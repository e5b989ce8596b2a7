//! What is done now and then, besides what is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::rows::Seen;
use super::store::Store;
use super::table::named;
use super::text::list;
use crate::error::Error;

/// How often the table is looked through for what is old,
const REQUESTS_PER_LOOK: u32 = 1000;
/// and how many rows at once.
const ROWS: usize = 500;

pub(super) struct Chores {
    store: Arc<Store>,
    requests: AtomicU32,
    round: Arc<Round>,
}

#[derive(Default)]
struct Round {
    is_under_way: AtomicBool,
    /// Up to which name old rows were looked for.
    swept_to: std::sync::Mutex<String>,
}

impl Chores {
    pub(super) fn of(store: Arc<Store>) -> Self {
        Self { store, requests: AtomicU32::new(0), round: Arc::default() }
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
        let (store, round) = (Arc::downgrade(&self.store), self.round.clone());
        self.store.runtime.spawn(Box::pin(async move {
            if let Some(store) = store.upgrade() {
                // Failing costs space, not safety; it is done again.
                drop(forget(&store, &round).await);
            }
            round.is_under_way.store(false, Ordering::Relaxed);
        }));
    }
}

async fn forget(store: &Store, round: &Round) -> Result<(), Error> {
    let swept_to = || round.swept_to.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let after = std::mem::take(&mut *swept_to());
    let session = store.session().await?;
    let sql = &store.table.sql;
    let values = [("after", named(&after)), ("limit", ROWS.to_string())];
    let mut rows = store.read_rows(&session, &sql.read_old, &values).await?;
    if rows.len() == ROWS
        && let Some(last) = rows.last()
    {
        swept_to().clone_from(&last.name);
    }
    rows.retain_mut(|seen| {
        seen.record.expire(seen.now.instant);
        seen.record.is_forgettable(seen.now.wall_micros)
    });
    let Some(fence) = rows.iter().map(|seen| seen.record.fence).max() else { return Ok(()) };
    let pair =
        |seen: &Seen| format!("({}, {})", named(&seen.name), seen.version.unwrap_or_default());
    let values = [
        ("fence", fence.to_string()),
        ("names", list(rows.iter().map(|seen| named(&seen.name)))),
        ("pairs", list(rows.iter().map(pair))),
    ];
    session.ask(&sql.forget, &values).await?;
    Ok(())
}
