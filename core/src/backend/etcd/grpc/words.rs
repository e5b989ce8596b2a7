//! Transactions in etcd's words.

use super::messages::{
    ASCEND, BY_CREATION, CREATION, Compare, DESCEND, DeleteRangeRequest, EQUAL, KeyValue, LEASE,
    PutRequest, RangeRequest, RangeResponse, Request, RequestOp, Target, TxnRequest, TxnResponse,
};
use crate::backend::etcd::cluster::{
    Condition, Done, Entry, Found, Keys, Order, Read, SessionId, Step, Txn,
};

pub(super) fn request(txn: &Txn) -> TxnRequest {
    let steps = |steps: &[Step]| {
        let requests = steps.iter().map(|step| RequestOp { request: Some(step_request(step)) });
        requests.collect()
    };
    TxnRequest {
        compare: txn.conditions.iter().map(compare).collect(),
        success: steps(&txn.then),
        failure: steps(&txn.otherwise),
    }
}

pub(super) fn done(response: TxnResponse) -> Done {
    Done {
        met: response.succeeded,
        revision: response.header.map_or(0, |header| header.revision as u64),
        reads: response.responses.into_iter().filter_map(|op| op.range).map(found).collect(),
    }
}

/// The first key, and the end, which is empty for that key alone.
fn range(keys: &Keys) -> (Vec<u8>, Vec<u8>) {
    match keys {
        Keys::One(key) => (key.clone().into_bytes(), Vec::new()),
        Keys::Under(prefix) => {
            let mut end = prefix.clone().into_bytes();
            // No byte of UTF-8 is the last one.
            if let Some(last) = end.last_mut() {
                *last += 1;
            } else {
                end.push(0);
            }
            let start = if prefix.is_empty() { vec![0] } else { prefix.clone().into_bytes() };
            (start, end)
        }
    }
}

fn compare(condition: &Condition) -> Compare {
    let one = |key: &String| Keys::One(key.clone());
    let (keys, target, value) = match condition {
        // What does not exist counts as created at zero.
        Condition::Absent(keys) => (keys.clone(), CREATION, Target::CreateRevision(0)),
        Condition::Created(key, revision) => {
            (one(key), CREATION, Target::CreateRevision(*revision as i64))
        }
        Condition::Within(key, session) => (one(key), LEASE, Target::Lease(session.0)),
    };
    let (key, range_end) = range(&keys);
    Compare { result: EQUAL, target, key, target_union: Some(value), range_end }
}

fn step_request(step: &Step) -> Request {
    match step {
        Step::Put { key, value, session } => Request::Put(PutRequest {
            key: key.clone().into_bytes(),
            value: value.clone().into_bytes(),
            lease: session.map_or(0, |session| session.0),
        }),
        Step::Delete(key) => {
            Request::DeleteRange(DeleteRangeRequest { key: key.clone().into_bytes() })
        }
        Step::Read(read) => Request::Range(read_request(read)),
    }
}

fn read_request(read: &Read) -> RangeRequest {
    let (key, range_end) = range(&read.keys);
    RangeRequest {
        key,
        range_end,
        limit: read.limit.into(),
        sort_order: match read.order {
            Order::OldestFirst => ASCEND,
            Order::NewestFirst => DESCEND,
        },
        sort_target: BY_CREATION,
        // Zero is no bound; no key was created at the first revision.
        max_create_revision: read.before.map_or(0, |before| before.saturating_sub(1).max(1) as i64),
    }
}

fn found(response: RangeResponse) -> Found {
    let count = response.count as usize;
    Found { entries: response.kvs.into_iter().map(entry).collect(), count }
}

fn entry(kv: KeyValue) -> Entry {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Entry {
        key: text(kv.key),
        value: text(kv.value),
        created: kv.create_revision as u64,
        session: (kv.lease != 0).then_some(SessionId(kv.lease)),
    }
}
