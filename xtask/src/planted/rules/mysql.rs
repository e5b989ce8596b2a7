//! Rules whose tests are in the file of tests `mysql`.

use super::{Rule, rule};

#[rustfmt::skip] // as a table: name, test, file, healthy, broken
pub(super) const RULES: &[Rule] = &[
    rule(
        "the server's defaults are kept in MySQL",
        "access::defaults_of_the_server_change_nothing",
        "backend/mysql/sql/settings.sql",
        "SET SESSION autocommit = 1,",
        "SET SESSION",
    ),
    rule(
        "a table that was made anew is trusted in MySQL",
        "table::a_table_that_is_made_anew_is_not_trusted",
        "backend/mysql/dial.rs",
        "self.known.compare(id, syncs)",
        "self.known.compare(String::new(), syncs)",
    ),
    rule(
        "a newer table is used in MySQL",
        "table::a_table_of_another_kind_or_a_newer_version_is_refused",
        "backend/sql/table.rs",
        "if version == self.layout {",
        "if version >= self.layout {",
    ),
    rule(
        "a claim that comes late is granted in MySQL",
        "table::what_was_sent_before_a_withdraw_and_comes_late_changes_nothing",
        "backend/mysql/sql/claim.sql",
        "AND (careful IS NULL OR careful <= $now)",
        "AND (careful IS NULL OR careful >= $now)",
    ),
    rule(
        "a guard has to look at the row in MySQL",
        "guard::a_guard_keeps_others_out_and_not_a_renewal",
        "backend/mysql/sql/table.sql",
        "UNIQUE KEY guard (fence, name, owner)",
        "UNIQUE KEY guard (fence, name)",
    ),
    rule(
        "a guard keeps its own lease from being renewed in MySQL",
        "guard::a_guard_keeps_others_out_and_not_a_renewal",
        "backend/mysql/guard.rs",
        "FORCE INDEX (guard) WHERE",
        "FORCE INDEX (PRIMARY) WHERE",
    ),
    rule(
        "a guard keeps other locks from being taken in MySQL",
        "guard::a_guard_keeps_no_other_lock_from_being_taken_at_any_isolation_level",
        "backend/mysql/sql/table.sql",
        "UNIQUE KEY guard (fence, name, owner)",
        "UNIQUE KEY guard (owner, name, fence)",
    ),
    rule(
        "a guard locks nothing in MySQL",
        "guard::a_guard_outlasts_the_ttl_of_its_lease",
        "backend/mysql/guard.rs",
        "LOCK IN SHARE MODE)",
        ")",
    ),
    rule(
        "a row is written whatever its version is in MySQL",
        "waiting::many_who_contend_are_never_locked_out_of_each_other",
        "backend/mysql/sql/change.sql",
        "WHERE name = $name AND version = $version;",
        "WHERE name = $name AND version >= $version;",
    ),
    rule(
        "who waits is passed in MySQL",
        "conformance::the_line_is_first_come_first_served",
        "backend/mysql/sql/claim.sql",
        "IF(owner IS NULL OR expires <= $now, line IS NULL, owner = $owner)",
        "IF(owner IS NULL OR expires <= $now, TRUE, owner = $owner)",
    ),
    rule(
        "the fences of dropped rows are forgotten in MySQL",
        "table::rows_of_yesterday_are_dropped_and_fences_go_on_rising",
        "backend/mysql/sql/forget.sql",
        "GREATEST(fence, $fence)",
        "fence",
    ),
    rule(
        "names are told apart as words are in MySQL",
        "leases::names_are_told_apart_by_their_bytes",
        "backend/mysql/sql/table.sql",
        "VARBINARY(1024) NOT NULL",
        "VARCHAR(700) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL",
    ),
    rule(
        "the first of the line asks as seldom as the others in MySQL",
        "waiting::the_first_of_the_line_asks_ten_times_in_a_second",
        "backend/mysql/mod.rs",
        "Some(free_in.map_or(FIRST, |free_in| free_in.min(FIRST)))",
        "free_in",
    ),
    rule(
        "encryption is not the default in MySQL",
        "access::encryption_is_what_happens_unless_it_is_turned_off",
        "backend/sql/address.rs",
        "if self.encrypts == Some(false) {",
        "if self.encrypts != Some(true) {",
    ),
];
