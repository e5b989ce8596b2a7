//! All worlds of a small size, with all rules, and with each rule left out.

use leasehold_model::{Property, RULES, Rule, plantings, scenarios, search, stepwise};

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
