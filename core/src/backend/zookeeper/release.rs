//! Giving back: what was held, and what may have been created unseen.

use super::Shared;
use super::claim::read_line;
use super::failure::{Code, Failure, strange};
use super::link::{Answer as Awaited, answer};
use super::names::Line;
use super::place::{Attempt, Doubt, Left, Place};
use super::words::{Ask, Said};
use crate::backend::{Answer, Claim, Held, Released};
use crate::error::{Error, Outcome};
use crate::name::Owner;
use crate::time::Instant;
use crate::together::together;

/// So many are deleted at once in the background.
const AT_ONCE: usize = 64;

impl Shared {
    pub(super) async fn hand_on(
        &self,
        held: &Held,
        then: Option<&Claim>,
    ) -> Result<Released, Error> {
        let place = self.places.retire(held.owner, self.runtime.now());
        let is_retired = then.is_some_and(|then| self.places.is_retired(then.owner));
        let next = then.filter(|_| !is_retired);
        let place = place.filter(|place| u64::try_from(place.czxid) == Ok(held.fence));
        let mut released = match place {
            Some(place) => self.give_back(place, next).await,
            None => {
                self.settle(held.owner).await.map_err(|e| e.with_outcome(Outcome::Unknown))?;
                Ok(Released { held: false, next: None, others: 0 })
            }
        }?;
        if is_retired {
            released.next = Some(Answer::Retired);
        }
        if let (None, Some(next)) = (released.next, next) {
            // Its error is not the release's: it will ask again.
            released.next = self.asking(next).answer().await.ok();
        }
        Ok(released)
    }

    /// Delete the node of a lease, and with it let the next one come, if there is one.
    async fn give_back(&self, place: Place, next: Option<&Claim>) -> Result<Released, Error> {
        let unknown = |e: Error| e.with_outcome(Outcome::Unknown);
        let link = place.home.link().await.map_err(unknown)?;
        if link.session != place.session {
            self.places.session_over(place.session);
            return Ok(Released { held: false, next: None, others: 0 });
        }
        let delete = Ask::Delete { path: place.path.clone() };
        let Some(next) = next else {
            let held = self.deleted(place.attempt, link.send(delete)).await?;
            return Ok(Released { held, next: None, others: 0 });
        };
        let asking = self.asking(next);
        let (tell, deleted) = answer();
        let fits = place.home.ttl >= next.ttl && place.home.ttl <= next.ttl * 2;
        let coming = match fits && !self.places.has(next.owner) {
            true => asking.send(&place.home, &link, None, Some((delete, tell))),
            false => {
                link.send_all([(delete, tell)]);
                None
            }
        };
        let dir = self.tree.lock(&next.name);
        let line = link.send(Ask::Children { path: dir });
        let held = self.deleted(place.attempt, deleted).await?;
        let arrived = match coming {
            Some(coming) => asking.arrive(&link, coming).await.ok().flatten(),
            None => None,
        };
        // Without it nothing is known of who stands there.
        let line = read_line(line).await.ok();
        let own = self.places.get(next.owner);
        let stands =
            |line: &Line| own.as_ref().is_some_and(|own| line.before(own.node()).is_some());
        let others =
            line.as_ref().map_or(0, |line| line.standers().len() - usize::from(stands(line)));
        let next = match (arrived, own, line) {
            (Some(answer), ..) => Some(answer),
            (None, Some(own), Some(line)) if own.session == link.session => {
                asking.stand(&link, own, line).await.ok()
            }
            _ => None,
        };
        Ok(Released { held, next, others })
    }

    /// Whether it was there until now.
    async fn deleted(&self, attempt: Attempt, answer: Awaited) -> Result<bool, Error> {
        let is_held = match answer.await_it().await {
            Ok(_) => true,
            Err(failure) if failure.is(Code::NO_NODE) => false,
            // It is deleted in the background, sooner or later.
            Err(failure) => return Err(Error::from(failure).with_outcome(Outcome::Unknown)),
        };
        self.places.leave(attempt);
        Ok(is_held)
    }

    /// Delete what there is of an owner that is gone.
    pub(super) async fn settle(&self, owner: Owner) -> Result<(), Error> {
        while self.delete_left(owner).await? {}
        Ok(())
    }

    /// One step of that; answers whether there may be more.
    pub(super) async fn delete_left(&self, owner: Owner) -> Result<bool, Error> {
        match self.places.left(owner) {
            Left::Nothing => return Ok(false),
            Left::Asked => self.places.answered(owner).await,
            Left::Doubtful(doubt) => self.find_node(doubt).await?,
            Left::Node(place) => {
                let link = place.home.link().await?;
                if link.session == place.session {
                    let delete = Ask::Delete { path: place.path };
                    self.deleted(place.attempt, link.send(delete)).await?;
                } else {
                    self.places.session_over(place.session);
                }
            }
        }
        Ok(true)
    }

    /// Find out whether a node was created for which there was no answer. What was sent over
    /// an earlier connection of the session is carried out by now, or never will be.
    pub(super) async fn find_node(&self, doubt: Doubt) -> Result<(), Error> {
        let Doubt { attempt, home, session, name } = doubt;
        let link = home.link().await?;
        if link.session != session {
            self.places.session_over(session);
            return Ok(());
        }
        let dir = self.tree.lock(&name);
        // This server may not have heard yet.
        let synced = link.send(Ask::Sync { path: dir.clone() });
        let line = link.send(Ask::Children { path: dir.clone() });
        synced.await_it().await?;
        let line = read_line(line).await?;
        let Some(found) = line.of_owner(attempt.owner) else {
            self.places.leave(attempt);
            return Ok(());
        };
        let path = format!("{dir}/{}", found.node);
        match link.ask(Ask::Exists { path: path.clone(), watch: false }).await {
            Ok(Said::Stat(stat)) if stat.owner == session => {
                self.places.created(attempt, path, stat.czxid);
                Ok(())
            }
            Ok(_) => Err(strange("the node of another session")),
            // Perhaps that of a session before. Whoever asks looks again.
            Err(failure) if failure.is(Code::NO_NODE) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Whether a node is there, by the answer to the question.
    pub(super) fn is_there(
        &self,
        place: &Place,
        answer: Result<Said, Failure>,
    ) -> Result<bool, Error> {
        match answer {
            Ok(Said::Stat(stat) | Said::Data { stat, .. })
                if (stat.czxid, stat.owner) == (place.czxid, place.session) =>
            {
                Ok(true)
            }
            Ok(_) => Err(strange("a node that was created another time")),
            Err(failure) if failure.is(Code::NO_NODE) => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Delete whose time is over, and what could not be deleted before. Ends when it is
    /// dropped.
    pub(super) async fn run_chores(&self) {
        loop {
            let (owners, _) = self.places.chores(self.runtime.now(), AT_ONCE);
            together(owners.into_iter().map(|owner| self.settle(owner))).await;
            let (_, at) = self.places.chores(self.runtime.now(), 0);
            self.sleep_until(at).await;
        }
    }

    async fn sleep_until(&self, at: Option<Instant>) {
        let now = self.runtime.now();
        let sleep = async {
            match at {
                Some(at) => self.runtime.sleep(at.since(now)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.places.alarm.notified() => {}
            () = sleep => {}
        }
    }
}
