//! Rules of one place, each with the test that fails without it.

use super::bugs::Bug;

mod backends;
mod elections;
mod etcd;
mod kinds;
mod local;
mod mysql;
mod postgres;
mod redis;
mod redlock;
mod tickets;
mod zookeeper;

/// A rule that is broken, and the one test that must fail then.
pub(super) struct Rule {
    pub(super) test: &'static str,
    pub(super) bug: Bug,
}

/// By the file of their tests, as cargo's `--test` names it.
pub(super) const RULES: &[(&str, &[Rule])] = &[
    ("backends", backends::RULES),
    ("backends", etcd::OF_BACKENDS),
    ("backends", tickets::OF_BACKENDS),
    ("etcd", etcd::RULES),
    ("local", elections::RULES),
    ("local", kinds::RULES),
    ("local", local::RULES),
    ("local", tickets::RULES),
    ("mysql", mysql::RULES),
    ("postgres", postgres::RULES),
    ("redis", redis::RULES),
    ("redis", tickets::OF_REDIS),
    ("redlock", redlock::RULES),
    ("zookeeper", zookeeper::RULES),
];

const fn rule(
    name: &'static str,
    test: &'static str,
    file: &'static str,
    healthy: &'static str,
    broken: &'static str,
) -> Rule {
    Rule { test, bug: Bug { name, file, healthy, broken } }
}
