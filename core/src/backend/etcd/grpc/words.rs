//! Transactions in etcd's words.

use super::messages::{
    ASCEND, BY_CREATION, BY_VERSION, CREATION, Compare, DESCEND, DeleteRangeRequest, EQUAL,
    GREATER, KeyValue, LEASE, LESS, MODIFICATION, PutRequest, RangeRequest, RangeResponse, Request,
    RequestOp, Response, Target, TxnRequest, TxnResponse, VERSION,
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

/// What the answer to a transaction says: one answer to each of its steps, of the
/// kind that belongs to it. `None`: it is none.
pub(super) fn done(txn: &Txn, response: TxnResponse) -> Option<Done> {
    let revision = u64::try_from(response.header?.revision).ok()?;
    let met = response.succeeded;
    let steps = if met { &txn.then } else { &txn.otherwise };
    if steps.len() != response.responses.len() {
        return None;
    }
    let mut done = Done { met, revision, ..Done::default() };
    for (step, op) in steps.iter().zip(response.responses) {
        match (step, op.response?) {
            (Step::Put { .. }, Response::Put(_)) => {}
            (Step::Delete(_), Response::DeleteRange(gone)) => {
                let is_told = gone.deleted == gone.prev_kvs.len() as i64 && gone.deleted <= 1;
                let gone = is_told.then_some(gone.prev_kvs)?.into_iter().next();
                done.deleted.push(match gone {
                    Some(kv) => Some(entry(kv, revision)?),
                    None => None,
                });
            }
            (Step::Read(_), Response::Range(range)) => done.reads.push(found(range, revision)?),
            _ => return None,
        }
    }
    Some(done)
}

/// The first key, and the end, which is empty for that key alone.
pub(super) fn range(keys: &Keys) -> (Vec<u8>, Vec<u8>) {
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
        Keys::Between(first, end) => (first.clone().into_bytes(), end.clone().into_bytes()),
    }
}

fn compare(condition: &Condition) -> Compare {
    let one = |key: &String| Keys::One(key.clone());
    let created = |revision: u64| Target::CreateRevision(revision as i64);
    let (keys, result, value) = match condition {
        // What does not exist counts as created at zero.
        Condition::Absent(keys) => (keys.clone(), EQUAL, created(0)),
        Condition::Created(key, revision) => (one(key), EQUAL, created(*revision)),
        Condition::Within(key, session) => (one(key), EQUAL, Target::Lease(session.0)),
        // So none of them is not before any revision, and not after one.
        Condition::NoneBefore(keys, revision) => {
            (keys.clone(), GREATER, created(revision.saturating_sub(1)))
        }
        Condition::NoneAfter(start, revision) => {
            (Keys::Under(start.clone()), LESS, created(revision + 1))
        }
        Condition::Quiet(keys, revision) => {
            (keys.clone(), LESS, Target::ModRevision(*revision as i64 + 1))
        }
        Condition::Once(keys) => (keys.clone(), LESS, Target::Version(2)),
    };
    let target = match value {
        Target::Version(_) => VERSION,
        Target::CreateRevision(_) => CREATION,
        Target::ModRevision(_) => MODIFICATION,
        Target::Lease(_) => LEASE,
    };
    let (key, range_end) = range(&keys);
    Compare { result, target, key, target_union: Some(value), range_end }
}

fn step_request(step: &Step) -> Request {
    match step {
        Step::Put { key, value, session } => Request::Put(PutRequest {
            key: key.clone().into_bytes(),
            value: value.clone().into_bytes(),
            lease: session.map_or(0, |session| session.0),
        }),
        Step::Delete(key) => {
            let key = key.clone().into_bytes();
            Request::DeleteRange(DeleteRangeRequest { key, prev_kv: true })
        }
        Step::Read(read) => Request::Range(read_request(read)),
    }
}

fn read_request(read: &Read) -> RangeRequest {
    let (key, range_end) = range(&read.keys);
    let (sort_order, sort_target) = match read.order {
        Order::OldestFirst => (ASCEND, BY_CREATION),
        Order::NewestFirst => (DESCEND, BY_CREATION),
        Order::MostWrittenFirst => (DESCEND, BY_VERSION),
    };
    RangeRequest {
        key,
        range_end,
        limit: read.limit.into(),
        sort_order,
        sort_target,
        // Zero is no bound; no key was created at the first revision.
        max_create_revision: read.before.map_or(0, |before| before.saturating_sub(1).max(1) as i64),
    }
}

fn found(response: RangeResponse, revision: u64) -> Option<Found> {
    let count = usize::try_from(response.count).ok()?;
    let entries: Option<Vec<Entry>> =
        response.kvs.into_iter().map(|kv| entry(kv, revision)).collect();
    Some(Found { entries: entries?, count })
}

fn entry(kv: KeyValue, revision: u64) -> Option<Entry> {
    let created = u64::try_from(kv.create_revision).ok()?;
    let written = u64::try_from(kv.mod_revision).ok()?;
    let writes = u64::try_from(kv.version).ok()?;
    // A value may be anybody's, and of any bytes.
    let value = String::from_utf8_lossy(&kv.value).into_owned();
    let session = (kv.lease != 0).then_some(SessionId(kv.lease));
    let key = String::from_utf8_lossy(&kv.key).into_owned();
    let is_credible = created <= written && written <= revision;
    is_credible.then_some(Entry { key, value, created, written, writes, session })
}
