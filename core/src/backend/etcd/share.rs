//! Claims that share a lock, and those that count permits.
//!
//! They stand in the line of all others, each with a key of its own, whose name tells
//! the mode. A key is put when its owner comes, and written once more when it holds the
//! lock: so whoever was written twice is a holder, and *one* condition or read finds out
//! whether there is any, however long the line.
//!
//! # Who may hold it
//! * Who is exclusive: the first of the line, as ever ([`claim`](super::claim)).
//! * Who shares: all before whom nobody is exclusive.
//! * Who counts `n` permits: the first `n` of those who do, and nobody else is there.
//!
//! No two of these hold at once what they may not. What comes before a key can only go:
//! later keys are created at larger revisions. So each of these, once true, stays true
//! as long as the key is there, and a claim that was late, or asked on what it saw
//! before, is still right. Of two keys of which one is exclusive, the later waits for the
//! earlier. Of `n + 1` that count, the last waits.
//!
//! # The fence
//! * Who is exclusive has the revision that created its key.
//! * Who *opens* a turn, because nobody holds the lock, has the revision at which it does
//!   so; if one that is exclusive waits behind it, one less than that key's creation.
//! * Who *joins* a turn has the fence of somebody in it.
//! * Who counts has the revision at which it takes its permit.
//!
//! All this is asked for by the transaction that writes the key: that nobody holds the lock
//! (`Once`); that the other is still in the turn (its `Created`: it holds until its key
//! goes, and its fence does not change); that nobody is exclusive at all (`Absent`), or
//! that this one is still the oldest of them (`NoneBefore` and its `Created`); that nobody
//! has got the permit since it was seen free (`Quiet`). For that each permit has a key,
//! which is written with every lease that gets it, in the same session, and deleted with
//! that lease when it is given back. Nothing else is in the way of who counts: neither
//! those who come, nor those who get another permit.
//!
//! So all who hold a turn have one fence: each has found nobody, or has the fence of one
//! who was there. And fences never fall, in the order of the grants:
//!
//! * A turn that opens at a revision has a larger one than all before, which are
//!   revisions that have passed. Nobody exclusive was there, so they come later, and
//!   have larger ones.
//! * A turn that opens before an exclusive key of revision `w` has `w - 1`. Exclusive ones
//!   that held before were created before its own key, so before `w - 1`. Turns that were
//!   opened before `w` was created have a revision before it. Those that were opened since,
//!   did so before this or an older exclusive key, and have `w - 1` or less: two turns have
//!   one fence if, and only if, both came before the same exclusive key, and nobody
//!   exclusive was between them.
//! * An exclusive key of revision `w` is the oldest when it holds. Turns that were opened
//!   without it have revisions before `w`, and those with it `w - 1` or less.
//! * Two grants of a permit are two transactions, and the second finds that it was free
//!   after the first: whoever had it has left, or its session has ended and with it the
//!   permit's key. Those who count do so only where nobody else is in the line, so
//!   everything else was before, or comes later.
//!
//! A session that ends takes keys away at any time. If that is the last holder's, the
//! condition of who would have joined is not met, and it looks again, and opens a turn.
//!
//! # Clients from before
//! They stand in line as exclusive ones, and see each key of it as one: so they wait for
//! all who share, and all wait for them. They do not know other kinds: one that waits
//! for permits makes those who come later be refused until it leaves. What they
//! `break_lock` is the first of those who share, and their status calls the others waiters.

use std::time::Duration;

use super::claim::{Asking, STAND};
use super::cluster::{Condition, Done, Failure, Found, Keys, Step, Txn};
use super::places::Place;
use super::proof::strange;
use super::sessions::Session;
use super::txns::{no_key, read_last, read_one};
use super::verdict::Verdict;
use crate::backend::{Answer, Mode};

/// So often in a row it looks again when others were faster. More could take longer than an
/// answer is waited for.
const ROUNDS: usize = 4;

impl Asking<'_> {
    pub(super) async fn share(&self) -> Result<Answer, Failure> {
        if let Some(place) = self.etcd.places.get(self.claim.owner)
            && let Some(answer) = self.look_to_share(place).await?
        {
            return Ok(answer);
        }
        if let Some(busy) = self.is_full().await? {
            self.etcd.places.has_nothing(self.claim.owner);
            return Ok(busy);
        }
        self.stand_to_share().await
    }

    /// Whether one that only tries need not come at all: there are no permits left.
    async fn is_full(&self) -> Result<Option<Answer>, Failure> {
        let (Mode::Counted { permits }, None) = (self.claim.mode, self.claim.place) else {
            return Ok(None);
        };
        let then = vec![read_last(self.kind())];
        let done = self.etcd.history.txn(&Txn { then, ..Txn::default() }).await?;
        let count = done.reads.first().map_or(0, |kind| kind.count);
        let ahead = count.checked_sub(permits as usize);
        Ok(ahead.map(|ahead| Answer::Busy { free_in: None, ahead, fence: 0 }))
    }

    /// Come to the end of the line, and see whether it may hold the lock there.
    async fn stand_to_share(&self) -> Result<Answer, Failure> {
        let keep = self.claim.place.unwrap_or(STAND).min(STAND);
        let session = self.etcd.sessions.usable(keep, Duration::ZERO).await?;
        let barred = self.barred();
        let mut conditions = vec![no_key(self.key.clone()), self.not_refused()];
        conditions.extend(barred.iter().cloned().map(Condition::Absent));
        let mut then = vec![self.put(&session, "waits")];
        then.extend(self.sight(None));
        let mut otherwise = vec![read_one(&self.key)];
        otherwise.extend(barred.into_iter().map(read_last));
        let txn = Txn { conditions, then, otherwise };
        let done = self.etcd.write(&session, self.claim.owner, txn).await?;
        if !done.met {
            return self.barred_by(&done).await;
        }
        let place = Place::new(self.claim, done.revision, &session);
        let place = Place { ahead: usize::MAX, ..place };
        self.etcd.set_place(self.claim.owner, place.clone(), done.revision);
        let answer = self.decide(place.clone(), &session, done).await?;
        if self.claim.place.is_none() && matches!(answer, Some(Answer::Busy { .. })) {
            self.leave_line(&place).await?;
        }
        Ok(answer.unwrap_or(Answer::Tied))
    }

    /// The keys beside which it does not come.
    fn barred(&self) -> Vec<Keys> {
        let name = &self.claim.name;
        match (self.claim.mode, self.claim.place) {
            (Mode::Shared, Some(_)) => vec![self.etcd.keys.counted(name)],
            (mode, _) => self.etcd.keys.all_but(name, mode),
        }
    }

    async fn barred_by(&self, done: &Done) -> Result<Answer, Failure> {
        let Some((ours, barred)) = done.reads.split_first() else {
            return Err(strange("no reads").into());
        };
        if let Some(entry) = ours.first() {
            // An earlier claim of this owner has had no answer.
            return self.found(entry).await;
        }
        let Some(other) = barred.iter().find_map(Found::first) else {
            return Ok(Answer::Retired);
        };
        self.etcd.places.has_nothing(self.claim.owner);
        let ahead = barred.iter().map(|found| found.count).sum::<usize>() - 1;
        let busy = Answer::Busy { free_in: None, ahead, fence: 0 };
        Ok(self.other_kind(other).unwrap_or(busy))
    }

    /// Look whether it may hold the lock. `None`: its place is lost.
    pub(super) async fn look_to_share(&self, place: Place) -> Result<Option<Answer>, Failure> {
        let refreshed = self.etcd.sessions.refreshed(place.session, self.claim.delay).await?;
        let Some(session) = refreshed else {
            self.etcd.session_over(place.session);
            return Ok(None);
        };
        let then = self.sight(Some(place.created));
        let done = self.etcd.history.txn(&Txn { then, ..Txn::default() }).await?;
        let answer = self.decide(place, &session, done).await?;
        if matches!(answer, Some(Answer::Busy { .. })) && self.claim.renewed {
            // So that there is nothing to be done first when its turn comes.
            drop(self.etcd.sessions.usable(self.claim.ttl, self.claim.delay).await);
        }
        Ok(answer)
    }

    /// Take the lock if it may, by what was seen; look again if others were faster.
    async fn decide(
        &self,
        mut place: Place,
        session: &Session,
        mut done: Done,
    ) -> Result<Option<Answer>, Failure> {
        let mut home = None;
        for round in 0..ROUNDS {
            // Who was seen in the turn may have left again. Then perhaps nobody is in it.
            let opens = round % 2 == 1;
            let (share, mut conditions) = match self.verdict(&place, &done, opens)? {
                Some(Verdict::May(share, conditions)) => (share, conditions),
                decided => {
                    home.iter().for_each(|home| self.put_aside_unless(home, session));
                    return self.decided(place, session, decided, done.revision).await;
                }
            };
            let is_home = session.suits(self.claim) && session.lasts(self.claim.ttl);
            let at = match (home, is_home) {
                (Some(home), _) => home,
                (None, true) => *session,
                (None, false) => self.home().await?,
            };
            home = Some(at);
            conditions.extend([
                Condition::Created(self.key.clone(), place.created),
                // A move that comes late must not undo a later one.
                Condition::Within(self.key.clone(), place.session),
            ]);
            let mut then = vec![self.put(&at, &share.does("held"))];
            // It lives as long as the lease that has it, or until another one has it.
            then.extend(share.permit.map(|permit| Step::Put {
                key: self.etcd.keys.permit(&self.claim.name, self.claim.mode, permit),
                value: self.claim.owner.to_string(),
                session: Some(at.id),
            }));
            then.extend(self.sight(Some(place.created)));
            let otherwise = self.sight(Some(place.created));
            let txn = Txn { conditions, then, otherwise };
            done = self.etcd.write(&at, self.claim.owner, txn).await?;
            if done.met {
                self.check_held(&place, &at, share, &done)?;
                place.fence = share.fence.unwrap_or(done.revision);
                place.permit = share.permit.unwrap_or(0);
                (place.session, place.is_alone) = (at.id, at.is_alone);
                return Ok(Some(self.granted(place, &at, done.revision)));
            }
        }
        home.iter().for_each(|home| self.put_aside_unless(home, session));
        Ok(Some(Answer::Tied))
    }

    fn put_aside_unless(&self, home: &Session, session: &Session) {
        if home.id != session.id {
            self.put_aside(home);
        }
    }

    /// The answer, where nothing is to be written.
    async fn decided(
        &self,
        mut place: Place,
        session: &Session,
        verdict: Option<Verdict>,
        revision: u64,
    ) -> Result<Option<Answer>, Failure> {
        match verdict {
            None | Some(Verdict::May(..)) => {
                self.etcd.leave(self.claim.owner);
                Ok(None)
            }
            Some(Verdict::Refused(answer)) => {
                self.leave_line(&place).await?;
                Ok(Some(answer))
            }
            Some(Verdict::Waits { on, ahead }) => {
                place.ahead = place.ahead.min(ahead);
                (place.watched, place.is_called) = (Some(on), false);
                let ahead = place.ahead;
                self.etcd.set_place(self.claim.owner, place, revision);
                Ok(Some(Answer::Busy { free_in: None, ahead, fence: 0 }))
            }
            Some(Verdict::Holds(share, fence, at)) => {
                // An earlier question may have moved it, and had no answer.
                let home = match at == session.id {
                    true => Some(*session),
                    false => self.etcd.sessions.refreshed(at, self.claim.delay).await?,
                };
                let Some(home) = home.filter(|home| home.suits(self.claim)) else {
                    return Ok(Some(Answer::Tied));
                };
                (place.fence, place.permit) = (fence, share.permit.unwrap_or(0));
                (place.session, place.is_alone) = (home.id, home.is_alone);
                Ok(Some(self.granted(place, &home, revision)))
            }
        }
    }

    /// Leave the line; what is left of the owner is nothing then.
    async fn leave_line(&self, place: &Place) -> Result<(), Failure> {
        let makers = self.etcd.places.makers_when_quiet(self.claim.owner);
        let txn = Txn {
            conditions: vec![Condition::Created(self.key.clone(), place.created)],
            then: vec![Step::Delete(self.key.clone())],
            ..Txn::default()
        };
        self.etcd.txn(&txn).await?;
        self.etcd.leave(self.claim.owner);
        if let Some(makers) = makers {
            self.etcd.places.was_deleted(self.claim.owner, makers);
        }
        Ok(())
    }
}
