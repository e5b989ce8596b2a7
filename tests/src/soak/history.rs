//! What the holders say they held, and whether that can be.

use std::collections::BTreeMap;
use std::time::Duration;

/// One lease, from the moment it was in its holder's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// The lock.
    pub(super) name: String,
    /// Its fence.
    pub(super) fence: u64,
    /// Before that it was not granted.
    pub(super) earliest: u64,
    /// When acquire had returned.
    pub(super) start: u64,
    /// Until when it was to be, when the holder last looked and it was valid.
    pub(super) deadline: u64,
    /// When the holder called release, or was killed.
    pub(super) ended: Option<u64>,
}

impl Hold {
    /// A holder may act on a lease until it gives it back or its deadline comes.
    fn end(&self) -> u64 {
        self.ended.map_or(self.deadline, |ended| ended.min(self.deadline))
    }

    /// Not if its holder was stopped before it had looked at it once.
    fn has_lasted(&self) -> bool {
        self.start < self.end()
    }
}

/// All holds of one run. Times are those of the one clock of this machine.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By worker, and by what the worker calls it.
    holds: BTreeMap<(usize, u64), Hold>,
    started: BTreeMap<usize, u64>,
    killed: BTreeMap<usize, u64>,
    refused: Vec<String>,
    strange: Vec<String>,
}

impl History {
    /// Take down what a worker prints: `held HOLD TIME EARLIEST FENCE NAME`, then any
    /// number of `valid HOLD TIME DEADLINE`, then perhaps `over HOLD TIME`; and
    /// `refused HOLD TIME` if its fence was too small while it was valid.
    pub(super) fn read(&mut self, worker: usize, line: &str) {
        if self.understand(worker, line).is_none() {
            self.strange.push(format!("worker {worker} said {line:?}"));
        }
    }

    fn understand(&mut self, worker: usize, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let mut next = || words.next();
        let (what, key) = (next()?, (worker, next()?.parse().ok()?));
        let time = next()?.parse().ok()?;
        match what {
            "held" => {
                let (earliest, fence) = (next()?.parse().ok()?, next()?.parse().ok()?);
                let name = next()?.to_owned();
                let hold = Hold { name, fence, earliest, start: time, deadline: time, ended: None };
                self.holds.insert(key, hold);
            }
            "valid" => self.holds.get_mut(&key)?.deadline = next()?.parse().ok()?,
            "over" => self.holds.get_mut(&key)?.ended = Some(time),
            "refused" => {
                let hold = self.holds.get(&key)?;
                self.refused.push(format!("the register refused a holder at {time}: {hold:?}"));
            }
            _ => return None,
        }
        Some(())
    }

    /// The worker was started then.
    pub(super) fn started(&mut self, worker: usize, time: u64) {
        self.started.insert(worker, time);
    }

    /// The worker was killed then: it held nothing any more.
    pub(super) fn killed(&mut self, worker: usize, time: u64) {
        self.killed.insert(worker, time);
    }

    /// How many leases were held.
    pub(super) fn holds(&self) -> usize {
        self.holds.len()
    }

    /// What workers said that is not known.
    pub(super) fn strange(&self) -> &[String] {
        &self.strange
    }

    /// Holders whose fence was too small.
    pub(super) fn refused(&self) -> &[String] {
        &self.refused
    }

    /// The longest time in which a worker was given nothing. It may have been
    /// stopped for a part of it.
    pub(super) fn longest_wait(&self) -> Duration {
        let waits = self.started.iter().map(|(worker, started)| {
            let holds = self.holds.range((*worker, 0)..=(*worker, u64::MAX));
            let mut times: Vec<u64> = holds.map(|(_, hold)| hold.start).collect();
            times.extend([*started].into_iter().chain(self.killed.get(worker).copied()));
            times.sort_unstable();
            times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
        });
        Duration::from_nanos(waits.max().unwrap_or_default())
    }

    /// The longest time in which nobody held a lock.
    pub(super) fn longest_free(&self) -> Duration {
        let free = self.by_name().into_iter().flat_map(|holds| {
            let mut over = holds.first().map_or(0, |hold| hold.start);
            let free = holds.into_iter().map(move |hold| {
                let free = hold.start.saturating_sub(over);
                over = over.max(hold.end());
                free
            });
            free.collect::<Vec<_>>()
        });
        Duration::from_nanos(free.max().unwrap_or_default())
    }

    /// Pairs of leases of one lock that were held at the same time.
    pub(super) fn overlaps(&self) -> Vec<String> {
        let mut found = Vec::new();
        for holds in self.by_name() {
            let mut longest: Option<&Hold> = None;
            for hold in &holds {
                let met = |before: &&Hold| hold.has_lasted() && hold.start < before.end();
                if let Some(before) = longest.filter(met) {
                    let micros = (before.end() - hold.start).min(hold.end() - hold.start) / 1000;
                    found.push(format!("two hold for {micros} µs: {before:?} and {hold:?}"));
                }
                longest = longest.filter(|before| before.end() > hold.end()).or(Some(hold));
            }
        }
        found
    }

    /// Leases whose fence is not larger than that of a lease that was over before.
    /// Where two may hold, a lease may have been granted long before its holder
    /// was told, and only what was granted later must have a larger fence.
    pub(super) fn falling_fences(&self, exclusive: bool) -> Vec<String> {
        let begin = |hold: &Hold| match exclusive && hold.has_lasted() {
            true => hold.start,
            false => hold.earliest,
        };
        let mut found = Vec::new();
        for mut holds in self.by_name() {
            holds.sort_by_key(begin);
            let mut by_end: Vec<&Hold> = holds.iter().filter(|hold| hold.has_lasted()).collect();
            by_end.sort_by_key(|hold| hold.end());
            let mut over = by_end.into_iter().peekable();
            let mut largest: Option<&Hold> = None;
            for hold in &holds {
                while let Some(before) = over.next_if(|before| before.end() <= begin(hold)) {
                    largest = largest.filter(|l| l.fence > before.fence).or(Some(before));
                }
                if let Some(before) = largest.filter(|before| before.fence >= hold.fence) {
                    found.push(format!("the fence did not rise: {before:?} then {hold:?}"));
                }
            }
        }
        found
    }

    /// In the order in which they were acquired.
    fn by_name(&self) -> Vec<Vec<Hold>> {
        let mut names: BTreeMap<&str, Vec<Hold>> = BTreeMap::new();
        for ((worker, _), hold) in &self.holds {
            let mut known = hold.clone();
            known.ended = known.ended.or(self.killed.get(worker).copied());
            names.entry(&hold.name).or_default().push(known);
        }
        names.values_mut().for_each(|holds| holds.sort_by_key(|hold| hold.start));
        names.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(lines: &[(usize, &str)]) -> History {
        let mut history = History::default();
        lines.iter().for_each(|(worker, line)| history.read(*worker, line));
        assert_eq!(history.strange(), [""; 0]);
        history
    }

    #[test]
    fn one_after_the_other_is_fine() {
        let history = history(&[
            (0, "held 5 100 100 5 a"),
            (0, "valid 5 110 200"),
            (0, "over 5 120"),
            (1, "held 6 130 130 6 a"),
            (1, "valid 6 130 300"),
            (0, "held 2 140 140 2 b"),
            (1, "held 7 300 300 7 a"),
        ]);
        assert_eq!((history.overlaps(), history.falling_fences(true)), (vec![], vec![]));
        assert_eq!(history.holds(), 4);
    }

    #[test]
    fn a_lease_that_is_not_given_back_counts_until_its_deadline() {
        let lines = [(0, "held 5 100 100 5 a"), (0, "valid 5 110 200"), (1, "held 6 199 199 6 a")];
        assert_eq!(history(&lines).overlaps().len(), 0, "the second ends as it begins");
        let lines = [&lines[..], &[(1, "valid 6 199 300")]].concat();
        assert_eq!(history(&lines).overlaps().len(), 1);
        let mut killed = history(&lines);
        killed.killed(0, 150);
        assert_eq!(killed.overlaps().len(), 0);
    }

    #[test]
    fn a_long_hold_is_compared_with_all_within_it() {
        let long = [(0, "held 1 100 100 1 a"), (0, "valid 1 100 900")];
        let short = [(1, "held 2 200 200 2 a"), (1, "valid 2 200 300"), (1, "held 3 400 400 3 a")];
        let history = history(&[&long[..], &short, &[(1, "valid 3 400 500")]].concat());
        assert_eq!(history.overlaps().len(), 2);
    }

    #[test]
    fn fences_that_repeat_or_fall_are_found() {
        let first = [(0, "held 5 100 100 5 a"), (0, "valid 5 100 200")];
        for (second, falls) in [("held 4 200 200 4 a", 1), ("held 6 200 200 6 a", 0)] {
            let history = history(&[&first[..], &[(1, second)]].concat());
            assert_eq!(history.falling_fences(true).len(), falls, "{second}");
        }
        let same = history(&[&first[..], &[(1, "held 5 300 300 5 a")]].concat());
        assert_eq!(same.falling_fences(true).len(), 1);
    }
}
