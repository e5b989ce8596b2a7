//! What a client watches: one stream for all of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::messages::{
    DELETE, NO_DELETE, NO_PUT, WatchCancelRequest, WatchCreateRequest, WatchRequest, WatchResponse,
    WatchUnion,
};
use crate::backend::etcd::cluster::{Change, News};

/// The watches of one connection.
pub(super) struct Watches {
    requests: mpsc::UnboundedSender<WatchRequest>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: i64,
    /// The numbers of the watches by key, and the other way round.
    numbers: HashMap<String, i64>,
    keys: HashMap<i64, String>,
}

impl Watches {
    pub(super) fn new(requests: mpsc::UnboundedSender<WatchRequest>) -> Self {
        Self { requests, state: Mutex::default() }
    }

    pub(super) fn watch(&self, key: &str, change: Change, after: u64) {
        let mut state = self.state();
        if state.numbers.contains_key(key) {
            return;
        }
        state.last += 1;
        let watch_id = state.last;
        state.numbers.insert(key.to_owned(), watch_id);
        state.keys.insert(watch_id, key.to_owned());
        let unwanted = match change {
            Change::Written => NO_DELETE,
            Change::Deleted => NO_PUT,
        };
        let create = WatchCreateRequest {
            key: key.as_bytes().to_vec(),
            // Zero: from now on.
            start_revision: if after == 0 { 0 } else { after as i64 + 1 },
            filters: vec![unwanted],
            watch_id,
        };
        self.send(WatchUnion::Create(create));
    }

    pub(super) fn unwatch(&self, key: &str) {
        let mut state = self.state();
        if let Some(watch_id) = state.numbers.remove(key) {
            state.keys.remove(&watch_id);
            self.send(WatchUnion::Cancel(WatchCancelRequest { watch_id }));
        }
    }

    /// What a message of the stream means; an error ends the connection.
    pub(super) fn understand(&self, message: WatchResponse) -> Result<Vec<News>, String> {
        let mut state = self.state();
        if message.canceled {
            let known = state.keys.remove(&message.watch_id);
            return match known {
                // It was we who did that.
                None => Ok(Vec::new()),
                Some(key) if message.compact_revision > 0 => {
                    state.numbers.remove(&key);
                    Ok(vec![News::Changed { key, value: String::new() }])
                }
                Some(_) => Err(format!("the member ended a watch: {}", message.cancel_reason)),
            };
        }
        let Some(key) = state.keys.get(&message.watch_id).cloned() else { return Ok(Vec::new()) };
        drop(state);
        if message.events.iter().any(|event| event.kind == DELETE) {
            // There is no more to hear.
            self.unwatch(&key);
        }
        let news = message.events.into_iter().filter_map(|event| {
            let value = String::from_utf8_lossy(&event.kv?.value).into_owned();
            Some(News::Changed { key: key.clone(), value })
        });
        Ok(news.collect())
    }

    fn send(&self, request: WatchUnion) {
        drop(self.requests.send(WatchRequest { request: Some(request) }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
