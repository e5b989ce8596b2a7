//! Who waits for whom in a circle, across names and clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::backend::{Mode, Status, process};
use crate::name::LockName;

/// Processes of which each waits for a lock that another one of them holds, or one that
/// waits for its own lock.
///
/// It is a deadlock if each of them does one thing at a time. A process with several tasks
/// may go on: another one of its tasks may hold the lock, and give it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlock {
    /// Each wait in it, by the name of the lock.
    pub waits: Vec<Wait>,
}

/// One waits for a lock that another holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    /// What is waited for.
    pub lock: LockName,
    /// The label of who waits.
    pub waiter: Arc<str>,
    /// The label of who holds it, or of one of those who share it.
    pub holder: Arc<str>,
}

/// The numbers of the processes, from each to those that it waits for.
type Graph = [Vec<usize>];

/// All circles in what was seen, in the order of their locks.
pub(crate) fn deadlocks(seen: &[Status]) -> Vec<Deadlock> {
    let mut waits = blocked(seen);
    waits.sort();
    waits.dedup();
    let names: BTreeSet<&str> = waits.iter().flat_map(ends).collect();
    let numbers: BTreeMap<&str, usize> = names.into_iter().zip(0..).collect();
    let number = |wait: &Wait| ends(wait).map(|process| numbers[process]);
    let mut graph = vec![Vec::new(); numbers.len()];
    for [from, to] in waits.iter().map(number) {
        graph[from].push(to);
    }
    let circle = circles(&graph);
    let mut found: BTreeMap<usize, Vec<Wait>> = BTreeMap::new();
    for wait in &waits {
        let [from, to] = number(wait);
        if circle[from] == circle[to] {
            found.entry(circle[from]).or_default().push(wait.clone());
        }
    }
    let mut found: Vec<Deadlock> = found.into_values().map(|waits| Deadlock { waits }).collect();
    found.sort_by(|a, b| a.waits.cmp(&b.waits));
    found
}

/// The processes at both ends.
fn ends(wait: &Wait) -> [&str; 2] {
    // Those without one are not among the waits.
    [&wait.waiter, &wait.holder].map(|label| process(label).unwrap_or_default())
}

/// The waits whose end depends on somebody who waits, too. Who waits for one of several
/// permits goes on as soon as any of their holders does.
fn blocked(seen: &[Status]) -> Vec<Wait> {
    let has_process = |label: &Arc<str>| process(label).is_some();
    let mut waited: Vec<&Status> = seen.iter().filter(|it| !it.waiters.is_empty()).collect();
    loop {
        let waiting: BTreeSet<&str> = waited
            .iter()
            .flat_map(|status| status.waiters.iter().filter_map(|label| process(label)))
            .collect();
        let waits = |label: &Arc<str>| process(label).is_some_and(|it| waiting.contains(it));
        let before = waited.len();
        // What rests ends by itself.
        waited.retain(|status| match status.holder().filter(|it| !it.resting).map(|it| it.mode) {
            None => false,
            Some(Mode::Counted { .. }) => status.holders.iter().all(|holder| waits(&holder.label)),
            _ => status.holders.iter().any(|holder| waits(&holder.label)),
        });
        if waited.len() == before {
            break;
        }
    }
    let of = |status: &&Status| {
        let holders =
            status.holders.iter().map(|holder| &holder.label).filter(|it| has_process(it));
        let holders: Vec<_> = holders.cloned().collect();
        let lock = status.name.clone();
        let waiters = status.waiters.clone().into_iter().filter(has_process);
        waiters.flat_map(move |waiter| {
            let (lock, waiter) = (lock.clone(), waiter.clone());
            let wait = move |holder| Wait { lock: lock.clone(), waiter: waiter.clone(), holder };
            holders.clone().into_iter().map(wait)
        })
    };
    waited.iter().flat_map(of).collect()
}

/// For each a number that it shares with all those that it can reach and that reach it.
fn circles(graph: &Graph) -> Vec<usize> {
    let mut back = vec![Vec::new(); graph.len()];
    for (from, to) in
        graph.iter().enumerate().flat_map(|(it, all)| all.iter().map(move |to| (it, *to)))
    {
        back[to].push(from);
    }
    let mut order = Vec::with_capacity(graph.len());
    let mut seen = vec![false; graph.len()];
    (0..graph.len()).for_each(|from| reach(graph, from, &mut seen, &mut order));
    let mut circle = vec![0; graph.len()];
    let mut seen = vec![false; graph.len()];
    for from in order.into_iter().rev() {
        let mut reached = Vec::new();
        reach(&back, from, &mut seen, &mut reached);
        reached.into_iter().for_each(|it| circle[it] = from);
    }
    circle
}

/// All that is reached from here and was not `seen` before, the last first.
fn reach(graph: &Graph, from: usize, seen: &mut [bool], order: &mut Vec<usize>) {
    if std::mem::replace(&mut seen[from], true) {
        return;
    }
    // On the way, and how many of its ways were gone.
    let mut way = vec![(from, 0)];
    while let Some((at, gone)) = way.last_mut() {
        match graph[*at].get(*gone) {
            Some(next) => {
                *gone += 1;
                if !std::mem::replace(&mut seen[*next], true) {
                    way.push((*next, 0));
                }
            }
            None => {
                order.push(*at);
                way.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::Holder;
    use crate::time::{Clock, SystemClock};

    fn lock(name: &str, mode: Mode, holders: &[&str], waiters: &[&str]) -> Status {
        let holder = |label: &&str| Holder {
            label: (*label).into(),
            mode,
            slot: 0,
            fence: 1,
            held_for: Duration::ZERO,
            free_in: Duration::from_secs(1),
            resting: false,
        };
        Status {
            name: LockName::new(name).unwrap(),
            fence: 1,
            holders: holders.iter().map(holder).collect(),
            waiters: waiters.iter().map(|label| (*label).into()).collect(),
        }
    }

    fn found(seen: &[Status]) -> Vec<Vec<String>> {
        let tell = |wait: &Wait| format!("{} {} {}", wait.waiter, wait.lock, wait.holder);
        let all = deadlocks(seen).into_iter();
        all.map(|deadlock| deadlock.waits.iter().map(tell).collect()).collect()
    }

    const ALONE: Mode = Mode::Exclusive;
    const TWO: Mode = Mode::Counted { permits: 2 };

    #[test]
    fn two_that_wait_for_each_other_are_a_circle_and_who_waits_for_them_is_not_in_it() {
        let seen = [
            lock("a", ALONE, &["h:1 one"], &["h:2", "h:3"]),
            lock("b", ALONE, &["h:2"], &["h:1 other task"]),
            lock("c", ALONE, &["h:3"], &["h:4"]),
            lock("d", ALONE, &["h:5"], &["h:6"]),
        ];
        assert_eq!(found(&seen), [["h:2 a h:1 one", "h:1 other task b h:2"]]);
        assert_eq!(found(&seen[2..]), Vec::<Vec<String>>::new());
    }

    #[test]
    fn circles_are_told_apart_and_one_may_be_of_one_process() {
        let seen = [
            lock("a", ALONE, &["h:1"], &["h:1"]),
            lock("b", Mode::Shared, &["h:2", "h:9"], &["h:3"]),
            lock("c", ALONE, &["h:3"], &["h:2"]),
        ];
        assert_eq!(found(&seen), [vec!["h:1 a h:1"], vec!["h:3 b h:2", "h:2 c h:3"]]);
    }

    #[test]
    fn whoever_waits_for_a_permit_goes_on_when_any_of_their_holders_does() {
        let with = |holders: &[&str]| {
            found(&[lock("a", TWO, holders, &["h:3"]), lock("b", ALONE, &["h:3"], &["h:1"])])
        };
        assert_eq!(with(&["h:1", "h:2"]), Vec::<Vec<String>>::new());
        assert_eq!(with(&["h:1"]), [["h:3 a h:1", "h:1 b h:3"]]);
    }

    #[test]
    fn a_lock_that_rests_is_in_no_circle() {
        let mut seen = [lock("a", ALONE, &["h:1"], &["h:2"]), lock("b", ALONE, &["h:2"], &["h:1"])];
        assert_eq!(found(&seen).len(), 1);
        seen[0].holders[0].resting = true;
        assert_eq!(found(&seen), Vec::<Vec<String>>::new());
    }

    #[test]
    fn clients_of_other_libraries_are_in_no_circle() {
        let other = "a client of another library";
        assert_eq!(found(&[lock("a", ALONE, &[other], &[other])]), Vec::<Vec<String>>::new());
    }

    #[test]
    fn a_circle_through_a_thousand_locks_is_found_at_once() {
        let name = |number: usize| format!("h:{}", number % 1000);
        let one = |number: usize| {
            let others: Vec<String> = (1..20).map(|it| name(number + it)).collect();
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            lock(&format!("{number:04}"), ALONE, &[&name(number)], &others)
        };
        let seen: Vec<Status> = (0..1000).map(one).collect();
        let since = SystemClock.now();
        let all = deadlocks(&seen);
        assert!(SystemClock.now().since(since) < Duration::from_secs(1));
        assert_eq!((all.len(), all[0].waits.len()), (1, 19_000));
    }
}
