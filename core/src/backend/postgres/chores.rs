//! What is done now and then, besides what is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio_postgres::types::Type;

use super::store::Store;
use crate::error::Error;

/// How often the table is looked through for what is old,
const REQUESTS_PER_LOOK: u32 = 1000;
/// and how many rows at once.
const ROWS: i64 = 500;

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
    let sql = &store.table.sql;
    let mut rows =
        store.read_rows(&sql.read_old, &[(&after, Type::TEXT), (&ROWS, Type::INT8)]).await?;
    if rows.len() == ROWS as usize
        && let Some((last, _)) = rows.last()
    {
        last.as_str().clone_into(&mut swept_to());
    }
    rows.retain_mut(|(_, seen)| {
        seen.record.expire(seen.now.instant);
        seen.record.is_forgettable(seen.now.wall_micros)
    });
    if rows.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    let versions: Vec<Option<i64>> = rows.iter().map(|(_, seen)| seen.version).collect();
    let parameters = [(&names as _, Type::TEXT_ARRAY), (&versions as _, Type::INT8_ARRAY)];
    let session = store.requests.session().await?;
    session.ask(&sql.forget, &parameters).await?;
    Ok(())
}
