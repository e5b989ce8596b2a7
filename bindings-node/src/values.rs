//! What crosses to JavaScript: answers, errors and options.

use std::time::Duration;

use leasehold::Error;
use napi::bindgen_prelude::Either9;
use napi_derive::napi;

use crate::client::{Client, Lease};

/// What a call answers; nothing is null.
pub(crate) type Value =
    Either9<bool, String, Vec<Status>, Lease, Client, Event, Skipped, Leader, Vec<Deadlock>>;
pub(crate) type Answer = Result<Option<Value>, Error>;

/// An error of the core. Its class is defined in JavaScript.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Failure {
    pub code: &'static str,
    pub message: String,
    pub outcome: &'static str,
    pub lock: Option<String>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let outcome = error.outcome().code();
        let lock = error.lock().map(str::to_owned);
        Self { code: error.code(), message: error.to_string(), outcome, lock }
    }
}

/// What came of one call.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Settled {
    pub id: i64,
    pub failure: Option<Failure>,
    pub value: Option<Value>,
}

impl Settled {
    pub(crate) fn new(id: i64, answer: Answer) -> Self {
        match answer {
            Ok(value) => Self { id, failure: None, value },
            Err(error) => Self { id, failure: Some(error.into()), value: None },
        }
    }
}

#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Status {
    pub name: String,
    pub fence: u64,
    pub holder: Option<Holder>,
    pub holders: Vec<Holder>,
    pub waiters: Vec<String>,
}

#[napi(object, object_from_js = false, use_nullable = true)]
#[derive(Clone)]
pub struct Holder {
    pub label: String,
    pub held_for: f64,
    pub free_in: f64,
    pub mode: &'static str,
    pub slot: Option<u32>,
    pub fence: u64,
    pub resting: bool,
}

impl From<&leasehold::Holder> for Holder {
    fn from(holder: &leasehold::Holder) -> Self {
        Self {
            label: holder.label.to_string(),
            held_for: millis(holder.held_for),
            free_in: millis(holder.free_in),
            mode: holder.mode.name(),
            slot: holder.permit(),
            fence: holder.fence,
            resting: holder.resting,
        }
    }
}

impl From<leasehold::Status> for Status {
    fn from(status: leasehold::Status) -> Self {
        let holders: Vec<Holder> = status.holders.iter().map(Into::into).collect();
        let (holder, name) = (holders.first().cloned(), status.name.to_string());
        let waiters = status.waiters.iter().map(|label| label.to_string()).collect();
        Self { name, fence: status.fence, holder, holders, waiters }
    }
}

#[napi(object, object_from_js = false)]
pub struct Deadlock {
    pub waits: Vec<Wait>,
}

#[napi(object, object_from_js = false)]
pub struct Wait {
    pub lock: String,
    pub waiter: String,
    pub holder: String,
}

impl From<leasehold::Deadlock> for Deadlock {
    fn from(deadlock: leasehold::Deadlock) -> Self {
        let waits = deadlock.waits.iter().map(|wait| {
            let (waiter, holder) = (wait.waiter.to_string(), wait.holder.to_string());
            Wait { lock: wait.lock.to_string(), waiter, holder }
        });
        Self { waits: waits.collect() }
    }
}

/// Of one of several leases.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Fence {
    pub name: String,
    pub fence: u64,
    pub key: Option<String>,
    pub slot: Option<u32>,
}

#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Event {
    pub lock: String,
    pub fence: u64,
    pub what: &'static str,
    pub reason: Option<&'static str>,
    pub text: String,
}

impl From<&leasehold::Event> for Event {
    fn from(event: &leasehold::Event) -> Self {
        let (lock, text, what) = (event.lock.to_string(), event.to_string(), &event.what);
        Self { lock, fence: event.fence, what: what.code(), reason: what.reason(), text }
    }
}

#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Leader {
    pub value: String,
    pub term: u64,
    pub label: String,
    pub held_for: f64,
    pub free_in: f64,
}

impl From<leasehold::Leader> for Leader {
    fn from(leader: leasehold::Leader) -> Self {
        let (held_for, free_in) = (millis(leader.held_for), millis(leader.free_in));
        let (value, label) = (leader.value, leader.label.to_string());
        Self { value, term: leader.term, label, held_for, free_in }
    }
}

/// The options of a client, a lock or an election, which JavaScript has checked: times are
/// milliseconds, none below zero.
#[napi(object, object_to_js = false)]
pub struct Settings {
    pub ttl: Option<f64>,
    pub delay: Option<f64>,
    pub wait: Option<f64>,
    pub max_hold: Option<f64>,
    pub auto_renew: Option<bool>,
    pub shared: Option<bool>,
    pub permits: Option<i64>,
    pub label: Option<String>,
    pub min_hold: Option<f64>,
    pub value: Option<String>,
}

/// Those of work that is done once.
#[napi(object, object_to_js = false)]
pub struct OnceSettings {
    pub every: Option<f64>,
    pub slot: Option<String>,
    pub ttl: Option<f64>,
    pub delay: Option<f64>,
    pub max_hold: Option<f64>,
    pub label: Option<String>,
}

/// Why work was skipped, and when to try again.
#[napi(object, object_from_js = false)]
pub struct Skipped {
    pub why: &'static str,
    pub next_in: f64,
}

/// Set the options that were given, of those that there are here.
macro_rules! with {
    ($to:expr, $settings:expr, $($option:ident),*) => {{
        let (mut to, settings) = ($to, $settings);
        if let Some(ttl) = settings.ttl { to = to.ttl($crate::values::span(ttl)); }
        if let Some(delay) = settings.delay { to = to.delay($crate::values::span(delay)); }
        if let Some(wait) = settings.wait { to = to.wait($crate::values::span(wait)); }
        if let Some(most) = settings.max_hold { to = to.max_hold($crate::values::span(most)); }
        $(if let Some($option) = settings.$option { to = to.$option($option); })*
        to
    }};
}
pub(crate) use with;

/// More than can be counted is for ever.
pub(crate) fn span(millis: f64) -> Duration {
    Duration::try_from_secs_f64(millis / 1000.0).unwrap_or(Duration::MAX)
}

pub(crate) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
