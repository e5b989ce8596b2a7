//! One line of a scenario: who does what, and what must come of it.

use std::time::Duration;

use serde::Deserialize;
use toml::Table;

/// The programs that a scenario may have.
pub(super) const ACTORS: [&str; 4] = ["a", "b", "c", "d"];

const PATIENCE: &str = " start within after";
const LOCK: &str = " lock name name_length ttl wait max_hold auto_renew label lease shared permits";
const LEASE: &str = " lease";
const FAILURE: &str = " fails outcome";
const GRANT: &str = " above same slot has_key lasts";
const LOOK: &str = " valid lost remaining_above remaining_below";

/// What an actor can be asked, with the words that may stand beside it.
const REQUESTS: &[(&str, &[&str])] = &[
    ("connect", &[" url ttl wait max_hold label", PATIENCE, FAILURE]),
    ("acquire", &[LOCK, GRANT, PATIENCE, FAILURE]),
    ("try", &[LOCK, GRANT, PATIENCE, FAILURE, " busy"]),
    ("work", &[LOCK, GRANT, " start within", FAILURE]),
    ("give", &[LEASE, FAILURE]),
    ("adopt", &[" ticket lock", LEASE, GRANT, FAILURE]),
    ("once", &[" lock every ran", FAILURE]),
    ("campaign", &[" lock ttl value", LEASE, PATIENCE, FAILURE]),
    ("resign", &[LEASE, FAILURE]),
    ("leader", &[" lock value within", FAILURE]),
    ("release", &[LEASE, PATIENCE, FAILURE]),
    ("renew", &[LEASE, PATIENCE, FAILURE]),
    ("drop", &[LEASE]),
    ("look", &[LEASE, LOOK, " within"]),
    ("lost", &[LEASE, PATIENCE, " why"]),
    ("status", &[" lock holder waiters label within", FAILURE]),
    ("list", &[" locks within", FAILURE]),
    ("break", &[" lock was_held", PATIENCE, FAILURE]),
    ("close", &[PATIENCE]),
    ("fork", &[" child"]),
];

/// What the runner does itself, to an actor, to a call that was started, or to nobody.
const DEEDS: &[(&str, &[&str])] = &[
    ("kill", &[""]),
    ("end", &[""]),
    ("stop", &[""]),
    ("cont", &[""]),
    ("cut", &[""]),
    ("mend", &[""]),
    ("forget", &[""]),
    ("pass", &[""]),
    ("join", &[" within after busy why was_held", GRANT, FAILURE]),
    ("pending", &[""]),
    ("cancel", &[" race"]),
    ("finish", &[" raise", FAILURE]),
];

/// A step, with everything that may stand in one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Step {
    /// What is asked or done.
    pub(super) verb: String,
    /// Who is asked; or the actor, call or time that a deed of the runner is about.
    pub(super) object: String,

    pub(super) lock: Option<String>,
    pub(super) name: Option<String>,
    pub(super) name_length: Option<usize>,
    pub(super) lease: Option<String>,
    pub(super) ttl: Option<Span>,
    pub(super) wait: Option<Span>,
    pub(super) max_hold: Option<Span>,
    pub(super) auto_renew: Option<bool>,
    pub(super) label: Option<String>,
    pub(super) shared: bool,
    pub(super) permits: Option<u32>,
    pub(super) every: Option<Span>,
    /// Shown by who leads; for who looks what is to be seen, or `nobody`.
    pub(super) value: Option<String>,
    /// Who has given it.
    pub(super) ticket: Option<String>,
    pub(super) url: Option<String>,
    pub(super) child: Option<String>,
    pub(super) raise: bool,

    /// Do not wait for it: it is called this from now on.
    pub(super) start: Option<String>,
    pub(super) within: Option<Limit>,
    pub(super) after: Option<Span>,
    /// It may be done before it is cancelled.
    pub(super) race: bool,

    pub(super) fails: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) busy: bool,
    pub(super) above: Option<String>,
    /// Whose fence it has.
    pub(super) same: Option<String>,
    pub(super) slot: Option<u32>,
    pub(super) ran: Option<bool>,
    pub(super) has_key: Option<bool>,
    pub(super) lasts: Option<Span>,
    pub(super) valid: Option<bool>,
    pub(super) lost: Option<String>,
    pub(super) remaining_above: Option<Span>,
    pub(super) remaining_below: Option<Span>,
    pub(super) why: Option<String>,
    pub(super) holder: Option<String>,
    pub(super) waiters: Option<Vec<String>>,
    pub(super) locks: Option<Vec<String>>,
    pub(super) was_held: Option<bool>,
}

impl Step {
    /// Read `{ a = "acquire", … }` or `{ kill = "a" }`; answers what is wrong with it.
    pub(super) fn read(mut table: Table) -> Result<Self, String> {
        let is_first = |word: &&String| {
            ACTORS.contains(&word.as_str()) || DEEDS.iter().any(|(deed, _)| deed == word)
        };
        let first: Vec<String> = table.keys().filter(is_first).cloned().collect();
        let [first] = &first[..] else {
            return Err(format!("one of {ACTORS:?} or one deed is to be named, not {first:?}"));
        };
        let second = match table.remove(first) {
            Some(toml::Value::String(second)) => second,
            other => return Err(format!("{first} is followed by a text, not {other:?}")),
        };
        let is_request = ACTORS.contains(&first.as_str());
        let (known, verb, object) = if is_request {
            (REQUESTS, second, first.clone())
        } else {
            (DEEDS, first.clone(), second)
        };
        let Some((_, words)) = known.iter().find(|(name, _)| *name == verb) else {
            let names: Vec<_> = known.iter().map(|(name, _)| name).collect();
            return Err(format!("nobody can {verb:?}; there are {names:?}"));
        };
        let is_known = |word: &str| words.iter().any(|some| some.split(' ').any(|w| w == word));
        if let Some(word) = table.keys().find(|word| !is_known(word)) {
            return Err(format!("{verb} has no {word:?}; there are{}", words.concat()));
        }
        let mut step: Self = table.try_into().map_err(|e| e.message().to_owned())?;
        (step.verb, step.object) = (verb, object);
        if step.verb == "pass" {
            Span::try_from(step.object.clone())?;
        }
        Ok(step)
    }

    /// An actor is asked for this, and nothing more is said.
    pub(super) fn of(actor: &str, verb: &str) -> Self {
        Self { verb: verb.to_owned(), object: actor.to_owned(), ..Self::default() }
    }

    /// The lock that it is about, as the scenario calls it.
    pub(super) fn lock(&self) -> &str {
        self.lock.as_deref().unwrap_or("x")
    }

    /// The lease that it takes or is about, as the scenario calls it: by its lock
    /// unless it is said otherwise.
    pub(super) fn lease(&self) -> &str {
        self.lease.as_deref().unwrap_or(self.lock())
    }
}

/// A time such as `500ms`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Duration);

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text).map(Self).map_err(|e| format!("{text:?}: {e}"))
    }
}

/// When something must have happened.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Limit {
    /// When the lease that was granted last must be over for everybody.
    Ttl,
    /// After this long.
    Span(Duration),
}

impl TryFrom<String> for Limit {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "ttl" { Ok(Self::Ttl) } else { Span::try_from(text).map(|s| Self::Span(s.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Step, String> {
        let table: Table = toml::from_str(&format!("step = {line}")).expect("TOML");
        Step::read(table["step"].as_table().expect("a table").clone())
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        assert!(read(r#"{ a = "acquire", ttl = "1s" }"#).is_ok());
        let wrong = [
            r#"{ a = "acquire", ttk = "1s" }"#,
            r#"{ a = "release", ttl = "1s" }"#,
            r#"{ a = "acquire", ttl = "soon" }"#,
            r#"{ a = "dance" }"#,
            r#"{ kill = "a", b = "acquire" }"#,
            r#"{ ttl = "1s" }"#,
            r#"{ pass = "a" }"#,
        ];
        for line in wrong {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
