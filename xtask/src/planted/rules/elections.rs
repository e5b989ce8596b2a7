//! Of elections: tests in `tests/tests/local/elections.rs`.

use super::{Rule, rule};

#[rustfmt::skip] // as a table: name, test, file, healthy, broken
pub(super) const RULES: &[Rule] = &[
    rule(
        "a body works beyond its term",
        "elections::a_body_has_ended_before_its_term_has",
        "election.rs",
        "_ = term.lost() => None,",
        "_ = async { term.lost().await; std::future::pending::<()>().await } => None,",
    ),
    rule(
        "a leader does not campaign again",
        "elections::a_body_is_dropped_before_the_next_campaign_begins",
        "election.rs",
        "let Some(result) = result else { continue };",
        "let Some(result) = result else { return Err(term.check().expect_err(\"lost\")) };",
    ),
    rule(
        "what is proclaimed is told by whichever answer comes last",
        "elections::of_two_values_that_are_proclaimed_at_once_the_second_stays",
        "engine/label.rs",
        "let _one_at_a_time = hold.relabels.lock().await;",
        "",
    ),
    rule(
        "a ticket loses the spaces before a value",
        "elections::a_term_that_is_handed_on_shows_what_was_proclaimed_last",
        "anchor.rs",
        "text.strip_prefix(' ').unwrap_or(text).to_owned()",
        "text.trim_start().to_owned()",
    ),
    rule(
        "an observer names a past leader",
        "elections::observing::an_observer_names_no_leader_that_has_crashed",
        "leaders.rs",
        "sent.unwrap_or(now) + lasts.min(LATEST)",
        "sent.unwrap_or(now) + lasts.min(LATEST) * 20",
    ),
    rule(
        "an observer names a leader whose term ended while it was told",
        "elections::observing::an_answer_that_took_longer_than_the_term_names_nobody",
        "leaders.rs",
        "if leader.is_some() && sent.unwrap_or(now) + lasts <= now {",
        "if leader.is_some() && sent.unwrap_or(now) + lasts <= now && lasts.is_zero() {",
    ),
    rule(
        "an observer is not told of nobody",
        "elections::observing::an_observer_is_told_each_leader_and_nobody_between_them",
        "leaders.rs",
        "if is_final || told != seen.told {",
        "if is_final || told != seen.told && !matches!(asked, Ok(None)) {",
    ),
    rule(
        "an outage is told again and again",
        "elections::observing::an_outage_is_told_once_and_then_who_leads",
        "leaders.rs",
        "if is_final || told != seen.told {",
        "if is_final || told != seen.told || told == Told::Trouble {",
    ),
    rule(
        "a former leader proclaims",
        "elections::a_former_leader_cannot_proclaim",
        "backend/record.rs",
        "        let Some(tenant) = self.tenant(owner) else { return false };\n        tenant.label",
        "        let Some(tenant) = self.tenants.first_mut() else { return false };\n        tenant.label",
    ),
    rule(
        "a leader proclaims after its deadline",
        "elections::a_leader_whose_process_was_stopped_for_too_long_cannot_proclaim",
        "engine/label.rs",
        "        if !hold.is_valid(self.runtime.now()) {\n",
        "        if hold.is_over() {\n",
    ),
    rule(
        "the label of the client is a value",
        "elections::the_label_of_a_clients_locks_is_not_a_value",
        "election.rs",
        "lock: lock.label(\"\"), value",
        "lock, value",
    ),
];
