//! Rules of etcd whose tests are in the file of tests `etcd`, and those of locks that are
//! shared there.

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

#[rustfmt::skip]
pub(super) const OF_BACKENDS: &[Rule] = &[
    rule(
        "a turn in etcd is joined that nobody is in any more",
        "etcd_cluster::sharing::who_would_join_a_turn_that_ends_meanwhile_opens_another",
        "backend/etcd/verdict.rs",
        "let joins = vec![Condition::Created(first.key.clone(), first.created)];",
        "let joins = vec![Condition::Absent(Keys::One(format!(\"{}!\", first.key)))];",
    ),
    rule(
        "who comes late to join a turn in etcd does nothing else",
        "etcd_cluster::sharing::who_comes_late_to_join_again_and_again_opens_a_turn_that_nobody_is_in",
        "backend/etcd/share.rs",
        "let opens = round % 2 == 1;",
        "let opens = round > ROUNDS;",
    ),
    rule(
        "two open a turn in etcd at once",
        "etcd_cluster::sharing::of_two_who_open_a_turn_at_once_one_joins_the_other",
        "backend/etcd/verdict.rs",
        "let nobody = vec![Condition::Once(self.kind())];",
        "let nobody = Vec::new();",
    ),
    rule(
        "a turn in etcd opens before a writer, with a fence above its",
        "etcd_cluster::sharing::a_turn_that_opens_before_a_writer_has_a_smaller_fence_than_that",
        "backend/etcd/verdict.rs",
        "(Some(next.created - 1), conditions)",
        "(None, conditions)",
    ),
    rule(
        "a turn in etcd opens without a look for a writer that came meanwhile",
        "etcd_cluster::sharing::a_turn_that_opens_before_a_writer_has_a_smaller_fence_than_that",
        "backend/etcd/verdict.rs",
        "let conditions = vec![Condition::Absent(others[0].clone())];",
        "let conditions = Vec::new();",
    ),
    rule(
        "a permit in etcd is taken that was free when it was looked for",
        "etcd_cluster::sharing::a_permit_is_had_by_one_and_its_fence_rises_though_it_was_seen_free_before",
        "backend/etcd/verdict.rs",
        "let mut conditions = vec![Condition::Quiet(key, revision)];",
        "let mut conditions = Vec::new();",
    ),
    rule(
        "who waits first for a permit in etcd hears of the last that was taken only",
        "conformance::etcd_in_memory::one_more_than_the_permits_waits",
        "backend/etcd/verdict.rs",
        ".filter(|_| before > permits as usize)",
        ".filter(|_| before > 0)",
    ),
    rule(
        "who waits for a permit in etcd does not hear that the one before it leaves",
        "etcd_cluster::sharing::who_waits_for_a_permit_hears_that_the_one_before_it_has_left",
        "backend/etcd/verdict.rs",
        "(before.key.clone(), Change::Any)",
        "(before.key.clone(), Change::Written)",
    ),
    rule(
        "permits in etcd are counted beside a client from before",
        "etcd_cluster::sharing::a_client_from_before_keeps_all_out_and_is_kept_out",
        "backend/etcd/verdict.rs",
        "return Ok(Verdict::Refused(answer));",
        "drop(answer);",
    ),
    rule(
        "who would share a lock in etcd passes a writer that waits",
        "conformance::etcd_in_memory::who_would_share_does_not_pass_an_exclusive_one_that_waits",
        "backend/etcd/verdict.rs",
        "if let Some(before) = before.first() {",
        "if let Some(before) = before.first().filter(|_| false) {",
    ),
    rule(
        "a turn in etcd has another fence when a label is changed",
        "etcd_cluster::sharing::a_label_that_is_changed_changes_no_fence",
        "backend/etcd/inspect.rs",
        "note::relabelled(&note::with_fence(&entry.value, held.fence), label)",
        "note::relabelled(&entry.value, label)",
    ),
    rule(
        "an eviction in etcd leaves those who share beside the first",
        "conformance::etcd_in_memory::an_eviction_takes_the_lock_from_all_who_share_it",
        "backend/etcd/inspect.rs",
        "if mode.is_shared() {",
        "if mode.is_shared() && holder.created == 0 {",
    ),
    rule(
        "an exclusive one stands in a line in etcd of those who count",
        "etcd_cluster::sharing::an_exclusive_one_that_comes_as_others_begin_to_count_is_refused",
        "backend/etcd/claim.rs",
        "let nobody_counts = Condition::Absent(counted.clone());",
        "let nobody_counts = self.not_refused();",
    ),
];
