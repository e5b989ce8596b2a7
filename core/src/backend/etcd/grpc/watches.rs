//! What a client watches: one stream for all of it.
//!
//! Watches begin now, and never in the past: those that do etcd serves ten times
//! a second only. What changed before a watch began has to be looked at.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::messages::{
    DELETE, NO_DELETE, NO_PUT, WatchCancelRequest, WatchCreateRequest, WatchRequest, WatchResponse,
    WatchUnion,
};
use crate::backend::etcd::cluster::{Change, News};

/// What a message of the stream says.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) news: Vec<News>,
    /// This key, as it was at this revision, may have been deleted before its
    /// watch began.
    pub(super) in_doubt: Option<(String, u64)>,
}

/// The watches of one connection.
pub(super) struct Watches {
    requests: mpsc::UnboundedSender<WatchRequest>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: i64,
    /// The numbers of the watches by key.
    numbers: HashMap<String, i64>,
    watches: HashMap<i64, Watch>,
}

struct Watch {
    key: String,
    /// The revision after which changes are to be told; zero: from its begin on.
    after: u64,
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
        state.watches.insert(watch_id, Watch { key: key.to_owned(), after });
        let unwanted = match change {
            Change::Written => NO_DELETE,
            Change::Deleted => NO_PUT,
        };
        let create =
            WatchCreateRequest { key: key.as_bytes().to_vec(), filters: vec![unwanted], watch_id };
        self.send(WatchUnion::Create(create));
    }

    pub(super) fn unwatch(&self, key: &str) {
        let mut state = self.state();
        if let Some(watch_id) = state.numbers.remove(key) {
            state.watches.remove(&watch_id);
            self.send(WatchUnion::Cancel(WatchCancelRequest { watch_id }));
        }
    }

    /// What a message of the stream means; an error ends the connection.
    pub(super) fn understand(&self, message: WatchResponse) -> Result<Heard, String> {
        let mut state = self.state();
        // Else it was we who ended it.
        let Some(watch) = state.watches.get(&message.watch_id) else { return Ok(Heard::default()) };
        let key = watch.key.clone();
        if message.canceled {
            state.watches.remove(&message.watch_id);
            state.numbers.remove(&key);
            return match message.compact_revision {
                0 => Err(format!("the member ended a watch: {}", message.cancel_reason)),
                _ => {
                    let news = vec![News::Changed { key, value: String::new() }];
                    Ok(Heard { news, in_doubt: None })
                }
            };
        }
        let begins = message.header.map_or(0, |header| header.revision as u64);
        if message.created {
            let after = watch.after;
            let is_late = after > 0 && begins > after;
            return Ok(Heard { news: Vec::new(), in_doubt: is_late.then_some((key, after)) });
        }
        drop(state);
        if message.events.iter().any(|event| event.kind == DELETE) {
            // There is no more to hear.
            self.unwatch(&key);
        }
        let news = message.events.into_iter().filter_map(|event| {
            let value = String::from_utf8_lossy(&event.kv?.value).into_owned();
            Some(News::Changed { key: key.clone(), value })
        });
        Ok(Heard { news: news.collect(), in_doubt: None })
    }

    fn send(&self, request: WatchUnion) {
        drop(self.requests.send(WatchRequest { request: Some(request) }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
