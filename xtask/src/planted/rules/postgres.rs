//! Rules whose tests are in the file of tests `postgres`.

use super::{Rule, rule};

#[rustfmt::skip] // as a table: name, test, file, healthy, broken
pub(super) const RULES: &[Rule] = &[
    rule(
        "a commit may not wait for the disk in PostgreSQL",
        "access::defaults_of_the_user_change_nothing",
        "backend/postgres/sql/settings.sql",
        "WHEN 'off' THEN 'on'",
        "WHEN 'off' THEN 'off'",
    ),
    rule(
        "rows are found one after the other in PostgreSQL",
        "table::a_pair_is_two_statements_and_its_updates_leave_the_index_alone",
        "backend/postgres/sql/settings.sql",
        "('enable_seqscan', 'off'),",
        "('enable_seqscan', 'on'),",
    ),
    rule(
        "a table that was made anew is trusted in PostgreSQL",
        "table::a_table_that_is_made_anew_is_not_trusted",
        "backend/postgres/dial.rs",
        "self.known.compare((column(server, \"system\")?, id), syncs)",
        "self.known.compare((column(server, \"system\")?, String::new()), syncs)",
    ),
    rule(
        "a newer table is used in PostgreSQL",
        "table::a_table_of_another_kind_or_a_newer_version_is_refused",
        "backend/sql/table.rs",
        "if version == self.layout {",
        "if version >= self.layout {",
    ),
    rule(
        "a claim that comes late is granted in PostgreSQL",
        "table::what_was_sent_before_a_withdraw_and_comes_late_changes_nothing",
        "backend/postgres/sql/claim.sql",
        "AND (t.careful IS NULL OR t.careful <= clock.now)",
        "AND (t.careful IS NULL OR t.careful >= clock.now)",
    ),
    rule(
        "a guard keeps nobody out of a free lock in PostgreSQL",
        "guard::a_guard_outlasts_the_ttl_of_its_lease",
        "backend/postgres/sql/claim.sql",
        "FOR UPDATE OF t SKIP LOCKED",
        "FOR NO KEY UPDATE OF t SKIP LOCKED",
    ),
    rule(
        "a guard keeps nobody out who changes a row in PostgreSQL",
        "guard::a_guard_keeps_others_out_and_not_a_renewal",
        "backend/postgres/sql/change.sql",
        "FOR UPDATE SKIP LOCKED",
        "FOR NO KEY UPDATE SKIP LOCKED",
    ),
    rule(
        "a guard counts rows of any owner in PostgreSQL",
        "guard::a_guard_fails_when_the_lease_is_not_held",
        "backend/postgres/guard.rs",
        "AND t.owner = '{owner}' AND t.fence = {fence})",
        "AND '{owner}' <> '{fence}')",
    ),
    rule(
        "a guard locks nothing in PostgreSQL",
        "guard::a_guard_that_waits_for_a_takeover_fails_at_every_isolation_level",
        "backend/postgres/guard.rs",
        "WHERE {} FOR KEY SHARE) AS held",
        "WHERE {}) AS held",
    ),
    rule(
        "a guard keeps its own lease from being renewed in PostgreSQL",
        "guard::a_guard_keeps_others_out_and_not_a_renewal",
        "backend/postgres/sql/renew.sql",
        "FOR NO KEY UPDATE OF t",
        "FOR UPDATE OF t",
    ),
    rule(
        "a row is written whatever its version is in PostgreSQL",
        "waiting::many_who_contend_are_never_locked_out_of_each_other",
        "backend/postgres/sql/change.sql",
        "WHERE t.name = $1 AND t.version = $2 AND (NOT",
        "WHERE t.name = $1 AND t.version >= $2 AND (NOT",
    ),
    rule(
        "the fences of dropped rows are forgotten in PostgreSQL",
        "table::rows_of_yesterday_are_dropped_and_fences_go_on_rising",
        "backend/postgres/sql/forget.sql",
        "greatest(base.fence, (SELECT max(fence) FROM old))",
        "base.fence",
    ),
    rule(
        "a new row begins anywhere in PostgreSQL",
        "table::rows_of_yesterday_are_dropped_and_fences_go_on_rising",
        "backend/postgres/sql/claim.sql",
        "greatest(base.fence + 1, clock.micros)",
        "clock.micros",
    ),
    rule(
        "encryption is not the default in PostgreSQL",
        "access::encryption_is_what_happens_unless_it_is_turned_off",
        "backend/sql/address.rs",
        "if self.encrypts == Some(false) {",
        "if self.encrypts != Some(true) {",
    ),
    rule(
        "who waits is not woken in PostgreSQL",
        "waiting::a_release_wakes_who_waits",
        "backend/postgres/sql/release.sql",
        "FROM first WHERE client <> '0'",
        "FROM first WHERE client = '0'",
    ),
];
