//! What the holders say they held, and whether that can be.

use std::collections::BTreeMap;
use std::time::Duration;

/// How a lease is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Alone,
    Shared,
    /// One of the permits.
    Slot(u32),
}

impl Kind {
    fn read(word: &str) -> Option<Self> {
        match word {
            "alone" => Some(Self::Alone),
            "shared" => Some(Self::Shared),
            slot => slot.parse().ok().map(Self::Slot),
        }
    }
}

/// One lease, from the moment it was in its holder's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// The lock.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Another process has handed it on.
    pub(super) is_adopted: bool,
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

    /// One of the two cannot be held while the other is.
    fn disturbs(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Shared, Kind::Shared) => self.fence != other.fence,
            (Kind::Slot(one), Kind::Slot(other)) => one == other,
            _ => true,
        }
    }

    /// It may have the fence of one that is over.
    fn continues(&self, before: &Self) -> bool {
        let is_same_turn = (self.kind, before.kind) == (Kind::Shared, Kind::Shared);
        self.fence == before.fence && (is_same_turn || self.is_adopted || before.is_adopted)
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
    /// By what they are of, until when locks rest that were given back.
    rests: BTreeMap<(usize, u64), u64>,
    refused: Vec<String>,
    strange: Vec<String>,
}

impl History {
    /// Take down what a worker prints: `held HOLD TIME EARLIEST FENCE NAME KIND`, where
    /// KIND is `alone`, `shared` or a slot, and then `adopted` if it was handed on; then any
    /// number of `valid HOLD TIME DEADLINE`, then perhaps `over HOLD TIME`, and
    /// `rests HOLD TIME UNTIL` if its lock rests;
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
                let (name, kind) = (next()?.to_owned(), Kind::read(next()?)?);
                let is_adopted = next() == Some("adopted");
                let (start, deadline, ended) = (time, time, None);
                let hold = Hold { name, kind, is_adopted, fence, earliest, start, deadline, ended };
                self.holds.insert(key, hold);
            }
            "rests" => drop(self.rests.insert(key, next()?.parse().ok()?)),
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

    /// Pairs of leases of one lock that were held at the same time and cannot be.
    pub(super) fn overlaps(&self) -> Vec<String> {
        let mut found = Vec::new();
        for holds in self.by_name() {
            let mut now: Vec<&Hold> = Vec::new();
            for hold in holds.iter().filter(|hold| hold.has_lasted()) {
                now.retain(|before| before.end() > hold.start);
                if let Some(before) = now.iter().find(|before| hold.disturbs(before)) {
                    let micros = (before.end() - hold.start).min(hold.end() - hold.start) / 1000;
                    found.push(format!("two hold for {micros} µs: {before:?} and {hold:?}"));
                }
                now.push(hold);
            }
        }
        found
    }

    /// Leases that were granted while their lock rested.
    pub(super) fn early(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (key, until) in &self.rests {
            let Some(rested) = self.holds.get(key) else { continue };
            let is_early = |hold: &&Hold| {
                let is_later = hold.name == rested.name && hold.fence > rested.fence;
                is_later && hold.has_lasted() && hold.start < *until
            };
            found.extend(self.holds.values().find(is_early).map(|hold| {
                format!("it was to rest until {until}: {rested:?}, and then {hold:?}")
            }));
        }
        found
    }

    /// How many of each kind.
    pub(super) fn kinds(&self) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        for hold in self.holds.values() {
            let kind = match hold.kind {
                _ if hold.is_adopted => "adopted",
                Kind::Alone => "alone",
                Kind::Shared => "shared",
                Kind::Slot(_) => "counted",
            };
            *kinds.entry(kind).or_default() += 1;
        }
        kinds.insert("rests", self.rests.len());
        kinds
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
        for mut holds in self.by_slot() {
            holds.sort_by_key(begin);
            let mut by_end: Vec<&Hold> = holds.iter().filter(|hold| hold.has_lasted()).collect();
            by_end.sort_by_key(|hold| hold.end());
            let mut over = by_end.into_iter().peekable();
            let mut largest: Option<&Hold> = None;
            for hold in &holds {
                while let Some(before) = over.next_if(|before| before.end() <= begin(hold)) {
                    largest = largest.filter(|l| l.fence > before.fence).or(Some(before));
                }
                let falls = |before: &&Hold| before.fence >= hold.fence && !hold.continues(before);
                if let Some(before) = largest.filter(falls) {
                    found.push(format!("the fence did not rise: {before:?} then {hold:?}"));
                }
            }
        }
        found
    }

    /// The same for each permit, whose fences rise by themselves.
    fn by_slot(&self) -> Vec<Vec<Hold>> {
        let mut slots: BTreeMap<(String, Option<u32>), Vec<Hold>> = BTreeMap::new();
        for hold in self.by_name().into_iter().flatten() {
            let slot = if let Kind::Slot(slot) = hold.kind { Some(slot) } else { None };
            slots.entry((hold.name.clone(), slot)).or_default().push(hold);
        }
        slots.into_values().collect()
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
            (0, "held 5 100 100 5 a alone"),
            (0, "valid 5 110 200"),
            (0, "over 5 120"),
            (1, "held 6 130 130 6 a alone"),
            (1, "valid 6 130 300"),
            (0, "held 2 140 140 2 b alone"),
            (1, "held 7 300 300 7 a alone"),
        ]);
        assert_eq!((history.overlaps(), history.falling_fences(true)), (vec![], vec![]));
        assert_eq!(history.holds(), 4);
    }

    #[test]
    fn a_lease_that_is_not_given_back_counts_until_its_deadline() {
        let lines = [
            (0, "held 5 100 100 5 a alone"),
            (0, "valid 5 110 200"),
            (1, "held 6 199 199 6 a alone"),
        ];
        assert_eq!(history(&lines).overlaps().len(), 0, "the second ends as it begins");
        let lines = [&lines[..], &[(1, "valid 6 199 300")]].concat();
        assert_eq!(history(&lines).overlaps().len(), 1);
        let mut killed = history(&lines);
        killed.killed(0, 150);
        assert_eq!(killed.overlaps().len(), 0);
    }

    #[test]
    fn a_long_hold_is_compared_with_all_within_it() {
        let long = [(0, "held 1 100 100 1 a alone"), (0, "valid 1 100 900")];
        let short = [
            (1, "held 2 200 200 2 a alone"),
            (1, "valid 2 200 300"),
            (1, "held 3 400 400 3 a alone"),
        ];
        let history = history(&[&long[..], &short, &[(1, "valid 3 400 500")]].concat());
        assert_eq!(history.overlaps().len(), 2);
    }

    #[test]
    fn fences_that_repeat_or_fall_are_found() {
        let first = [(0, "held 5 100 100 5 a alone"), (0, "valid 5 100 200")];
        for (second, falls) in [("held 4 200 200 4 a alone", 1), ("held 6 200 200 6 a alone", 0)] {
            let history = history(&[&first[..], &[(1, second)]].concat());
            assert_eq!(history.falling_fences(true).len(), falls, "{second}");
        }
        let same = history(&[&first[..], &[(1, "held 5 300 300 5 a alone")]].concat());
        assert_eq!(same.falling_fences(true).len(), 1);
    }

    #[test]
    fn those_who_share_one_turn_are_fine_and_those_of_two_are_not() {
        let first = [(0, "held 1 100 100 5 a shared"), (0, "valid 1 100 300")];
        for (other, broken) in [
            ("held 2 200 200 5 a shared", 0),
            ("held 2 200 200 6 a shared", 1),
            ("held 2 200 200 6 a alone", 1),
        ] {
            let history = history(&[&first[..], &[(1, other), (1, "valid 2 200 400")]].concat());
            assert_eq!(history.overlaps().len(), broken, "{other}");
        }
        let later = history(&[&first[..], &[(1, "held 2 300 300 5 a shared")]].concat());
        assert_eq!(later.falling_fences(true), [""; 0]);
        let alone = history(&[&first[..], &[(1, "held 2 300 300 5 a alone")]].concat());
        assert_eq!(alone.falling_fences(true).len(), 1);
    }

    #[test]
    fn each_permit_has_one_holder_and_fences_of_its_own() {
        let first = [(0, "held 1 100 100 5 a 0"), (0, "valid 1 100 300")];
        for (other, overlaps, falls) in [
            ("held 2 200 200 6 a 1", 0, 0),
            ("held 2 200 200 6 a 0", 1, 0),
            ("held 2 300 300 4 a 1", 0, 0),
            ("held 2 300 300 4 a 0", 0, 1),
        ] {
            let lines = [&first[..], &[(1, other), (1, "valid 2 300 400")]].concat();
            let history = history(&lines);
            let found = (history.overlaps().len(), history.falling_fences(true).len());
            assert_eq!(found, (overlaps, falls), "{other}");
        }
    }

    #[test]
    fn what_is_handed_on_goes_on_and_what_rests_is_left_alone() {
        let first = [(0, "held 1 100 100 5 a alone"), (0, "valid 1 100 300"), (0, "over 1 200")];
        let adopted = [(1, "held 2 250 250 5 a alone adopted"), (1, "valid 2 250 400")];
        let history_of = |more: &[(usize, &str)]| history(&[&first[..], more].concat());
        assert_eq!(history_of(&adopted).falling_fences(true), [""; 0]);
        assert_eq!(history_of(&adopted).overlaps(), [""; 0]);
        let rests = [(0, "rests 1 200 260")];
        let next = |start: u64| format!("held 2 {start} {start} 6 a alone");
        for (start, early) in [(250, 1), (260, 0)] {
            let next = next(start);
            let more = [&rests[..], &[(1, &*next), (1, "valid 2 260 400")]].concat();
            assert_eq!(history_of(&more).early().len(), early, "{start}");
        }
    }
}
