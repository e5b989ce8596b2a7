//! What a look at the line says of a claim that shares the lock, or counts permits; see
//! [`share`](super::share).

use std::collections::BTreeSet;

use super::claim::Asking;
use super::cluster::{Change, Condition, Done, Entry, Found, Keys, Order, Read, SessionId, Step};
use super::note::{self, Share};
use super::places::Place;
use super::proof::strange;
use super::sessions::Session;
use super::txns::{read_newest, read_one};
use crate::backend::{Answer, Mode};
use crate::error::Error;

/// What the line says of a claim.
pub(super) enum Verdict {
    /// It holds the lock, in this session.
    Holds(Share, u64, SessionId),
    /// It may, if these are met when its key is written.
    May(Share, Vec<Condition>),
    /// It waits for this.
    Waits { on: (String, Change), ahead: usize },
    /// It is none for this lock.
    Refused(Answer),
}

impl Asking<'_> {
    /// All who use the lock in the same way.
    pub(super) fn kind(&self) -> Keys {
        Keys::Under(self.etcd.keys.kind(&self.claim.name, self.claim.mode))
    }

    /// Its key, and what decides whether it may hold the lock; it was created at this
    /// revision, or just now.
    pub(super) fn sight(&self, created: Option<u64>) -> Vec<Step> {
        let read = |keys: &Keys, before: Option<u64>, order, limit| {
            Step::Read(Read { keys: keys.clone(), before, order, limit })
        };
        let others = self.etcd.keys.all_but(&self.claim.name, self.claim.mode);
        let mut sight = vec![read_one(&self.key)];
        sight.extend(others.iter().map(|keys| read(keys, None, Order::OldestFirst, 1)));
        match self.claim.mode {
            Mode::Counted { permits } => {
                let kind = self.etcd.keys.kind(&self.claim.name, self.claim.mode);
                // Those before whom it stands, up to one more than may hold.
                let (up_to, most) = (created.map(|created| created + 1), permits.saturating_add(2));
                sight.push(read_newest(kind, up_to, most));
                sight.push(read(&self.kind(), None, Order::MostWrittenFirst, permits));
            }
            _ => {
                let before = others.iter().map(|keys| read(keys, created, Order::NewestFirst, 1));
                sight.extend(before);
                sight.push(read(&self.kind(), None, Order::MostWrittenFirst, 1));
            }
        }
        sight
    }

    /// What was found by such a look. `None`: its key is not there.
    /// One that shares would open a turn where it `opens` and nobody is exclusive, whoever was
    /// seen in it: the conditions tell whether they are there.
    pub(super) fn verdict(
        &self,
        place: &Place,
        done: &Done,
        opens: bool,
    ) -> Result<Option<Verdict>, Error> {
        let Some(ours) = done.reads.first().and_then(Found::first) else { return Ok(None) };
        if ours.created != place.created {
            return Ok(None);
        }
        if !self.is_ours(ours) {
            return Err(strange("the key of another owner"));
        }
        if let Some((share, fence)) = self.held_in(ours)? {
            let at = ours.session.ok_or_else(|| strange("a lease that does not end"))?;
            return Ok(Some(Verdict::Holds(share, fence, at)));
        }
        let verdict = match (self.claim.mode, &done.reads[1..]) {
            (Mode::Counted { permits }, [below, above, up_to, holders]) => {
                let others = [below, above].map(Found::first);
                self.permit(permits, others, (up_to, holders), ours, done.revision)?
            }
            (Mode::Shared, [oldest, before, holders]) => {
                self.turn(ours, (oldest, before), holders, opens)?
            }
            _ => return Err(strange("a look that was not asked for")),
        };
        Ok(Some(verdict))
    }

    /// What somebody has whose key this is, and the fence; `None` if they wait.
    fn held_in(&self, entry: &Entry) -> Result<Option<(Share, u64)>, Error> {
        if entry.writes < 2 {
            return Ok(None);
        }
        let share = note::share(&entry.value).map(|(_, share)| share);
        let is_of_kind = |share: &Share| match self.claim.mode {
            Mode::Counted { permits } => share.permit.is_some_and(|permit| permit < permits),
            _ => share.permit.is_none(),
        };
        match share.filter(is_of_kind) {
            Some(share) => Ok(Some((share, share.fence.unwrap_or(entry.written)))),
            None => Err(strange("one that holds a lock, and does not say how")),
        }
    }

    /// Whether it may share the lock, and in which turn.
    fn turn(
        &self,
        ours: &Entry,
        (oldest, before): (&Found, &Found),
        holders: &Found,
        opens: bool,
    ) -> Result<Verdict, Error> {
        if let Some(before) = before.first() {
            // One of them holds the lock, or one of those who share it.
            let ahead = (oldest.count + holders.count).saturating_sub(2);
            return Ok(Verdict::Waits { on: (before.key.clone(), Change::Deleted), ahead });
        }
        let others = self.etcd.keys.all_but(&self.claim.name, self.claim.mode);
        let would_open = opens && oldest.first().is_none();
        let holder = match holders.first().filter(|_| !would_open) {
            Some(first) => self.held_in(first)?.map(|(_, fence)| (first, fence)),
            None => None,
        };
        let (fence, conditions) = match (holder, oldest.first()) {
            (Some((first, fence)), oldest) => {
                let joins = vec![Condition::Created(first.key.clone(), first.created)];
                let conditions = match oldest {
                    Some(_) => vec![Condition::NoneBefore(others[0].clone(), ours.created)],
                    None => vec![Condition::Absent(others[0].clone())],
                };
                (Some(fence), [joins, conditions].concat())
            }
            (_, Some(next)) if next.created > ours.created => {
                let conditions = vec![
                    Condition::Once(self.kind()),
                    Condition::Created(next.key.clone(), next.created),
                    Condition::NoneBefore(others[0].clone(), next.created),
                ];
                (Some(next.created - 1), conditions)
            }
            (_, None) => {
                let nobody = vec![Condition::Once(self.kind())];
                let conditions = vec![Condition::Absent(others[0].clone())];
                (None, [nobody, conditions].concat())
            }
            _ => return Err(strange("one that stands before it, and is not there")),
        };
        Ok(Verdict::May(Share { permit: None, fence }, conditions))
    }

    /// Whether there is a permit for it, and which.
    fn permit(
        &self,
        permits: u32,
        others: [Option<&Entry>; 2],
        (up_to, holders): (&Found, &Found),
        ours: &Entry,
        revision: u64,
    ) -> Result<Verdict, Error> {
        let refused = others.into_iter().flatten().find_map(|other| self.other_kind(other));
        if let Some(answer) = refused {
            return Ok(Verdict::Refused(answer));
        }
        if up_to.first() != Some(ours) {
            return Err(strange("a line without an order"));
        }
        let before = up_to.entries.len() - 1;
        let mut taken = BTreeSet::new();
        for entry in &holders.entries {
            taken.extend(self.held_in(entry)?.and_then(|(share, _)| share.permit));
        }
        // Of several who come at once each looks for another one: who comes before it and
        // waits still has those before.
        let waiting = up_to.entries[1..].iter().filter(|entry| entry.writes < 2).count();
        let free: Vec<u32> = (0..permits).filter(|permit| !taken.contains(permit)).collect();
        let permit = free.get(waiting % free.len().max(1));
        let (Some(&permit), true) = (permit, before < permits as usize) else {
            let ahead = up_to.count.saturating_sub(1 + permits as usize);
            // Any that is given back is for the first who waits; the next is next when
            // that one has it, or leaves.
            let on = match up_to.entries.get(1).filter(|_| before > permits as usize) {
                Some(before) => (before.key.clone(), Change::Any),
                None => {
                    let kind = self.etcd.keys.kind(&self.claim.name, self.claim.mode);
                    (kind, Change::DeletedUnder)
                }
            };
            return Ok(Verdict::Waits { on, ahead });
        };
        let key = Keys::One(self.etcd.keys.permit(&self.claim.name, self.claim.mode, permit));
        let mut conditions = vec![Condition::Quiet(key, revision)];
        let others = self.etcd.keys.all_but(&self.claim.name, self.claim.mode);
        conditions.extend(others.into_iter().map(Condition::Absent));
        Ok(Verdict::May(Share { permit: Some(permit), fence: None }, conditions))
    }

    /// That its key says what was written, and that nothing stands against it.
    pub(super) fn check_held(
        &self,
        place: &Place,
        home: &Session,
        share: Share,
        done: &Done,
    ) -> Result<(), Error> {
        let not_there = || strange("a lock is shared, and its key is not there");
        let ours = done.reads.first().and_then(Found::first).ok_or_else(not_there)?;
        let is_new = ours.created == place.created
            && (ours.written, ours.session) == (done.revision, Some(home.id));
        let is_ours = self.is_ours(ours) && note::share(&ours.value) == Some(("held", share));
        if !is_new || !is_ours {
            return Err(not_there());
        }
        let stands = match (self.claim.mode, &done.reads[1..]) {
            (Mode::Counted { permits }, [below, above, up_to, _]) => {
                let is_alone = below.first().is_none() && above.first().is_none();
                is_alone && (1..=permits as usize).contains(&up_to.entries.len())
            }
            (Mode::Shared, [_, before, _]) => before.first().is_none(),
            _ => false,
        };
        match stands {
            true => Ok(()),
            false => Err(strange("a lock is shared, and others stand before it")),
        }
    }
}
