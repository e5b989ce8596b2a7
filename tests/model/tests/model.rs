//! All worlds of a small size, with all rules, and with each rule left out.

use leasehold_model::{Property, RULES, Rule, Scenario, plantings, scenarios, search, stepwise};

/// With every rule in force, every world of every scenario is in order.
fn all_is_well(names: &[&str]) {
    for (scenario, at_least) in scenarios() {
        if names.contains(&scenario.name) {
            let outcome = search(&scenario);
            println!("{}: {outcome}", scenario.name);
            if let Some((property, trace)) = outcome.found {
                panic!("{}: {property:?} is broken:\n{trace}", scenario.name);
            }
            assert!(outcome.exhausted, "{}", scenario.name);
            assert!(outcome.states >= at_least, "{}: {}", scenario.name, outcome.states);
        }
    }
}

/// Without the rule something is wrong, and this is how.
fn is_missed(rule: Rule) {
    let mut planted = plantings().into_iter().filter(|planting| planting.0 == rule).peekable();
    assert!(planted.peek().is_some(), "nothing misses {rule:?}");
    for (rule, property, scenario) in planted {
        let mut without = scenario.without(rule);
        without.watched = Some(property);
        let outcome = search(&without);
        println!("{} without {rule:?}: {outcome}", scenario.name);
        let Some((found, trace)) = outcome.found else {
            panic!("{}: nobody misses {rule:?}", scenario.name);
        };
        println!("{trace}");
        assert_eq!(found, property);
    }
}

macro_rules! each_rule_is_needed {
    ($($test:ident: $rule:ident,)*) => {
        $(
            #[test]
            fn $test() {
                is_missed(Rule::$rule);
            }
        )*

        #[test]
        fn no_rule_is_forgotten() {
            assert_eq!(RULES, [$(Rule::$rule),*]);
        }
    };
}

each_rule_is_needed! {
    ballots_must_rise: BallotsRise,
    giving_back_must_burn: Burn,
    quorums_must_meet: Majority,
    a_restart_must_begin_a_quarantine: Quarantine,
    a_quarantine_must_outlast_the_clocks: QuarantineOutlastsClocks,
    a_quarantine_must_outlast_the_leases: QuarantineOutlastsLeases,
    a_quarantine_must_leave_a_floor: Floor,
    a_deadline_must_have_a_margin: Margin,
    a_client_must_look_at_its_clock_again: SecondReading,
    a_renewal_must_come_in_time: RenewalInTime,
    what_is_freed_must_stay_free: FreedStaysFree,
    a_node_must_not_heal_in_its_quarantine: NoHealInQuarantine,
    wild_ballots_must_be_refused: Clamp,
    a_raise_must_be_stored: RaiseIsStored,
    answers_to_other_rounds_must_not_count: AnswersOfThisRound,
    a_return_must_leave_later_rounds_alone: ReturnOfItsRound,
    a_server_must_have_one_vote: OneVotePerServer,
    a_writer_must_wait_for_readers: WriterWaits,
    a_reader_must_wait_for_a_writer: ReaderWaits,
    a_writer_must_not_heal_among_readers: NoHealAmongReaders,
    a_reader_must_not_heal_beside_a_writer: NoHealBesideWriter,
    a_quorum_must_tell_one_turn: OneTurn,
    turns_must_rise: TurnsRise,
    a_turn_must_stay_while_it_is_shared: TurnStays,
    nobody_must_join_a_turn_from_before_a_writer: OldTurnsAreClosed,
    what_was_given_back_must_not_join: JoinIsUnspent,
    a_renewal_must_be_kept_in_its_turn: RenewalOfItsTurn,
    the_largest_ballot_must_be_given_back: LargestIsReturned,
    a_reader_must_end_its_own_share_only: OwnShareOnly,
}

#[test]
fn claims_are_in_order() {
    all_is_well(&["claims", "rounds", "four nodes"]);
}

#[test]
fn losses_are_in_order() {
    all_is_well(&["losses", "clocks"]);
}

#[test]
fn renewals_are_in_order() {
    all_is_well(&["renewals", "strict renewals", "drift", "healing", "names"]);
}

#[test]
fn everything_together_is_in_order() {
    all_is_well(&["everything"]);
}

#[test]
fn shared_claims_are_in_order() {
    all_is_well(&["shared claims", "wanted turns", "shared rounds", "shared names"]);
}

#[test]
fn shared_losses_are_in_order() {
    all_is_well(&["shared losses", "shared clocks", "shared healing", "healing of two who share"]);
}

#[test]
fn shared_renewals_are_in_order() {
    all_is_well(&["shared renewals", "fresh renewals", "late renewals", "shared drift"]);
}

#[test]
fn readers_around_a_writer_are_in_order() {
    all_is_well(&["readers around a writer"]);
}

/// Each scenario is looked at by one of the tests above.
#[test]
fn no_scenario_is_forgotten() {
    let source = include_str!("model.rs");
    for (scenario, _) in scenarios() {
        assert!(source.contains(&format!("\"{}\"", scenario.name)), "{}", scenario.name);
    }
}

/// They hold the lock at the same time: what is in order is not so because nobody
/// ever shares.
#[test]
fn readers_share() {
    let find =
        |(scenario, _): (Scenario, _)| (scenario.name == "shared claims").then_some(scenario);
    let mut shared = scenarios().into_iter().find_map(find).expect("it is among them");
    shared.watched = Some(Property::Alone);
    let (property, trace) = search(&shared).found.expect("nobody shares");
    println!("{trace}");
    assert_eq!(property, Property::Alone);
}

/// A clock that steps back in each of two restarts needs a quarantine for both.
#[test]
fn steps_back_add_up() {
    let (short, long) = stepwise();
    let outcome = search(&short);
    println!("{}: {outcome}", short.name);
    let (property, trace) = outcome.found.expect("two steps back are more than one");
    println!("{trace}");
    assert_eq!(property, Property::Fences);
    let outcome = search(&long);
    println!("{}: {outcome}", long.name);
    assert!(outcome.found.is_none() && outcome.exhausted);
}
