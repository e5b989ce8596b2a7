//! One scenario while it is played.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::actor::{Actor, Line, listen};
use super::answer::{Said, check};
use super::grants::{Grants, Kind};
use super::language::Pair;
use super::place::{Backend, Place, Servers, Way};
use super::script::Scenario;
use super::step::{Limit, Span, Step};
use crate::patience::{LIMIT, now, pause};

/// By how much a busy machine may be late beyond a ttl. Servers look for what is over
/// now and then, and the place of a waiter that died is kept for two seconds. Scenarios
/// whose locks must come free before their ttl have a ttl that is longer than this.
const SLACK: Duration = Duration::from_secs(20);

/// Between two looks at something that is to change.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Something that was asked and may not have been answered yet.
#[derive(Clone)]
struct Call {
    actor: String,
    number: u64,
    step: Step,
    sent: Instant,
}

pub(super) struct Stage<'a> {
    scenario: &'a Scenario,
    pair: Pair,
    rust: &'a Path,
    /// Before the name of every lock, so that scenarios do not meet.
    prefix: String,
    actors: BTreeMap<&'static str, (Actor, Way)>,
    calls: BTreeMap<String, Call>,
    grants: Grants,
    /// By who has given them.
    tickets: BTreeMap<String, String>,
    place: Place,
    /// Where the child of a fork calls.
    dir: TempDir,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        pair: Pair,
        backend: Backend,
        servers: Arc<Servers>,
        rust: &'a Path,
    ) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let place = Place::new(backend, servers, scenario.cuts());
        let prefix = format!("s{}-", NUMBER.fetch_add(1, Ordering::Relaxed));
        let (actors, calls, grants, tickets) = Default::default();
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let mut stage =
            Self { scenario, pair, rust, prefix, actors, calls, grants, tickets, place, dir };
        for name in scenario.actors().filter(|name| !scenario.is_child(name)) {
            let way = stage.place.way();
            let actor = Actor::start(pair.of(name).command(rust)?)?;
            stage.actors.insert(name, (actor, way));
        }
        for name in stage.actors.keys().copied().collect::<Vec<_>>() {
            stage
                .request(&Step::of(name, "connect"))
                .map_err(|e| format!("start of {name}: {e}"))?;
        }
        Ok(stage)
    }

    /// From the first step to the last.
    pub(super) fn play(&mut self) -> Result<(), String> {
        let scenario = self.scenario;
        for (number, step) in scenario.steps.iter().enumerate() {
            self.take(step).map_err(|e| {
                let calls = self.answered();
                format!("step {}, {} {}: {e}{calls}", number + 1, step.object, step.verb)
            })?;
        }
        Ok(())
    }

    /// What has been answered and nobody has asked for yet, for people to read.
    fn answered(&self) -> String {
        let answers = self.calls.iter().filter_map(|(name, call)| {
            let (actor, _) = self.actors.get(call.actor.as_str())?;
            let line = actor.answer(call.number, now()).ok()?;
            Some(format!("; {name:?} was answered by {:?}", line.said))
        });
        answers.collect()
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        let object = step.object.as_str();
        match step.verb.as_str() {
            "kill" => {
                self.actor(object)?.kill();
                self.grants.end(object, None);
            }
            "stop" => self.actor(object)?.stop(),
            "cont" => {
                self.actor(object)?.cont();
                self.check_overtaken()?;
            }
            "cut" => self.place.set_cut(&self.actors[object].1, true),
            "mend" => self.place.set_cut(&self.actors[object].1, false),
            "forget" => {
                self.place.forget(&format!("{}{object}", self.prefix))?;
                self.grants.break_lock(object);
            }
            "pass" => pause(Span::try_from(object.to_owned())?.0),
            "join" => self.join(step)?,
            "pending" => {
                let call = self.call(object)?;
                if self.actors[call.actor.as_str()].0.has_answered(call.number) {
                    return Err("it has been answered".to_owned());
                }
            }
            "cancel" => self.cancel(step)?,
            "finish" => {
                let call = self.call(object)?;
                let finish = json!({"do": "finish", "call": call.number, "raise": step.raise});
                self.actor(&call.actor)?.ask(finish)?;
                self.join(step)?;
            }
            "end" => {
                self.actor(object)?.end()?;
                self.grants.end(object, None);
            }
            "fork" => self.fork(step)?,
            _ => self.request(step)?,
        }
        Ok(())
    }

    fn actor(&mut self, name: &str) -> Result<&mut Actor, String> {
        let actor = self.actors.get_mut(name).map(|(actor, _)| actor);
        actor.ok_or_else(|| format!("there is no {name:?}"))
    }

    fn call(&self, name: &str) -> Result<Call, String> {
        self.calls.get(name).cloned().ok_or_else(|| format!("nothing was started as {name:?}"))
    }

    /// Ask an actor, and wait for its answer unless it is to be waited for later.
    fn request(&mut self, step: &Step) -> Result<(), String> {
        if step.verb == "connect" && !self.actor(&step.object)?.is_there() {
            let again = Actor::start(self.pair.of(&step.object).command(self.rust)?)?;
            *self.actor(&step.object)? = again;
        }
        let end = now() + self.limit(step);
        loop {
            let call = self.send(step)?;
            if let Some(name) = &step.start {
                self.calls.insert(name.clone(), call);
                return Ok(());
            }
            let line = self.actor(&call.actor)?.answer(call.number, end)?;
            match self.heard(&call, step, &line) {
                // What only looks may look again.
                Err(_) if step.within.is_some() && is_look(step) && now() < end => {
                    pause(BETWEEN_LOOKS);
                }
                done => return done,
            }
        }
    }

    fn send(&mut self, step: &Step) -> Result<Call, String> {
        let request = self.words(step);
        let (actor, sent) = (step.object.clone(), now());
        if step.verb == "break" {
            self.grants.break_lock(step.lock());
        }
        let number = self.actor(&actor)?.ask(request)?;
        Ok(Call { actor, number, step: step.clone(), sent })
    }

    fn words(&self, step: &Step) -> Value {
        let seconds = |span: Option<Span>| span.map(|span| span.0.as_secs_f64());
        let name = match (&step.name, step.name_length) {
            (Some(name), _) => name.clone(),
            (None, Some(length)) => format!("{:n<length$}", self.prefix),
            (None, None) => format!("{}{}", self.prefix, step.lock()),
        };
        let words = json!({
            "do": step.verb,
            "lock": name,
            "lease": step.lease(),
            "ttl": seconds(step.ttl),
            "wait": seconds(step.wait),
            "max_hold": seconds(step.max_hold),
            "auto_renew": step.auto_renew,
            "label": step.label,
            "shared": step.shared.then_some(true),
            "permits": step.permits,
            "every": seconds(step.every),
            "value": step.value,
            "ticket": step.ticket.as_ref().and_then(|giver| self.tickets.get(giver)),
            "url": step.url.as_ref().unwrap_or(&self.actors[step.object.as_str()].1.url),
        });
        let Value::Object(words) = words else { unreachable!("it is one") };
        words.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }

    fn join(&mut self, step: &Step) -> Result<(), String> {
        let call = self.call(&step.object)?;
        let end = now() + self.limit(step).max(self.limit(&call.step));
        let line = self.actor(&call.actor)?.answer(call.number, end)?;
        // Work that has begun will also end.
        if !matches!(line.said, Said::Began(_)) {
            self.calls.remove(&step.object);
        }
        self.heard(&call, step, &line)
    }

    fn cancel(&mut self, step: &Step) -> Result<(), String> {
        let call = self.call(&step.object)?;
        let actor = self.actor(&call.actor)?;
        actor.ask(json!({"do": "cancel", "call": call.number}))?;
        let line = actor.answer(call.number, now() + LIMIT)?;
        self.calls.remove(&step.object);
        match &line.said {
            Said::Error(failure) if failure.code == "cancelled" => {
                self.grants.end(&call.actor, Some(call.step.lease()));
                Ok(())
            }
            Said::Ok(_) if step.race => {
                self.heard(&call, &call.step, &line)?;
                let lease = Some(call.step.lease().to_owned());
                self.request(&Step { lease, ..Step::of(&call.actor, "drop") })
            }
            said => Err(format!("it was not cancelled: {said:?}")),
        }
    }

    fn fork(&mut self, step: &Step) -> Result<(), String> {
        let (listener, path) = listen(self.dir.path())?;
        let actor = self.actor(&step.object)?;
        let number = actor.ask(json!({"do": "fork", "path": path}))?;
        let line = actor.answer(number, now() + LIMIT)?;
        let pid = match &line.said {
            // The only answer that is a number of a process.
            Said::Ok(answer) => answer.pid.ok_or("the child has no number")?,
            said => return Err(format!("{said:?}")),
        };
        let child = Actor::forked(pid, &listener)?;
        let names = self.scenario.actors().find(|name| step.child.as_deref() == Some(name));
        let name = names.ok_or("the child has no name, or nothing to do")?;
        let way = self.place.way();
        self.actors.insert(name, (child, way));
        Ok(())
    }

    /// Compare an answer with what the step says, and apply the rules.
    fn heard(&mut self, call: &Call, step: &Step, line: &Line) -> Result<(), String> {
        let took = line.at.saturating_duration_since(call.sent);
        if step.after.is_some_and(|span| took < span.0) {
            return Err(format!("it came after {took:?}: {:?}", line.said));
        }
        let pid_of = |name: &str| self.actors.get(name).map_or(0, |(actor, _)| actor.pid());
        check(step, &line.said, &self.prefix, pid_of)?;
        let verb = call.step.verb.as_str();
        if let ("give", Said::Ok(answer)) = (verb, &line.said) {
            let ticket = answer.ticket.clone().ok_or("there is no ticket")?;
            self.tickets.insert(call.actor.clone(), ticket);
        }
        if matches!(verb, "release" | "drop" | "give") {
            self.grants.end(&call.actor, Some(call.step.lease()));
        }
        if verb == "close" {
            self.grants.end(&call.actor, None);
        }
        match (verb, &line.said) {
            ("acquire" | "try" | "adopt", Said::Ok(answer)) | ("work", Said::Began(answer)) => {
                match (&answer.lease, step.busy) {
                    (Some(lease), false) => self.granted(call, step, lease, line.at)?,
                    (None, true) => {}
                    (lease, _) => return Err(format!("it got {lease:?}")),
                }
            }
            // The block has ended, whichever way.
            ("work", _) => self.grants.end(&call.actor, Some(call.step.lease())),
            ("look", Said::Ok(answer)) => {
                let fence = answer.lease.as_ref().map(|lease| lease.fence);
                self.grants.of(&call.actor, call.step.lease()).map_or(Ok(()), |it| it.is(fence))?;
            }
            ("status", Said::Ok(answer)) => {
                let fence = answer.status.as_ref().map(|status| status.fence);
                let holder = step.holder.as_deref();
                let grant = holder.and_then(|name| self.grants.last_of(name, step.lock()));
                grant.map_or(Ok(()), |grant| grant.is(fence))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn granted(
        &mut self,
        call: &Call,
        step: &Step,
        lease: &super::answer::Lease,
        at: Instant,
    ) -> Result<(), String> {
        if let Some(other) = &step.above {
            let below = self.grants.last_of(other, call.step.lock());
            let below = below.ok_or("it was not granted it before")?;
            if lease.fence <= below.fence {
                return Err(format!("fence {} is not above {}", lease.fence, below.fence));
            }
        }
        if let Some(other) = &step.same {
            let other = self.grants.last_of(other, call.step.lock());
            other.ok_or("it was not granted it before")?.is(Some(lease.fence))?;
        }
        if call.step.name.is_none() {
            let (name, lock) = (call.step.lease(), call.step.lock());
            self.grants.add(&call.actor, name, lock, lease, kind_of(&call.step, lease), at)?;
        }
        if call.step.verb == "work" {
            // Only the block itself can look at its lease.
            self.grants.end(&call.actor, Some(call.step.lease()));
        }
        self.check_overtaken()
    }

    /// Nobody believes to hold a lock that somebody else was granted since.
    fn check_overtaken(&mut self) -> Result<(), String> {
        for grant in self.grants.overtaken() {
            if self.actor(&grant.actor)?.is_there() {
                let look =
                    Step { lease: Some(grant.lease.clone()), ..Step::of(&grant.actor, "look") };
                let look = Step { valid: Some(false), ..look };
                let two = |e| format!("{} has {} as well: {e}", grant.actor, grant.lease);
                self.request(&look).map_err(two)?;
            }
        }
        Ok(())
    }

    /// How long the answer to a step may take.
    fn limit(&self, step: &Step) -> Duration {
        let ttl = || self.grants.last_ttl().unwrap_or_default() + SLACK;
        match (step.within, step.verb.as_str()) {
            (Some(Limit::Span(span)), _) => span,
            (Some(Limit::Ttl), _) | (None, "lost") => ttl(),
            (None, _) => LIMIT,
        }
    }
}

fn kind_of(step: &Step, lease: &super::answer::Lease) -> Kind {
    match (step.verb.as_str(), lease.slot) {
        ("adopt", _) => Kind::Adopted,
        (_, Some(slot)) => Kind::Slot(slot),
        (_, None) if step.shared => Kind::Shared,
        (_, None) => Kind::Exclusive,
    }
}

fn is_look(step: &Step) -> bool {
    matches!(step.verb.as_str(), "look" | "status" | "list" | "leader")
}
