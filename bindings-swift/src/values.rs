//! What crosses to Swift: errors, options and times. A time is a count of nanoseconds,
//! which Swift has clamped to what can be counted.

use std::time::Duration;

use leasehold::{Error, Kind};

/// An error of the core.
#[derive(uniffi::Record)]
pub struct Failure {
    pub code: String,
    pub outcome: String,
    pub lock: Option<String>,
    pub message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            code: error.code().to_owned(),
            outcome: error.outcome().code().to_owned(),
            lock: error.lock().map(str::to_owned),
            message: error.to_string(),
        }
    }
}

#[derive(uniffi::Record)]
pub struct Status {
    pub name: String,
    pub fence: u64,
    pub holders: Vec<Holder>,
    pub waiters: Vec<String>,
}

#[derive(uniffi::Record)]
pub struct Holder {
    pub label: String,
    pub held_for: i64,
    pub free_in: i64,
    pub mode: String,
    pub slot: Option<u32>,
    pub fence: u64,
    pub resting: bool,
}

impl From<leasehold::Status> for Status {
    fn from(status: leasehold::Status) -> Self {
        let holders = status.holders.iter().map(|holder| Holder {
            label: holder.label.to_string(),
            held_for: nanos(holder.held_for),
            free_in: nanos(holder.free_in),
            mode: holder.mode.name().to_owned(),
            slot: holder.permit(),
            fence: holder.fence,
            resting: holder.resting,
        });
        let holders = holders.collect();
        let waiters = status.waiters.iter().map(|label| label.to_string()).collect();
        Self { name: status.name.to_string(), fence: status.fence, holders, waiters }
    }
}

#[derive(uniffi::Record)]
pub struct Deadlock {
    pub waits: Vec<Wait>,
}

#[derive(uniffi::Record)]
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

#[derive(uniffi::Record)]
pub struct Event {
    pub lock: String,
    pub fence: u64,
    pub what: String,
    pub reason: Option<String>,
    pub text: String,
}

impl From<leasehold::Event> for Event {
    fn from(event: leasehold::Event) -> Self {
        Self {
            lock: event.lock.to_string(),
            fence: event.fence,
            what: event.what.code().to_owned(),
            reason: event.what.reason().map(str::to_owned),
            text: event.to_string(),
        }
    }
}

#[derive(uniffi::Record)]
pub struct Leader {
    pub value: String,
    pub term: u64,
    pub label: String,
    pub held_for: i64,
    pub free_in: i64,
}

impl From<leasehold::Leader> for Leader {
    fn from(leader: leasehold::Leader) -> Self {
        Self {
            value: leader.value,
            term: leader.term,
            label: leader.label.to_string(),
            held_for: nanos(leader.held_for),
            free_in: nanos(leader.free_in),
        }
    }
}

/// The options of a client, a lock or an election.
#[derive(Clone, uniffi::Record)]
pub struct Settings {
    pub ttl: Option<i64>,
    pub delay: Option<i64>,
    pub wait: Option<i64>,
    pub max_hold: Option<i64>,
    pub auto_renew: Option<bool>,
    pub shared: Option<bool>,
    pub permits: Option<u32>,
    pub label: Option<String>,
    pub min_hold: Option<i64>,
    pub value: Option<String>,
}

/// Set the options that were given, of those that there are here.
macro_rules! with {
    ($to:expr, $settings:expr, $($option:ident),*) => {{
        let (mut to, settings) = ($to, $settings);
        if let Some(ttl) = settings.ttl { to = to.ttl($crate::values::span("ttl", ttl)?); }
        if let Some(delay) = settings.delay { to = to.delay($crate::values::span("delay", delay)?); }
        if let Some(wait) = settings.wait { to = to.wait($crate::values::span("wait", wait)?); }
        if let Some(most) = settings.max_hold {
            to = to.max_hold($crate::values::span("max_hold", most)?);
        }
        $(if let Some($option) = settings.$option { to = to.$option($option); })*
        to
    }};
}
pub(crate) use with;

/// A time that was given.
pub(crate) fn span(what: &str, nanos: i64) -> Result<Duration, Error> {
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| {
        let size = Duration::from_nanos(nanos.unsigned_abs());
        Error::new(Kind::Invalid, format!("{what} is a time from 0 on, not -{size:?}"))
    })
}

pub(crate) fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}
