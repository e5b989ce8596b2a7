//! The scenarios in which some share the lock.

use crate::rules::{Property, Rule};
use crate::scenario::{PLAIN, Scenario};

/// Of two attempts both share, or one of them, which comes first or second.
const ONE_OR_BOTH: &[u8] = &[0b11, 0b01, 0b10];
/// One of two.
const ONE: &[u8] = &[0b01, 0b10];
/// Two of three.
const TWO_OF_THREE: &[u8] = &[0b011, 0b101, 0b110];
/// Two, one before the third and one after it.
const AROUND: &[u8] = &[0b101];

/// All that the tests look at, each with the least number of its states.
pub(super) fn scenarios() -> Vec<(Scenario, usize)> {
    vec![
        (claims(), 2_800_000),
        (wanted(), 2_300_000),
        (rounds(), 3_800_000),
        (losses(), 2_200_000),
        (clocks(), 1_600_000),
        (renewals(), 2_800_000),
        (fresh(), 360_000),
        (around(), 5_700_000),
        (late(), 2_500_000),
        (drift(), 3_000_000),
        (healing(), 640_000),
        (healing_both(), 600_000),
        (names(), 1_900_000),
    ]
}

/// See [`plantings`](super::plantings).
pub(super) fn plantings() -> Vec<(Rule, Property, Scenario)> {
    use Property::{Exclusion, Fences, NoZombie, Turns};
    vec![
        (Rule::WriterWaits, Exclusion, claims()),
        (Rule::ReaderWaits, Exclusion, claims()),
        (Rule::OwnShareOnly, Exclusion, claims()),
        (Rule::JoinIsUnspent, NoZombie, claims()),
        (Rule::OneTurn, Turns, claims()),
        (Rule::TurnsRise, Fences, wanted()),
        (Rule::TurnStays, Turns, wanted()),
        (Rule::NoHealAmongReaders, Exclusion, late()),
        (Rule::NoHealBesideWriter, Exclusion, late()),
        (Rule::OldTurnsAreClosed, Fences, around()),
        (Rule::RenewalOfItsTurn, Turns, renewals()),
        (Rule::LargestIsReturned, NoZombie, fresh()),
        // The older rules, where some share.
        (Rule::Burn, NoZombie, claims()),
        (Rule::Majority, Turns, claims()),
        (Rule::SecondReading, Fences, claims()),
        (Rule::AnswersOfThisRound, Turns, rounds()),
        (Rule::ReturnOfItsRound, Turns, rounds()),
        (Rule::Quarantine, Turns, losses()),
        (Rule::QuarantineOutlastsLeases, Turns, losses()),
        (Rule::Floor, Fences, losses()),
        (Rule::FreedStaysFree, NoZombie, fresh()),
        (Rule::Margin, Turns, drift()),
        (Rule::Clamp, Fences, clocks()),
        (Rule::OneVotePerServer, Turns, names()),
        (Rule::NoHealInQuarantine, Exclusion, healing()),
        (Rule::RenewalInTime, Fences, renewals()),
        (Rule::AnswersOfThisRound, Turns, renewals()),
    ]
}

/// Three attempts whose messages come late, again, or never.
fn claims() -> Scenario {
    Scenario { name: "shared claims", attempts: 3, shared: TWO_OF_THREE, horizon: 1, ..PLAIN }
}

/// Who shares asks for one turn or another.
fn wanted() -> Scenario {
    let ballots = &[1, 2, 3];
    Scenario { name: "wanted turns", shared: &[0b11], wants: true, ballots, horizon: 1, ..PLAIN }
}

/// An attempt asks again, with the same ballot or with a larger one.
fn rounds() -> Scenario {
    let (shared, horizon) = (ONE_OR_BOTH, 2);
    Scenario { name: "shared rounds", shared, rounds: 2, yields: true, horizon, ..PLAIN }
}

/// Nodes lose what they knew.
fn losses() -> Scenario {
    Scenario {
        name: "shared losses",
        shared: ONE_OR_BOTH,
        ttl: 2,
        quarantine: 3,
        clamp: 1,
        restarts: 1,
        kept_restarts: true,
        ballots: &[1, 4],
        horizon: 4,
        ..PLAIN
    }
}

/// Leases are renewed, and healed where another turn was begun.
fn renewals() -> Scenario {
    let shared = ONE_OR_BOTH;
    Scenario { name: "shared renewals", shared, ttl: 2, renewals: true, horizon: 3, ..PLAIN }
}

/// Likewise, by larger ballots each time.
fn fresh() -> Scenario {
    Scenario { name: "fresh renewals", ttl: 1, fresh: true, horizon: 1, ..renewals() }
}

/// A renewal from before somebody was alone comes after that, and others share.
fn around() -> Scenario {
    let (attempts, shared) = (3, AROUND);
    Scenario { name: "readers around a writer", attempts, shared, horizon: 2, ttl: 1, ..renewals() }
}

/// Three leases whose messages come late; the one in the middle shares or is alone.
fn late() -> Scenario {
    let (shared, ballots) = (&[0b010, 0b101], &[1, 2, 3]);
    Scenario { name: "late renewals", shared, ballots, horizon: 0, ..around() }
}

/// A node restarts with an older record, in which a turn lives that was given back.
fn older_data() -> Scenario {
    Scenario {
        name: "a turn from older data",
        attempts: 3,
        shared: AROUND,
        quarantine: 1,
        clamp: 0,
        clocks: &[1, 2],
        restarts: 1,
        saves: true,
        horizon: 1,
        ..PLAIN
    }
}

/// Clients' clocks are slow.
fn drift() -> Scenario {
    let name = "shared drift";
    Scenario { name, margin: 1, drift: true, ..renewals() }
}

/// Nodes' clocks differ and step back, and some ballots are far ahead.
fn clocks() -> Scenario {
    let (ballots, clocks) = (&[1, 9], &[0, 1]);
    Scenario { name: "shared clocks", ttl: 1, ballots, clocks, horizon: 3, ..losses() }
}

/// Leases are renewed, one of them shared, while nodes lose what they knew.
fn healing() -> Scenario {
    Scenario {
        name: "shared healing",
        shared: ONE,
        ballots: &[2, 4],
        renewals: true,
        kept_restarts: false,
        ..losses()
    }
}

/// Likewise, and both are shared.
fn healing_both() -> Scenario {
    let name = "healing of two who share";
    let (shared, ballots) = (&[0b11], &[1, 3]);
    Scenario { name, shared, ballots, ttl: 1, quarantine: 2, horizon: 3, ..healing() }
}

/// Names lead to other nodes than before, while leases are taken and renewed.
fn names() -> Scenario {
    let horizon = 1;
    Scenario { name: "shared names", ttl: 1, misleading: true, horizon, ..renewals() }
}

/// Larger worlds; see [`large`](super::large).
pub(super) fn large(largest: bool) -> Vec<Scenario> {
    let any = &[0b011, 0b101, 0b110, 0b111];
    if largest {
        vec![
            Scenario { name: "wanted turns, rounds", wants: true, horizon: 1, ..rounds() },
            Scenario { name: "shared losses, two restarts", restarts: 2, ..losses() },
            older_data(),
            Scenario { name: "shared healing, longer", shared: ONE_OR_BOTH, ..healing() },
            Scenario {
                name: "shared everything",
                shared: ONE_OR_BOTH,
                drift: true,
                margin: 1,
                clocks: &[0, 1],
                ..healing()
            },
        ]
    } else {
        vec![
            Scenario { name: "shared claims, longer", shared: any, horizon: 2, ..claims() },
            Scenario { name: "two readers and a writer", shared: TWO_OF_THREE, ..around() },
        ]
    }
}
