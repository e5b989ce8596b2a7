//! Rules whose tests are in the file of tests `etcd`.

use super::{Rule, rule};

#[rustfmt::skip] // as a table: name, test, file, healthy, broken
pub(super) const RULES: &[Rule] = &[
    rule(
        "history may go back in etcd",
        "members::a_cluster_that_went_back_in_its_history_is_not_trusted",
        "backend/etcd/history.rs",
        "if done.revision < newest {",
        "if done.revision + 1_000_000 < newest {",
    ),
    rule(
        "a member of another cluster is trusted",
        "members::a_member_of_another_cluster_is_not_trusted",
        "backend/etcd/grpc/link.rs",
        "if ours == id {",
        "if ours == id || id > 0 {",
    ),
];
