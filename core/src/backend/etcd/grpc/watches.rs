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
use super::words::range;
use crate::backend::etcd::cluster::{Change, Keys, News};
use crate::backend::etcd::proof;

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
    change: Change,
    /// The revision after which changes are to be told; zero: from its begin on.
    after: u64,
    /// The revision after which they are told, when that is known.
    begins: Option<i64>,
}

impl State {
    /// Whether we have ended it, so that what comes of it has crossed that.
    fn is_ended(&self, number: i64) -> bool {
        (1..=self.last).contains(&number) && !self.watches.contains_key(&number)
    }
}

fn strange(what: &str) -> String {
    proof::strange(what).to_string()
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
        let watch = Watch { key: key.to_owned(), change, after, begins: None };
        state.watches.insert(watch_id, watch);
        let filters = match change {
            Change::Written => vec![NO_DELETE],
            Change::Deleted | Change::DeletedUnder => vec![NO_PUT],
            Change::Any => Vec::new(),
        };
        let (key, range_end) = match change {
            Change::DeletedUnder => range(&Keys::Under(key.to_owned())),
            _ => range(&Keys::One(key.to_owned())),
        };
        let create = WatchCreateRequest { key, range_end, filters, watch_id };
        self.send(WatchUnion::Create(create));
    }

    pub(super) fn unwatch(&self, key: &str) {
        let mut state = self.state();
        if let Some(watch_id) = state.numbers.remove(key) {
            state.watches.remove(&watch_id);
            self.send(WatchUnion::Cancel(WatchCancelRequest { watch_id }));
        }
    }

    /// What a message of the stream means; an error ends the connection. Nothing
    /// is heard here but hints, and none that was not asked for.
    pub(super) fn understand(&self, message: WatchResponse) -> Result<Heard, String> {
        let mut state = self.state();
        let number = message.watch_id;
        if message.canceled && message.compact_revision == 0 && !state.is_ended(number) {
            return Err(format!("the member ended a watch: {}", message.cancel_reason));
        }
        if state.is_ended(number) {
            return Ok(Heard::default());
        }
        let Some(watch) = state.watches.get_mut(&number).filter(|_| !message.fragment) else {
            return Err(strange("it watches what it was not asked for"));
        };
        let key = watch.key.clone();
        if message.canceled {
            state.watches.remove(&number);
            state.numbers.remove(&key);
            let news = vec![News::Changed { key, value: String::new() }];
            return Ok(Heard { news, in_doubt: None });
        }
        let now = message.header.map_or(0, |header| header.revision);
        if message.created {
            return match (watch.begins, message.events.is_empty()) {
                (None, true) => {
                    watch.begins = Some(now);
                    if watch.after == 0 || now <= watch.after as i64 {
                        return Ok(Heard::default());
                    }
                    Ok(match watch.change {
                        Change::Written | Change::Deleted => {
                            Heard { news: Vec::new(), in_doubt: Some((key, watch.after)) }
                        }
                        // Whoever watches looks again, and this one goes on meanwhile.
                        Change::Any | Change::DeletedUnder => {
                            let news = vec![News::Changed { key, value: String::new() }];
                            Heard { news, in_doubt: None }
                        }
                    })
                }
                _ => Err(strange("a watch begins twice")),
            };
        }
        let Some(begins) = watch.begins else {
            return Err(strange("a watch tells before it begins"));
        };
        let change = watch.change;
        let mut news = Vec::with_capacity(message.events.len());
        for event in message.events {
            let kv = event.kv.unwrap_or_default();
            let (is_deletion, is_it) = (event.kind == DELETE, kv.key == key.as_bytes());
            let is_ours = match change {
                Change::Written => is_it && !is_deletion,
                Change::Deleted => is_it && is_deletion,
                Change::Any => is_it,
                Change::DeletedUnder => kv.key.starts_with(key.as_bytes()) && is_deletion,
            };
            if !is_ours || kv.mod_revision <= begins || kv.mod_revision > now {
                return Err(strange("a change of what is not watched"));
            }
            let value = String::from_utf8_lossy(&kv.value).into_owned();
            news.push(News::Changed { key: key.clone(), value });
        }
        drop(state);
        if change != Change::Written && !news.is_empty() {
            // There is no more to hear.
            news.truncate(1);
            self.unwatch(&key);
        }
        Ok(Heard { news, in_doubt: None })
    }

    fn send(&self, request: WatchUnion) {
        drop(self.requests.send(WatchRequest { request: Some(request) }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::{Event, KeyValue, ResponseHeader};
    use super::*;

    #[test]
    fn who_watches_for_more_than_a_deletion_looks_again_when_that_begins_late() {
        let (tell, _requests) = mpsc::unbounded_channel();
        let watches = Watches::new(tell);
        let header = || Some(ResponseHeader { revision: 8, ..Default::default() });
        let begins = |watch_id| WatchResponse {
            watch_id,
            header: header(),
            created: true,
            ..Default::default()
        };
        let changes = [Change::Any, Change::DeletedUnder];
        for (change, (key, watch_id)) in changes.into_iter().zip([("a", 1), ("b", 3)]) {
            watches.watch(key, change, 7);
            let heard = watches.understand(begins(watch_id)).unwrap();
            let changed = News::Changed { key: key.to_owned(), value: String::new() };
            assert_eq!((heard.news, heard.in_doubt), (vec![changed], None));
            let in_time = format!("{key} in time");
            watches.watch(&in_time, change, 8);
            assert!(watches.understand(begins(watch_id + 1)).unwrap().news.is_empty());
        }
        let kv = KeyValue { key: b"b/c".to_vec(), mod_revision: 9, ..Default::default() };
        let events = vec![Event { kind: DELETE, kv: Some(kv) }];
        let header = Some(ResponseHeader { revision: 9, ..Default::default() });
        let tells = WatchResponse { watch_id: 3, header, events, ..Default::default() };
        let changed = News::Changed { key: "b".to_owned(), value: String::new() };
        assert_eq!(watches.understand(tells).unwrap().news, [changed]);
    }

    #[test]
    fn a_watch_may_begin_at_the_last_of_all_revisions() {
        let (tell, _requests) = mpsc::unbounded_channel();
        let watches = Watches::new(tell);
        watches.watch("x", Change::Written, 0);
        let header = || Some(ResponseHeader { revision: i64::MAX, ..Default::default() });
        let begins =
            WatchResponse { watch_id: 1, header: header(), created: true, ..Default::default() };
        assert!(watches.understand(begins).is_ok());
        let kv = KeyValue { key: b"x".to_vec(), mod_revision: i64::MAX, ..Default::default() };
        let events = vec![Event { kv: Some(kv), ..Default::default() }];
        let tells = WatchResponse { watch_id: 1, header: header(), events, ..Default::default() };
        assert!(watches.understand(tells).is_err(), "it has changed before");
    }
}
