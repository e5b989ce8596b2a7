//! Of locks that are shared, counted, several, or stay taken for a delay: tests in
//! `tests/tests/local`.

use super::{Rule, rule};

#[rustfmt::skip] // as a table: name, test, file, healthy, broken
pub(super) const RULES: &[Rule] = &[
    rule(
        "a lock is handed to who would count it",
        "sharing::a_waiter_is_not_put_out_of_the_line_by_permits_that_its_holders_client_wants",
        "engine/line.rs",
        "let goes_with = |seat: &&Arc<Seat>| Mode::Exclusive.goes_with(seat.plan.mode);",
        "let goes_with = |seat: &&Arc<Seat>| seat.plan.mode.goes_with(seat.plan.mode);",
    ),
    rule(
        "a waiter that is refused leaves its place",
        "sharing::a_waiter_that_is_refused_leaves_no_place_in_the_line",
        "engine/acquire.rs",
        "                if claim.place.is_none() {\n                    drop(self.seat.take_sent());\n                }\n                // Else it may have",
        "                drop(self.seat.take_sent());\n                // Else it may have",
    ),
    rule(
        "who shares keeps its own client from sharing",
        "sharing::all_who_try_at_once_in_one_client_share",
        "engine/line.rs",
        "if hold.held.mode.is_shared() {",
        "if hold.held.mode.is_shared() && false {",
    ),
    rule(
        "a group is not shared",
        "groups::groups_that_share_and_groups_that_do_not_get_their_turns",
        "locks.rs",
        "lock: self.lock.shared(), ..self",
        "lock: self.lock, ..self",
    ),
    rule(
        "a group has the slot of another name",
        "groups::a_group_with_permits_has_a_slot_of_each_name",
        "leases.rs",
        "counted.map(|(lease, slot)| (lease.name().to_owned(), slot)).collect()",
        "counted.map(|(lease, _)| (lease.name().to_owned(), 0)).collect()",
    ),
    rule(
        "another number of permits is waited for",
        "sharing::another_number_of_permits_is_refused_and_said_why",
        "engine/acquire.rs",
        "Ok(Ask::Refused(other_kind(mode, claim.mode)))",
        "drop(other_kind(mode, claim.mode)); Ok(Ask::Busy(RECHECK))",
    ),
    rule(
        "the deadline counts the delay too",
        "delay::a_delay_costs_the_holder_nothing",
        "engine/hold.rs",
        "start.lasts.saturating_sub(plan.delay)",
        "start.lasts",
    ),
    rule(
        "a renewal forgets the delay",
        "delay::a_lock_whose_holder_crashed_is_free_after_its_deadline_and_the_delay",
        "engine/hold.rs",
        "        ttl + self.delay\n",
        "        ttl\n",
    ),
    rule(
        "a lost lock is free at its deadline",
        "delay::a_lost_lock_stays_for_its_delay_whoever_releases_it",
        "engine/release.rs",
        "!self.is_foreign() && hold.rests(self.runtime.now())",
        "self.is_foreign() && hold.rests(self.runtime.now())",
    ),
    rule(
        "the window of a grant has no delay",
        "delay::a_lock_that_a_server_hands_on_has_its_delay_from_the_start",
        "engine/acquire.rs",
        "plan.delay.is_zero() || grant.lasts >= plan.lasts()",
        "plan.delay.is_zero() || grant.lasts <= plan.lasts()",
    ),
    rule(
        "a deadline moves back when the answer comes",
        "renew_for::a_deadline_moves_back_before_the_request_is_sent",
        "engine/keeper.rs",
        "|_| hold.shorten(sent, ttl)",
        "|_| ()",
    ),
    rule(
        "a short renewal without an answer is forgotten",
        "renew_for::a_longer_renewal_counts_for_no_more_than_a_shorter_one_that_may_come_late",
        "engine/asked.rs",
        "            self.may_be_cut_to(cap);",
        "            let _ = cap;",
    ),
    rule(
        "what is renewed in the background is renewed for another ttl",
        "renew_for::only_what_is_not_renewed_in_the_background_is_renewed_for_another_ttl",
        "engine/by_hand.rs",
        "        if hold.held.renewed {\n",
        "        if hold.held.renewed && hold.is_over() {\n",
    ),
    rule(
        "a group is taken in the order in which it is named",
        "groups::groups_a_b_against_b_a",
        "locks.rs",
        "        names.sort();\n",
        "        names.sort_by(|_, _| std::cmp::Ordering::Equal);\n",
    ),
    rule(
        "the rest of a group outlives the loss",
        "groups::what_is_left_of_a_group_is_not_renewed_and_kept_by_nobody_who_hangs",
        "engine/tie.rs",
        "        if !hold.is_over() {\n",
        "        if hold.is_over() {\n",
    ),
    rule(
        "each of a group has the whole wait",
        "groups::a_group_is_all_or_nothing_and_has_one_wait",
        "locks.rs",
        "patience.after(engine.runtime().now().since(since))",
        "patience.after(since.since(since))",
    ),
    rule(
        "a group that waits renews nothing",
        "groups::what_is_held_is_renewed_while_others_are_waited_for",
        "locks.rs",
        "        if first.is_renewed() {\n",
        "        if first.is_renewed() || first.is_valid() {\n",
    ),
];
