//! The scenarios: each as small as it can be for the rules that matter in it.

mod shared;

use crate::rules::{Property, Rule};
use crate::scenario::{PLAIN, Scenario};

/// All that the tests look at, each with the least number of its states.
pub fn scenarios() -> Vec<(Scenario, usize)> {
    let mut all = vec![
        (claims(), 1_800_000),
        (rounds(), 1_200_000),
        (four_nodes(), 15_000),
        (losses(), 2_500_000),
        (clocks(), 3_600_000),
        (renewals(), 300_000),
        (strict_renewals(), 290_000),
        (drift(), 170_000),
        (healing(), 3_400_000),
        (names(), 100_000),
        (everything(), 6_700_000),
    ];
    all.extend(shared::scenarios());
    all
}

/// Rules that can be left out, what is wrong then, and where it is seen.
pub fn plantings() -> Vec<(Rule, Property, Scenario)> {
    use Property::{Exclusion, Fences, NoZombie};
    let mut all = vec![
        (Rule::BallotsRise, Fences, claims()),
        (Rule::Burn, NoZombie, claims()),
        (Rule::Majority, Exclusion, four_nodes()),
        (Rule::Quarantine, Exclusion, losses()),
        (Rule::QuarantineOutlastsClocks, Fences, clocks()),
        (Rule::QuarantineOutlastsLeases, Exclusion, losses()),
        (Rule::Floor, Fences, losses()),
        (Rule::Margin, Exclusion, drift()),
        (Rule::SecondReading, Fences, claims()),
        (Rule::RenewalInTime, Fences, renewals()),
        (Rule::FreedStaysFree, NoZombie, renewals()),
        (Rule::NoHealInQuarantine, Exclusion, healing()),
        (Rule::Clamp, Fences, clocks()),
        (Rule::RaiseIsStored, Fences, rounds()),
        (Rule::AnswersOfThisRound, Exclusion, rounds()),
        (Rule::AnswersOfThisRound, Exclusion, renewals()),
        (Rule::ReturnOfItsRound, Exclusion, rounds()),
        (Rule::OneVotePerServer, Exclusion, names()),
        (Rule::OneVotePerServer, Fences, names()),
    ];
    all.extend(shared::plantings());
    all
}

/// Three attempts whose messages come late, again, or never.
fn claims() -> Scenario {
    Scenario { name: "claims", attempts: 3, ballots: &[1, 2, 3], ..PLAIN }
}

/// An attempt asks again, with the same ballot or with a larger one.
fn rounds() -> Scenario {
    let ballots = &[1, 2, 3];
    Scenario { name: "rounds", rounds: 2, yields: true, ttl: 2, ballots, horizon: 3, ..PLAIN }
}

/// Four nodes, of which three make a lease.
fn four_nodes() -> Scenario {
    Scenario { name: "four nodes", nodes: 4, quorum: 3, horizon: 1, ..PLAIN }
}

/// Nodes lose what they knew.
fn losses() -> Scenario {
    Scenario {
        name: "losses",
        ttl: 2,
        quarantine: 3,
        clamp: 1,
        restarts: 2,
        kept_restarts: true,
        ballots: &[1, 2, 4],
        horizon: 4,
        ..PLAIN
    }
}

/// Nodes' clocks differ and step back, and some ballots are far ahead.
fn clocks() -> Scenario {
    Scenario {
        name: "clocks",
        quarantine: 3,
        clamp: 1,
        ballots: &[1, 2, 3, 9],
        clocks: &[0, 1],
        restarts: 1,
        kept_restarts: true,
        horizon: 4,
        ..PLAIN
    }
}

/// Clocks may step back by 1 in each of two restarts. The first quarantine
/// outlasts one such step, the second outlasts both.
pub fn stepwise() -> (Scenario, Scenario) {
    let short = Scenario {
        name: "two steps, quarantine for one",
        quarantine: 2,
        clamp: 1,
        ballots: &[3],
        clocks: &[0, 1, 2],
        step_back: 1,
        restarts: 2,
        kept_restarts: true,
        horizon: 3,
        ..PLAIN
    };
    let name = "two steps, quarantine for both";
    (short.clone(), Scenario { name, quarantine: 3, ..short })
}

/// Leases are renewed and healed.
fn renewals() -> Scenario {
    Scenario { name: "renewals", ttl: 3, renewals: true, horizon: 4, ..PLAIN }
}

/// Likewise, but a node heals only what is larger than the stored ballot.
fn strict_renewals() -> Scenario {
    Scenario { name: "strict renewals", strict_heal: true, ..renewals() }
}

/// Leases are renewed while nodes lose what they knew.
fn healing() -> Scenario {
    Scenario {
        name: "healing",
        ttl: 3,
        quarantine: 4,
        clamp: 3,
        ballots: &[2, 5],
        restarts: 2,
        renewals: true,
        horizon: 5,
        ..PLAIN
    }
}

/// Names lead to other nodes than before, while leases are taken and renewed.
fn names() -> Scenario {
    let ballots = &[1, 2];
    Scenario {
        name: "names",
        ttl: 2,
        misleading: true,
        renewals: true,
        ballots,
        horizon: 3,
        ..PLAIN
    }
}

/// Clients' clocks are slow.
fn drift() -> Scenario {
    Scenario { name: "drift", ttl: 2, margin: 1, drift: true, renewals: true, horizon: 4, ..PLAIN }
}

/// Slow clients, different clocks, a restart, renewals: all that is above.
fn everything() -> Scenario {
    Scenario {
        name: "everything",
        ttl: 2,
        margin: 1,
        drift: true,
        quarantine: 3,
        clamp: 1,
        ballots: &[2, 4],
        clocks: &[0, 1],
        restarts: 1,
        kept_restarts: true,
        renewals: true,
        horizon: 4,
        ..PLAIN
    }
}

/// Larger worlds, for a program that may take its time. The largest were never
/// looked at to the end.
pub fn large(largest: bool) -> Vec<Scenario> {
    let mut all = if largest {
        vec![
            Scenario { kept_restarts: true, horizon: 4, ..older_data() },
            raised_in_restarts(),
            Scenario { ttl: 3, horizon: 4, ..three_leases() },
        ]
    } else {
        vec![
            Scenario { ttl: 2, horizon: 3, ..claims() },
            Scenario { ballots: &[1, 2, 4, 5], horizon: 5, ..losses() },
            three_leases(),
            longer(),
            healing_older_data(),
            older_data(),
        ]
    };
    all.extend(shared::large(largest));
    all
}

/// Three leases, one after the other or one not over yet, all renewed.
fn three_leases() -> Scenario {
    Scenario {
        name: "three leases",
        attempts: 3,
        ttl: 2,
        ballots: &[1, 2, 3],
        renewals: true,
        horizon: 3,
        ..PLAIN
    }
}

/// Everything together, with more ballots and a longer quarantine.
fn longer() -> Scenario {
    let name = "everything, three ballots";
    Scenario { name, quarantine: 4, clamp: 2, ballots: &[1, 3, 5], ..everything() }
}

/// Leases are renewed and healed where a node restarts with older data.
fn healing_older_data() -> Scenario {
    let name = "healing, older data";
    Scenario { name, restarts: 1, kept_restarts: true, saves: true, ..healing() }
}

/// Everything together, and nodes may restart with older data.
fn older_data() -> Scenario {
    Scenario {
        name: "everything, older data",
        quarantine: 2,
        kept_restarts: false,
        saves: true,
        horizon: 3,
        ..everything()
    }
}

/// An attempt asks for a larger ballot where it held one before a restart.
fn raised_in_restarts() -> Scenario {
    Scenario {
        name: "rounds, older data",
        rounds: 2,
        ttl: 2,
        quarantine: 2,
        clamp: 1,
        ballots: &[1, 3],
        clocks: &[0, 1],
        restarts: 1,
        kept_restarts: true,
        saves: true,
        horizon: 3,
        ..PLAIN
    }
}
