//! The core has what `tests/api.toml` says that every language has, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leasehold::{Client, Error, Kind, Lease, Lock, LockName, Loss, Options, Outcome, Skip};
use leasehold_tests::scene::{SECOND, Scene};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Api {
    client: BTreeMap<String, Operation>,
    lock: BTreeMap<String, Operation>,
    once: BTreeMap<String, Operation>,
    lease: BTreeMap<String, Operation>,
    leases: BTreeMap<String, Operation>,
    election: BTreeMap<String, Operation>,
    term: BTreeMap<String, Operation>,
    loss: Losses,
    skip: Losses,
    event: Told,
    errors: BTreeMap<String, Outcomes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    #[serde(rename = "gives")]
    _gives: String,
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
    fails: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter {
    #[serde(rename = "type")]
    _type: String,
    default: Option<toml::Value>,
    shortest: Option<String>,
    longest: Option<String>,
    shortest_bytes: Option<usize>,
    longest_bytes: Option<usize>,
    least: Option<u32>,
    most: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Losses {
    reasons: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    what: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcomes {
    outcome: Vec<String>,
}

fn api() -> Api {
    toml::from_str(include_str!("../../api.toml")).expect("tests/api.toml")
}

fn set<T: Into<String>>(names: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    names.into_iter().map(Into::into).collect()
}

fn span(text: &Option<String>) -> Duration {
    humantime::parse_duration(text.as_deref().expect("a bound")).expect("a span")
}

/// What follows each `before` up to the next `after`.
fn found(source: &str, before: &str, after: char) -> BTreeSet<String> {
    set(source.split(before).skip(1).filter_map(|rest| Some(rest.split_once(after)?.0)))
}

/// The names of all public methods of a type, from the source of its one `impl`.
fn methods(source: &str, of: &str) -> BTreeSet<String> {
    let (_, body) = source.split_once(&format!("\nimpl {of} {{\n")).expect("an impl");
    let (body, _) = body.split_once("\n}\n").expect("its end");
    let body = body.replace("    pub async fn ", "    pub fn ");
    found(&body, "\n    pub fn ", '(')
        .into_iter()
        .map(|name| name.split('<').next().unwrap_or_default().to_owned())
        .collect()
}

/// That these compile is half of the test.
#[allow(clippy::let_underscore_future, dead_code)]
fn all_operations(client: &Client, lock: &Lock, lease: &Lease, options: Options) {
    let _ = (options.connect(""), client.lock(""), client.list(), client.status(""));
    let _ = (client.break_lock(""), client.close(), client.backend(), client.caveats());
    let _ = client.events();
    let _ = (lock.check(), lock.acquire(), lock.try_acquire(), lock.run(async |_| ()));
    let _ = (lease.name(), lease.fence(), lease.key(), lease.ttl(), lease.remaining());
    let _ = (lease.is_valid(), lease.lost(), lease.loss(), lease.check());
    let _ = (lease.renew(), lease.release(), lease.slot(), lease.into_ticket(), lease.guard());
    let _ = (client.adopt(""), lock.adopt(""));
}

#[test]
fn every_operation_is_listed_and_no_other() {
    let api = api();
    let of_a_lock = set(["auto_renew", "shared", "permits", "min_hold"]);
    let options = &set(["ttl", "delay", "wait", "max_hold", "label"]) | &of_a_lock;
    // What comes from options alone is for programs in Rust.
    let mut client = methods(include_str!("../../../core/src/client.rs"), "Client");
    // What other languages are made with.
    assert!(client.remove("close_at_exit"));
    assert_eq!(client, set(api.client.keys()));
    let mut lock = methods(include_str!("../../../core/src/lock.rs"), "Lock");
    // What others do when they make one.
    assert!(lock.remove("check"));
    // The name is a parameter of others.
    assert!(lock.remove("adopt"));
    assert_eq!(lock, &set(api.lock.keys()) | &options);
    let mut lease = methods(include_str!("../../../core/src/lease.rs"), "Lease");
    assert!(lease.remove("watch"));
    // The end of their blocks.
    assert!(lease.remove("finish"));
    // A descriptor for a child process, which the command line has.
    assert!(lease.remove("proof_of_life"));
    // A parameter of others.
    assert!(lease.remove("renew_for") && lease.remove("into_ticket_for"));
    assert_eq!(lease, set(api.lease.keys()));
    let mut locks = methods(include_str!("../../../core/src/locks.rs"), "Locks");
    assert!(locks.remove("check") && locks.remove("names"));
    // Faces know whose task they are called by.
    assert!(locks.remove("asked_by"));
    assert_eq!(locks, &set(api.lock.keys()) | &options);
    let mut leases = methods(include_str!("../../../core/src/leases.rs"), "Leases");
    let for_programs =
        ["watch", "finish", "proof_of_life", "renew_for", "fence", "first", "proclaim", "succeed"];
    assert!(for_programs.iter().all(|method| leases.remove(*method)));
    // The same.
    assert!(leases.remove("keep_for"));
    assert!(leases.remove("into_ticket_for"));
    let singular = set(["name", "fence", "key", "slot"]);
    assert_eq!(leases, &(&set(api.lease.keys()) - &singular) | &set(api.leases.keys()));
    let source = include_str!("../../../core/src/election.rs");
    let of_an_election = set(["value", "ttl", "delay", "wait", "max_hold"]);
    let mut election = methods(source, "Election");
    assert!(election.remove("check") && election.remove("locks"));
    assert_eq!(election, &set(api.election.keys()) | &of_an_election);
    assert_eq!(methods(source, "Term"), set(api.term.keys()));
    let parameters = |operation: &str| set(api.client[operation].parameters.keys());
    let mut once = methods(include_str!("../../../core/src/once.rs"), "Once");
    // What programs in other languages have of the two.
    assert!(once.remove("check") && once.remove("begin"));
    let of_once = &parameters("once") - &set(["name"]);
    assert_eq!(once, &set(api.once.keys()) | &of_once);
    assert_eq!(parameters("election"), &of_an_election | &set(["name"]));
    assert_eq!(parameters("lock"), &options | &set(["name"]));
    assert_eq!(&parameters("connect") | &of_a_lock, &options | &set(["url"]));
}

#[test]
fn every_error_is_listed_and_no_other() {
    let api = api();
    let source = include_str!("../../../core/src/error.rs");
    let (codes, outcomes) = source.split_once("\nimpl Outcome {\n").expect("two impls");
    assert_eq!(found(codes, " => \"", '"'), set(api.errors.keys()));
    let listed = set(api.errors.values().flat_map(|error| error.outcome.clone()));
    assert_eq!(found(outcomes, " => \"", '"'), listed);
    assert_eq!(listed, set(["not_held", "held", "unknown"]));
    let operations = api.client.values().chain(api.lock.values()).chain(api.lease.values());
    let operations = operations.chain(api.election.values()).chain(api.term.values());
    for code in operations.flat_map(|operation| &operation.fails) {
        assert!(api.errors.contains_key(code), "{code}");
    }
    assert_eq!(Error::new(Kind::Timeout, "").outcome(), Outcome::NotHeld);
}

#[test]
fn every_loss_is_listed_and_no_other() {
    let source = include_str!("../../../core/src/engine/loss.rs");
    let (_, body) = source.split_once("pub enum Loss {\n").expect("the losses");
    let (body, _) = body.split_once("\n}").expect("their end");
    let losses = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    let losses: BTreeSet<String> = losses.map(str::to_owned).collect();
    let known = [Loss::Expired, Loss::Gone, Loss::MaxHold, Loss::Closed];
    assert_eq!(losses, set(known.map(|loss| format!("{loss:?}"))));
    let listed = api().loss.reasons;
    assert_eq!(listed, set(["expired", "gone", "max_hold", "closed"]));
    let skips = found(include_str!("../../../core/src/once.rs"), "Skip::", ' ');
    assert!(skips.is_superset(&set(["Running", "Rested"])));
    let codes = [Skip::Running, Skip::Rested].map(Skip::code);
    assert_eq!(api().skip.reasons, set(codes));
}

#[test]
fn every_event_is_listed_and_no_other() {
    let codes = found(include_str!("../../../core/src/event.rs"), " => \"", '"');
    assert_eq!(codes, api().event.what);
}

#[test]
fn defaults_are_those_of_the_core() {
    let (api, scene) = (api(), Scene::new());
    let connect = &api.client["connect"].parameters;
    let default = |name: &str| connect[name].default.clone().expect("a default");
    let client = scene.client_of("memory:");
    let lease = scene.wait(client.lock("x").acquire()).expect("a lease");
    let ttl = humantime::parse_duration(default("ttl").as_str().expect("a text"));
    assert_eq!(lease.ttl(), ttl.expect("a span"));
    // Nothing but host and process id.
    assert_eq!(default("label").as_str(), Some(""));
    let status = scene.wait(client.status("x")).expect("a status").expect("a holder");
    let label = status.holder().expect("a holder").label.clone();
    assert!(label.ends_with(&format!(":{}", std::process::id())), "{label}");
    // A wait has no end that would come soon; a ttl of which this is the half does not either.
    assert_eq!(default("wait").as_str(), Some("none"));
    let waiter = scene.queue(client.lock("x"));
    let short = scene.wait(client.lock("y").ttl(SECOND / 2).acquire()).expect("a lease");
    scene.pass(SECOND * 3 / 2);
    assert!(!waiter.is_finished());
    assert_eq!(default("max_hold").as_str(), Some("none"));
    let of_a_lock = &api.client["lock"].parameters;
    assert_eq!(of_a_lock["auto_renew"].default, Some(true.into()));
    assert_eq!(of_a_lock["shared"].default, Some(false.into()));
    assert_eq!(of_a_lock["permits"].default, Some("none".into()));
    assert_eq!(
        (lease.slot(), status.holder().map(|holder| holder.mode.name())),
        (None, Some("exclusive"))
    );
    assert!(short.is_valid(), "it is renewed");
    waiter.abort();
}

#[test]
fn limits_are_those_of_the_core() {
    let (api, scene) = (api(), Scene::new());
    let client = scene.client_of("memory:");
    let tried = |lock: Lock| scene.wait(lock.try_acquire()).map(drop).map_err(|e| e.kind());
    let (is_fine, is_refused) = (Ok(()), Err(Kind::Invalid));
    let least = Duration::from_nanos(1);
    for operation in ["connect", "lock"] {
        let parameters = &api.client[operation].parameters;
        let ttl = &parameters["ttl"];
        let (shortest, longest) = (span(&ttl.shortest), span(&ttl.longest));
        assert_eq!(tried(client.lock("a").ttl(shortest)), is_fine);
        assert_eq!(tried(client.lock("b").ttl(longest)), is_fine);
        assert_eq!(tried(client.lock("c").ttl(shortest - least)), is_refused);
        assert_eq!(tried(client.lock("c").ttl(longest + least)), is_refused);
        let most = span(&parameters["max_hold"].shortest);
        assert_eq!(tried(client.lock("d").max_hold(most)), is_fine);
        assert_eq!(tried(client.lock("e").max_hold(most - least)), is_refused);
        let label = "l".repeat(parameters["label"].longest_bytes.expect("a limit"));
        assert_eq!(tried(client.lock("f").label(label.clone())), is_fine);
        assert_eq!(tried(client.lock("g").label(label + "l")), is_refused);
    }
    let permits = &api.client["lock"].parameters["permits"];
    let (least_of_all, most) = (permits.least.expect("a bound"), permits.most.expect("a bound"));
    assert_eq!(tried(client.lock("h").permits(least_of_all)), is_fine);
    assert_eq!(tried(client.lock("i").permits(most)), is_fine);
    assert_eq!(tried(client.lock("j").permits(least_of_all - 1)), is_refused);
    assert_eq!(tried(client.lock("j").permits(most + 1)), is_refused);
    let longest = span(&api.client["lock"].parameters["min_hold"].longest);
    assert_eq!(tried(client.lock("k").min_hold(longest)), is_fine);
    assert_eq!(tried(client.lock("l").min_hold(longest + least)), is_refused);
    let every = &api.client["once"].parameters["every"];
    let (shortest, longest) = (span(&every.shortest), span(&every.longest));
    let checked = |every| client.once("m").every(every).check().map_err(|e| e.kind());
    assert_eq!((checked(shortest), checked(longest)), (is_fine, is_fine));
    assert_eq!((checked(shortest - least), checked(longest + least)), (is_refused, is_refused));
    let name = &api.client["lock"].parameters["name"];
    assert_eq!((name.shortest_bytes, name.longest_bytes), (Some(1), Some(LockName::MAX_BYTES)));
}
