//! Of leases that are handed on: tests in `tests/tests/local`.

use super::{Rule, rule};

#[rustfmt::skip] // as a table: name, test, file, healthy, broken
pub(super) const RULES: &[Rule] = &[
    rule(
        "a ticket is used twice",
        "tickets::a_ticket_is_for_one_use",
        "backend/record.rs",
        "let Some(tenant) = self.tenant(from) else { return false };",
        "let Some(tenant) = self.tenants.first_mut().filter(|_| from != to.owner) else { return false };",
    ),
    rule(
        "a giver that is cancelled keeps its ticket",
        "tickets::trouble::a_giver_that_is_cancelled_at_each_await_point_leaves_no_lease_behind",
        "engine/handing.rs",
        "self.engine.withdraw_in_background(self.ticket.clone());",
        "",
    ),
    rule(
        "a giver that is cancelled keeps its lease",
        "tickets::trouble::a_giver_that_is_cancelled_at_each_await_point_leaves_no_lease_behind",
        "engine/handing.rs",
        "self.engine.owe_release(self.hold.clone());",
        "",
    ),
    rule(
        "an adoption that is cancelled keeps the lease",
        "tickets::trouble::an_adoption_that_is_cancelled_at_each_await_point_leaves_no_lease_behind",
        "engine/handing.rs",
        "self.engine.withdraw_in_background(self.to.clone());",
        "",
    ),
    rule(
        "a lease is renewed that is handed on",
        "tickets::who_has_handed_a_lease_on_holds_nothing_and_can_release_nothing",
        "engine/handing.rs",
        "        self.keeper.remove(hold);\n        // A release later",
        "        // A release later",
    ),
    rule(
        "a lost answer ends the handing on",
        "tickets::trouble::an_answer_that_is_lost_on_either_side_is_asked_for_again",
        "engine/handing.rs",
        "if error.kind() != Kind::Unavailable || self.runtime.now() + pause >= until {",
        "if error.kind() != Kind::Timeout || self.runtime.now() + pause >= until {",
    ),
    rule(
        "who waits behind the giver is forgotten",
        "tickets::whoever_waits_in_the_client_of_the_giver_waits_for_the_adopter",
        "engine/handing.rs",
        "                    self.lines.vacate(&hold.held.name, hold.held.owner, 0);",
        "",
    ),
    rule(
        "max_hold begins anew",
        "tickets::what_is_left_of_max_hold_goes_along",
        "engine/hold.rs",
        "let max_hold = self.ends_at.map(|end| end.since(now));",
        "let max_hold = self.max_hold.filter(|_| self.deadline() > now);",
    ),
    rule(
        "a ticket forgets that its lock is to rest",
        "tickets::what_cannot_be_handed_on_stays_held_and_says_why",
        "lease.rs",
        "if self.hold.rest.is_due(now) {",
        "if self.hold.rest.is_due(now) && valid.is_zero() {",
    ),
    rule(
        "a ticket of another backend is adopted",
        "tickets::a_ticket_of_another_backend_is_refused_naming_both",
        "lease.rs",
        "if scheme != content.scheme {",
        "if scheme.is_empty() {",
    ),
    rule(
        "a ticket of another lock is adopted",
        "tickets::a_ticket_of_another_lock_another_backend_or_another_version_stays_good",
        "lock.rs",
        "if content.name != name {",
        "if content.name.as_str().is_empty() {",
    ),
    rule(
        "a ticket that was changed is believed",
        "tickets::a_ticket_of_another_lock_another_backend_or_another_version_stays_good",
        "ticket.rs",
        "if checksum(bytes) != *sum {",
        "if checksum(bytes).len() != sum.len() {",
    ),
    rule(
        "a ticket dies with its giver",
        "processes::a_ticket_outlives_the_process_that_gave_it",
        "backend/sqlite/mod.rs",
        "if heir == Heir::Ticket || !to.delay.is_zero() {",
        "if heir == Heir::Client && !to.delay.is_zero() {",
    ),
];

/// The same in the file of tests `backends`.
#[rustfmt::skip] // as above
pub(super) const OF_BACKENDS: &[Rule] = &[
    rule(
        "who has handed a lease on may claim it again",
        "conformance::memory::who_has_handed_a_lease_on_can_do_nothing_with_it",
        "backend/memory.rs",
        "        state.retired.insert(held.owner);\n        Ok(Transferred::Done { term: None })",
        "        Ok(Transferred::Done { term: None })",
    ),
    rule(
        "a transfer comes after its withdrawal",
        "conformance::sqlite::a_transfer_after_its_withdraw_changes_nothing",
        "backend/sqlite/mod.rs",
        "!is_retired && record.transfer(",
        "(!is_retired || is_retired) && record.transfer(",
    ),
    rule(
        "who has handed a lease on deletes its key",
        "conformance::etcd_in_memory::who_has_handed_a_lease_on_can_do_nothing_with_it",
        "backend/etcd/release.rs",
        "if self.places.is_handed_on(held.owner) {",
        "if self.places.is_handed_on(held.owner) && held.fence == 0 {",
    ),
    rule(
        "a session that moved a key is not ended",
        "conformance::etcd_in_memory::a_withdraw_gives_back_what_was_handed_on",
        "backend/etcd/mod.rs",
        "        self.take_back(claim.owner).await?;\n",
        "",
    ),
];

/// The same in the file of tests `redis`.
#[rustfmt::skip] // as above
pub(super) const OF_REDIS: &[Rule] = &[
    rule(
        "a share is handed on and kept",
        "conformance::redis_7::who_shares_hands_on_its_turn_and_its_slot",
        "backend/redis/lua/transfer.lua",
        "  leave(owner)\n  share.settle()\nelse",
        "  share.settle()\nelse",
    ),
    rule(
        "a ticket outlives its fence",
        "tickets::a_ticket_is_kept_with_the_fence_for_as_long_as_it_is_valid",
        "backend/redis/lua/transfer.lua",
        "live(KEYS[4], tonumber(ARGV[6]))",
        "",
    ),
];
