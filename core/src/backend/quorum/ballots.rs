//! Choosing ballots: by the nodes' clocks, never by the client's own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::node::CLAMP;
use crate::time::Instant;

/// What the clocks of the nodes said last.
pub(super) struct Ballots {
    state: Mutex<State>,
}

struct State {
    clocks: Vec<Option<Reading>>,
    /// The largest ballot that was chosen or heard of.
    highest: u64,
}

#[derive(Clone, Copy)]
struct Reading {
    micros: u64,
    at: Instant,
}

impl Reading {
    fn advanced(&self, now: Instant) -> u64 {
        self.micros + now.since(self.at).as_micros() as u64
    }
}

impl Ballots {
    pub(super) fn of(nodes: usize) -> Self {
        Self { state: Mutex::new(State { clocks: vec![None; nodes], highest: 0 }) }
    }

    /// A node's wall clock showed `micros` at `at` or a little before.
    pub(super) fn read(&self, node: usize, micros: u64, at: Instant) {
        self.state().clocks[node] = Some(Reading { micros, at });
    }

    /// Somebody else's ballot, which the next is to exceed. If it is so far
    /// ahead of the clocks that no node accepts a larger one, answers how long
    /// that lasts.
    pub(super) fn heard(&self, ballot: u64, now: Instant) -> Duration {
        let mut state = self.state();
        let acceptable = state.acceptable(now);
        if ballot < acceptable {
            state.highest = state.highest.max(ballot);
        }
        Duration::from_micros((ballot + 1).saturating_sub(acceptable))
    }

    /// A ballot larger than any before, unless the clocks went back; ahead of the clocks by
    /// `lead`, as far as nodes accept it.
    pub(super) fn next(&self, lead: Duration, now: Instant) -> u64 {
        let mut state = self.state();
        let (next, acceptable) = (state.highest + 1, state.acceptable(now));
        state.highest = if next < acceptable { next } else { 0 };
        let ahead = state.estimate(now) + lead.as_micros() as u64;
        state.highest = state.highest.max(ahead.min(acceptable - 1));
        state.highest
    }

    /// Whether the node's clock is so near the others' that it accepts ballots
    /// which they accept.
    pub(super) fn is_in_step(&self, node: usize, now: Instant) -> bool {
        let state = self.state();
        let estimate = state.estimate(now);
        state.clocks[node].is_none_or(|reading| {
            reading.advanced(now).abs_diff(estimate) <= (CLAMP / 2).as_micros() as u64
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Nodes accept less, by their own clocks, which are not all the same.
    fn acceptable(&self, now: Instant) -> u64 {
        self.estimate(now) + (CLAMP / 2).as_micros() as u64
    }

    /// What the nodes' clocks say now: the median, so that one wild clock
    /// neither drags the ballots ahead of what the others accept nor holds them
    /// back.
    fn estimate(&self, now: Instant) -> u64 {
        let clocks = self.clocks.iter().flatten();
        let mut clocks: Vec<u64> = clocks.map(|reading| reading.advanced(now)).collect();
        clocks.sort_unstable();
        // Of two, the lower: what is too small is answered by what is wanted.
        clocks.get(clocks.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn one_wild_clock_of_three_changes_nothing() {
        for wild in [0, 3600 * SECOND] {
            let ballots = Ballots::of(3);
            for (node, micros) in [1000 * SECOND, wild, 1001 * SECOND].into_iter().enumerate() {
                ballots.read(node, micros, at(5));
            }
            let ballot = ballots.next(Duration::ZERO, at(7));
            assert!((1002 * SECOND..=1003 * SECOND).contains(&ballot), "{ballot}");
        }
    }

    #[test]
    fn ballots_rise_in_one_instant_and_above_what_was_heard() {
        let ballots = Ballots::of(3);
        ballots.read(0, 1000 * SECOND, at(5));
        let first = ballots.next(Duration::ZERO, at(5));
        assert!(ballots.next(Duration::ZERO, at(5)) > first);
        assert_eq!(ballots.heard(1000 * SECOND + 9_000, at(5)), Duration::ZERO);
        assert_eq!(ballots.next(Duration::ZERO, at(5)), 1000 * SECOND + 9_001);
    }

    #[test]
    fn what_nobody_would_accept_is_not_followed() {
        let ballots = Ballots::of(3);
        ballots.read(0, 1000 * SECOND, at(5));
        let lasts = ballots.heard(2000 * SECOND, at(5));
        assert!(lasts > Duration::from_secs(999), "{lasts:?}");
        assert_eq!(ballots.next(Duration::ZERO, at(6)), 1001 * SECOND);
    }

    #[test]
    fn a_lead_is_over_the_clocks_and_not_over_what_was_ahead_and_nodes_accept_it() {
        let ballots = Ballots::of(3);
        ballots.read(0, 1000 * SECOND, at(5));
        for _ in 0..2 {
            let ballot = ballots.next(Duration::from_millis(300), at(5));
            assert!((0..2).contains(&(ballot - 1000 * SECOND - 300_000)), "{ballot}");
        }
        let ballot = ballots.next(Duration::from_secs(9), at(5));
        assert!(ballot < 1000 * SECOND + 500_000, "{ballot}");
    }
}
