//! What a program answers, and whether it is what the step says.

use std::time::Duration;

use serde::Deserialize;

use super::step::Step;

/// A line of a program: that a piece of work has begun, what came of a call, or why it
/// failed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Began(Answer),
    Ok(Answer),
    Error(Failure),
}

/// What came of a call; each has its part.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Answer {
    pub(super) lease: Option<Lease>,
    pub(super) status: Option<Status>,
    why: Option<String>,
    locks: Option<Vec<String>>,
    was_held: Option<bool>,
    ran: Option<bool>,
    pub(super) ticket: Option<String>,
    /// What the leader shows; nothing if nobody leads.
    value: Option<String>,
    /// The number of a forked child.
    pub(super) pid: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lease {
    pub(super) fence: u64,
    /// In seconds, as all times.
    pub(super) ttl: f64,
    remaining: f64,
    pub(super) valid: bool,
    lost: Option<String>,
    key: Option<String>,
    pub(super) slot: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Status {
    pub(super) fence: u64,
    /// The label of the holder, host and process id first.
    holder: Option<String>,
    waiters: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    pub(super) code: String,
    outcome: Option<String>,
    #[serde(rename = "message")]
    _message: String,
}

/// Compare what was said with what the step says; `pid_of` knows the actors.
pub(super) fn check(
    step: &Step,
    said: &Said,
    prefix: &str,
    pid_of: impl Fn(&str) -> u32,
) -> Result<(), String> {
    let answer = match (said, &step.fails) {
        (Said::Error(failure), Some(code)) if failure.code == *code => {
            return same("outcome", &step.outcome, &failure.outcome);
        }
        (Said::Error(failure), None) => return Err(format!("it failed: {failure:?}")),
        (said, Some(code)) => return Err(format!("not {code:?} but {said:?}")),
        (Said::Ok(answer) | Said::Began(answer), None) => answer,
    };
    if let Some(lease) = &answer.lease {
        check_lease(step, lease)?;
    }
    if step.verb == "status" {
        check_status(step, answer.status.as_ref(), &pid_of)?;
    }
    if let Some(locks) = &step.locks {
        let ours = answer.locks.iter().flatten().filter_map(|lock| lock.strip_prefix(prefix));
        let mut ours: Vec<String> = ours.map(str::to_owned).collect();
        ours.sort();
        same("locks", &Some(locks.clone()), &Some(ours))?;
    }
    if step.verb == "leader" {
        let value = answer.value.clone().unwrap_or("nobody".to_owned());
        same("value", &step.value, &Some(value))?;
    }
    same("why", &step.why, &answer.why)?;
    same("ran", &step.ran, &answer.ran)?;
    same("was_held", &step.was_held, &answer.was_held)
}

fn check_lease(step: &Step, lease: &Lease) -> Result<(), String> {
    let lost = lease.lost.clone().unwrap_or("no".to_owned());
    let why = |e| format!("{e} (lost: {lost}, {}s of {}s remain)", lease.remaining, lease.ttl);
    same("valid", &step.valid, &Some(lease.valid)).map_err(why)?;
    same("has_key", &step.has_key, &Some(lease.key.is_some()))?;
    same("slot", &step.slot, &lease.slot)?;
    same("lost", &step.lost, &Some(lost))?;
    let remaining = Duration::from_secs_f64(lease.remaining);
    if step.remaining_above.is_some_and(|span| remaining <= span.0)
        || step.remaining_below.is_some_and(|span| remaining >= span.0)
    {
        return Err(format!("{remaining:?} remain"));
    }
    // What a backend cannot count is raised, never lowered.
    let ttl = Duration::from_secs_f64(lease.ttl);
    let asked = step.lasts.or(step.ttl);
    match asked.is_some_and(|asked| ttl < asked.0 || ttl > asked.0 + Duration::from_secs(2)) {
        true => Err(format!("its ttl is {ttl:?}")),
        false => Ok(()),
    }
}

fn check_status(
    step: &Step,
    status: Option<&Status>,
    pid_of: impl Fn(&str) -> u32,
) -> Result<(), String> {
    let holder = status.and_then(|status| status.holder.as_deref());
    let is_of = |label: &str, actor: &str| {
        let words = label.split_once(' ').map_or(label, |(who, _)| who);
        words.ends_with(&format!(":{}", pid_of(actor)))
    };
    match (step.holder.as_deref(), holder) {
        (Some("nobody"), Some(label)) => return Err(format!("{label:?} holds it")),
        (Some("nobody"), None) | (None, _) => {}
        (Some(actor), Some(label)) if is_of(label, actor) => {}
        (Some(actor), holder) => return Err(format!("{holder:?} holds it, not {actor}")),
    }
    if let Some(text) = &step.label
        && !holder.is_some_and(|label| label.ends_with(&format!(" {text}")))
    {
        return Err(format!("the holder is shown as {holder:?}"));
    }
    let Some(expected) = &step.waiters else { return Ok(()) };
    let waiters = status.map(|status| status.waiters.clone()).unwrap_or_default();
    let are_they = expected.len() == waiters.len()
        && expected.iter().zip(&waiters).all(|(actor, label)| is_of(label, actor));
    if are_they { Ok(()) } else { Err(format!("{waiters:?} wait")) }
}

/// What is not said in the step may be anything.
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &Option<T>,
    seen: &Option<T>,
) -> Result<(), String> {
    match expected.is_none() || expected == seen {
        true => Ok(()),
        false => Err(format!("{what} is {seen:?} and not {expected:?}")),
    }
}
