//! What the holders say they held, and whether that can be.

use std::collections::BTreeMap;

/// One lease, from the moment it was in its holder's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// The lock.
    pub(super) name: String,
    /// Its fence.
    pub(super) fence: u64,
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
    holds: BTreeMap<(usize, u64), Hold>,
    killed: BTreeMap<usize, u64>,
    strange: Vec<String>,
}

impl History {
    /// Take down what a worker prints: `held FENCE TIME NAME`, then any number
    /// of `valid FENCE TIME DEADLINE`, then perhaps `over FENCE TIME`.
    pub(super) fn read(&mut self, worker: usize, line: &str) {
        if self.understand(worker, line).is_none() {
            self.strange.push(format!("worker {worker} said {line:?}"));
        }
    }

    fn understand(&mut self, worker: usize, line: &str) -> Option<()> {
        let mut words = line.splitn(4, ' ');
        let (what, fence) = (words.next()?, words.next()?.parse().ok()?);
        let (time, rest) = (words.next()?.parse().ok()?, words.next());
        let key = (worker, fence);
        match what {
            "held" => {
                let name = rest?.to_owned();
                let hold = Hold { name, fence, start: time, deadline: time, ended: None };
                self.holds.insert(key, hold);
            }
            "valid" => {
                self.holds.get_mut(&key)?.deadline = rest?.parse().ok()?;
            }
            "over" => self.holds.get_mut(&key)?.ended = Some(time),
            _ => return None,
        }
        Some(())
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
    pub(super) fn falling_fences(&self) -> Vec<String> {
        let mut found = Vec::new();
        for holds in self.by_name() {
            let mut by_end: Vec<&Hold> = holds.iter().filter(|hold| hold.has_lasted()).collect();
            by_end.sort_by_key(|hold| hold.end());
            let mut over = by_end.into_iter().peekable();
            let mut largest: Option<&Hold> = None;
            for hold in &holds {
                while let Some(before) = over.next_if(|before| before.end() <= hold.start) {
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
            (0, "held 5 100 a"),
            (0, "valid 5 110 200"),
            (0, "over 5 120"),
            (1, "held 6 130 a"),
            (1, "valid 6 130 300"),
            (0, "held 2 140 b"),
            (1, "held 7 300 a"),
        ]);
        assert_eq!((history.overlaps(), history.falling_fences()), (vec![], vec![]));
        assert_eq!(history.holds(), 4);
    }

    #[test]
    fn a_lease_that_is_not_given_back_counts_until_its_deadline() {
        let lines = [(0, "held 5 100 a"), (0, "valid 5 110 200"), (1, "held 6 199 a")];
        assert_eq!(history(&lines).overlaps().len(), 0, "the second ends as it begins");
        let lines = [&lines[..], &[(1, "valid 6 199 300")]].concat();
        assert_eq!(history(&lines).overlaps().len(), 1);
        let mut killed = history(&lines);
        killed.killed(0, 150);
        assert_eq!(killed.overlaps().len(), 0);
    }

    #[test]
    fn a_long_hold_is_compared_with_all_within_it() {
        let long = [(0, "held 1 100 a"), (0, "valid 1 100 900")];
        let short = [(1, "held 2 200 a"), (1, "valid 2 200 300"), (1, "held 3 400 a")];
        let history = history(&[&long[..], &short, &[(1, "valid 3 400 500")]].concat());
        assert_eq!(history.overlaps().len(), 2);
    }

    #[test]
    fn fences_that_repeat_or_fall_are_found() {
        let first = [(0, "held 5 100 a"), (0, "valid 5 100 200")];
        for (second, falls) in [("held 4 200 a", 1), ("held 6 200 a", 0)] {
            let history = history(&[&first[..], &[(1, second)]].concat());
            assert_eq!(history.falling_fences().len(), falls, "{second}");
        }
        let same = history(&[&first[..], &[(1, "held 5 300 a")]].concat());
        assert_eq!(same.falling_fences().len(), 1);
    }
}
