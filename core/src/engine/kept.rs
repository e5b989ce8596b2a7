//! The leases of a client, by owner, by name, and by what is to be done next:
//! whoever looks for those that are due passes by no others.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Hold;
use crate::name::{LockName, Owner, take};
use crate::time::Instant;

#[derive(Default)]
pub(super) struct Kept {
    entries: HashMap<Owner, Entry>,
    names: HashMap<LockName, Vec<Owner>>,
    /// When each is renewed.
    renewals: BTreeSet<(Instant, Owner)>,
    /// When each is lost unless it is renewed before, or is given back if it is lost.
    ends: BTreeSet<(Instant, Owner)>,
    /// How many leases were looked at.
    #[cfg(test)]
    looked: std::cell::Cell<usize>,
}

/// One lease.
pub(super) struct Entry {
    pub(super) hold: Arc<Hold>,
    pub(super) renew_at: Option<Instant>,
    pub(super) failures: u32,
    /// It is lost, and the backend is not told before its deadline.
    pub(super) is_lost: bool,
    /// When there was a hint that it may be gone.
    pub(super) doubted_at: Option<Instant>,
    /// Under which times it is found.
    noted: Noted,
}

#[derive(Clone, Copy)]
struct Noted {
    renews_at: Option<Instant>,
    ends_at: Instant,
}

impl Entry {
    pub(super) fn new(hold: Arc<Hold>, renew_at: Option<Instant>) -> Self {
        let noted = Noted { renews_at: renew_at, ends_at: hold.lost_at() };
        Self { hold, renew_at, failures: 0, is_lost: false, doubted_at: None, noted }
    }

    /// One that is lost already.
    pub(super) fn lost(hold: Arc<Hold>) -> Self {
        Self { is_lost: true, ..Self::new(hold, None) }
    }

    fn times(&self) -> Noted {
        match self.is_lost {
            true => Noted { renews_at: None, ends_at: self.hold.given_back_at() },
            false => Noted { renews_at: self.renew_at, ends_at: self.hold.lost_at() },
        }
    }

    /// Whether it may be renewed now so as to save a request later.
    fn is_due_soon(&self, at: Instant, now: Instant) -> bool {
        at <= now + self.hold.ttl() / 6
    }
}

impl Kept {
    pub(super) fn insert(&mut self, mut entry: Entry) {
        let owner = entry.hold.held.owner;
        self.remove(owner);
        self.names.entry(entry.hold.held.name.clone()).or_default().push(owner);
        self.note(&mut entry);
        self.entries.insert(owner, entry);
    }

    pub(super) fn remove(&mut self, owner: Owner) -> Option<Entry> {
        let entry = self.entries.remove(&owner)?;
        let name = &entry.hold.held.name;
        if let Some(owners) = self.names.get_mut(name) {
            owners.retain(|other| *other != owner);
            if owners.is_empty() {
                take(&mut self.names, name);
            }
        }
        self.forget(&entry);
        Some(entry)
    }

    pub(super) fn get(&self, owner: Owner) -> Option<&Entry> {
        #[cfg(test)]
        self.looked.set(self.looked.get() + 1);
        self.entries.get(&owner)
    }

    /// Change a lease, and what is to be done with it when.
    pub(super) fn change(&mut self, owner: Owner, change: impl FnOnce(&mut Entry)) {
        let Some(mut entry) = self.entries.remove(&owner) else { return };
        self.forget(&entry);
        change(&mut entry);
        self.note(&mut entry);
        self.entries.insert(owner, entry);
    }

    fn note(&mut self, entry: &mut Entry) {
        let owner = entry.hold.held.owner;
        entry.noted = entry.times();
        self.renewals.extend(entry.noted.renews_at.map(|at| (at, owner)));
        self.ends.insert((entry.noted.ends_at, owner));
    }

    fn forget(&mut self, entry: &Entry) {
        let owner = entry.hold.held.owner;
        if let Some(at) = entry.noted.renews_at {
            self.renewals.remove(&(at, owner));
        }
        self.ends.remove(&(entry.noted.ends_at, owner));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// In the same order in every run of a simulation.
    pub(super) fn owners(&self) -> Vec<Owner> {
        let mut all: Vec<Owner> = self.entries.keys().copied().collect();
        all.sort_unstable();
        all
    }

    pub(super) fn all(&self) -> Vec<Arc<Hold>> {
        self.owners().iter().map(|owner| self.entries[owner].hold.clone()).collect()
    }

    /// Those of one name: what is held, and others that were lost.
    pub(super) fn named(&self, name: &LockName) -> Vec<Owner> {
        self.names.get(name).cloned().unwrap_or_default()
    }

    /// When anything is to be done next.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let firsts = [self.renewals.first(), self.ends.first()];
        firsts.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// One whose end has come.
    pub(super) fn ended(&self, now: Instant) -> Option<&Entry> {
        let (_, owner) = self.ends.first().filter(|(at, _)| *at <= now)?;
        self.get(*owner)
    }

    /// Those whose time to be renewed has come.
    pub(super) fn overdue(&self, now: Instant) -> impl Iterator<Item = &Entry> {
        let overdue = self.renewals.iter().take_while(move |(at, _)| *at <= now);
        overdue.filter_map(|(_, owner)| self.get(*owner))
    }

    /// What to renew now, the most urgent first: those that are due and, if there
    /// are any, those that are due soon after them.
    pub(super) fn due(&self, now: Instant, most: usize) -> Vec<Owner> {
        if self.renewals.first().is_none_or(|(at, _)| *at > now) {
            return Vec::new();
        }
        let is_soon = |(at, owner): &&(Instant, Owner)| {
            self.get(*owner).is_some_and(|entry| entry.is_due_soon(*at, now))
        };
        self.renewals.iter().take_while(is_soon).take(most).map(|(_, owner)| *owner).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::hold::Start;
    use super::super::{Hold, Plan};
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// A lease that began at `since`, in milliseconds, and is renewed a third of
    /// its ttl later.
    fn lease(number: u128, since: u64) -> Entry {
        let plan = Plan {
            name: LockName::new(&format!("x{number}")).unwrap(),
            ttl: TTL,
            delay: Duration::ZERO,
            mode: Default::default(),
            label: "".into(),
            max_hold: None,
            auto_renew: true,
            may_rest: false,
            asker: Default::default(),
        };
        let start = Start { since: at(since), lasts: TTL, now: at(since), is_short: false };
        let hold = Hold::new(&plan, Owner::from_bits(number), (number as u64, 0), &start);
        Entry::new(Arc::new(hold), Some(at(since) + TTL / 3))
    }

    /// A thousand that are a second apart.
    fn thousand() -> Kept {
        let mut kept = Kept::default();
        (0..1000).for_each(|number| kept.insert(lease(number.into(), number * 1000)));
        kept
    }

    fn looked(kept: &Kept) -> usize {
        kept.looked.take()
    }

    #[test]
    fn who_looks_for_what_is_due_passes_by_no_others() {
        let kept = thousand();
        looked(&kept);
        assert_eq!(kept.next_event(), Some(at(0) + TTL / 3));
        assert!(kept.due(at(3000), 100).is_empty() && kept.ended(at(3000)).is_none());
        assert_eq!(looked(&kept), 0);
        // Two are due, two more are in less than a sixth of their ttl.
        let due: Vec<u128> = kept.due(at(5000), 100).into_iter().map(Owner::bits).collect();
        assert_eq!(due, [0, 1, 2, 3]);
        assert_eq!(looked(&kept), 5);
        assert_eq!(kept.due(at(500_000), 100).len(), 100);
        assert_eq!(looked(&kept), 100);
        let named = kept.named(&LockName::new("x500").unwrap());
        assert_eq!((named, looked(&kept)), (vec![Owner::from_bits(500)], 0));
        assert_eq!(kept.ended(at(9000)).unwrap().hold.held.fence, 0);
        assert_eq!(looked(&kept), 1);
    }

    #[test]
    fn what_is_changed_is_found_under_its_new_times_alone() {
        let mut kept = thousand();
        let first = Owner::from_bits(0);
        kept.change(first, |entry| {
            entry.hold.extend(at(5000), TTL);
            entry.renew_at = Some(at(700_000));
        });
        assert_eq!(kept.due(at(6000), 1), [Owner::from_bits(1)]);
        assert_eq!(kept.ended(at(9800)).unwrap().hold.held.fence, 1);
        kept.change(Owner::from_bits(1), |entry| entry.is_lost = true);
        assert_eq!(kept.due(at(6000), 1), [Owner::from_bits(2)], "a lost one is not renewed");
        assert!(kept.ended(at(9800)).is_none(), "nor given back before its deadline");
        assert_eq!(kept.ended(at(10_800)).unwrap().hold.held.fence, 1);
        for number in 0..1000 {
            kept.remove(Owner::from_bits(number));
        }
        assert!(kept.is_empty() && kept.next_event().is_none() && kept.names.is_empty());
    }
}
