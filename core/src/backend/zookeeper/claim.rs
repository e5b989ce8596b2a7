//! Claims: a node at the end of the line, and whoever is the first holds the lock.
//!
//! A claim creates the node and reads the line in one go, so that a free lock costs one
//! trip. Who is not the first watches the one before it, and nobody else.
//!
//! That nobody stands before a node stays true for as long as it is there: those that come
//! have larger numbers. And who reads sees at least all that was committed before its own
//! node was. So whoever is the first once is it for good, however old what it read is; how
//! long that lasts, the session's [proof](super::proof) says.
//!
//! A `create` without an answer is never sent again before it is known what became of it: a
//! session's requests are carried out in their order, over one connection after the other, and
//! the name of the node tells for whom it was created. So the line is read over the next
//! connection.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Shared;
use super::failure::{Code, Failure, strange};
use super::homes::Home;
use super::link::{Answer as Awaited, Link, Tell, answer};
use super::names::Line;
use super::note::note;
use super::place::{Found, Place};
use super::words::{Ask, Said};
use crate::backend::{Answer, Claim, Term};
use crate::error::{Error, Kind, Outcome};
use crate::time::Instant;

/// So often in a row it looks again when others were faster.
const ROUNDS: usize = 8;

/// A claim that is being answered.
pub(super) struct Asking<'a> {
    pub(super) zk: &'a Shared,
    pub(super) claim: &'a Claim,
    pub(super) sent: Instant,
}

/// A node that is asked for, with the line as it is then.
pub(super) struct Coming {
    created: oneshot::Receiver<Result<(), Failure>>,
    line: Awaited,
}

impl Shared {
    pub(super) fn asking<'a>(&'a self, claim: &'a Claim) -> Asking<'a> {
        Asking { zk: self, claim, sent: self.runtime.now() }
    }

    /// The line of a lock. There is none without its node.
    pub(super) async fn line(&self, link: &Link, dir: &str) -> Result<Line, Failure> {
        read_line(link.send(Ask::Children { path: dir.to_owned() })).await
    }

    /// Make the nodes above those of the locks.
    async fn make_above(&self, link: &Link) -> Result<(), Failure> {
        let base = self.tree.base();
        let ends = base.match_indices('/').skip(1).map(|(at, _)| at).chain([base.len()]);
        for end in ends {
            let path = base[..end].to_owned();
            match link.ask(Ask::CreateStaying { path, in_use: false }).await {
                Err(failure) if !failure.is(Code::NODE_EXISTS) => return Err(failure),
                _ => {}
            }
        }
        Ok(())
    }
}

pub(super) async fn read_line(answer: Awaited) -> Result<Line, Failure> {
    match answer.await_it().await {
        Ok(Said::Children(children)) => Ok(Line::of(children)),
        Ok(_) => Err(strange("no list of children").into()),
        Err(failure) if failure.is(Code::NO_NODE) => Ok(Line::default()),
        Err(failure) => Err(failure),
    }
}

impl Asking<'_> {
    pub(super) async fn answer(&self) -> Result<Answer, Error> {
        // A claim is several requests.
        self.decide().await.map_err(|e| match self.zk.places.has(self.claim.owner) {
            true => e.with_outcome(Outcome::Unknown),
            false => e.with_outcome(Outcome::NotHeld),
        })
    }

    async fn decide(&self) -> Result<Answer, Error> {
        let owner = self.claim.owner;
        for _ in 0..ROUNDS {
            match self.zk.places.find(owner) {
                Found::Retired => return Ok(Answer::Retired),
                // An earlier claim of its own, which nobody waits for any more.
                Found::Asked => self.zk.places.answered(owner).await,
                Found::Doubtful(doubt) => self.zk.find_node(doubt).await?,
                Found::Ending => self.zk.delete_left(owner).await.map(drop)?,
                Found::Place(place) if place.home.ttl < self.claim.ttl => {
                    // It lives with a session that is too short for it.
                    self.zk.places.end(owner, self.zk.runtime.now());
                }
                Found::Place(place) => {
                    if let Some(answer) = self.look(place).await? {
                        return Ok(answer);
                    }
                }
                Found::Nothing => return self.come().await,
            }
        }
        Ok(Answer::Tied)
    }

    /// By when it is deleted unless it is asked for again.
    fn until(&self) -> Instant {
        self.sent + self.claim.place.unwrap_or(self.claim.ttl)
    }

    async fn come(&self) -> Result<Answer, Error> {
        let home = self.zk.homes.of(self.claim.ttl).await?;
        let link = home.link().await?;
        let dir = self.zk.tree.lock(&self.claim.name);
        if self.claim.place.is_none() {
            // Who only tries writes nothing in vain, and is not told what a server that is behind, or
            // cut off from its leader, still believes.
            let synced = link.send(Ask::Sync { path: dir.clone() });
            let line = self.zk.line(&link, &dir).await?;
            synced.await_it().await?;
            if let Some(ahead) = line.standers().len().checked_sub(1) {
                return Ok(Answer::Busy { free_in: None, ahead, fence: 0 });
            }
        }
        for round in 0..ROUNDS {
            // It may be the first of this name, or the first for a while.
            let (tell, made) = answer();
            let make = Ask::CreateStaying { path: dir.clone(), in_use: true };
            let first = (round > 0).then_some((make, tell));
            let Some(coming) = self.send(&home, &link, first, None) else {
                return Ok(Answer::Tied);
            };
            if let Some(answer) = self.arrive(&link, coming).await? {
                return Ok(answer);
            }
            if round > 0 {
                match made.await_it().await {
                    Err(failure) if failure.is(Code::NO_NODE) => self.zk.make_above(&link).await?,
                    Err(failure) if !failure.is(Code::NODE_EXISTS) => return Err(failure.into()),
                    // Others have deleted it since.
                    _ => {}
                }
            }
        }
        Ok(Answer::Tied)
    }

    /// Ask for its node at the end of the line, and for the line, with something first and
    /// something between the two. `None`: it is retired, or there already.
    pub(super) fn send(
        &self,
        home: &Arc<Home>,
        link: &Arc<Link>,
        first: Option<(Ask, Tell)>,
        between: Option<(Ask, Tell)>,
    ) -> Option<Coming> {
        let (owner, name) = (self.claim.owner, &self.claim.name);
        let attempt = self.zk.places.ask(owner, name, (home, link.session), self.until())?;
        let data = note(&self.claim.label, self.claim.ttl, self.zk.runtime.wall_micros());
        let path = self.zk.tree.child(name, owner);
        let create = Ask::CreateInLine { path, data: data.into_bytes() };
        let (places, session) = (Arc::downgrade(&self.zk.places), link.session);
        let (tell, created) = oneshot::channel();
        // Whether or not anybody waits for it, what was created is known.
        let told: Tell = Box::new(move |said| {
            let Some(places) = places.upgrade() else { return };
            let outcome = match said {
                Ok(Said::Created { path, stat }) if stat.owner == session && stat.czxid > 0 => {
                    places.created(attempt, path, stat.czxid);
                    Ok(())
                }
                Ok(_) => {
                    places.doubt(attempt);
                    Err(strange("a node of another session").into())
                }
                Err(failure @ Failure::Lost(_)) => {
                    places.doubt(attempt);
                    Err(failure)
                }
                Err(failure) => {
                    places.leave(attempt);
                    Err(failure)
                }
            };
            drop(tell.send(outcome));
        });
        let (tell, line) = answer();
        let children = Ask::Children { path: self.zk.tree.lock(name) };
        let all = first.into_iter().chain([(create, told)]).chain(between);
        let all = all.chain([(children, tell)]);
        link.send_all(all);
        Some(Coming { created, line })
    }

    /// What it comes to. `None`: there is no such lock yet.
    pub(super) async fn arrive(
        &self,
        link: &Arc<Link>,
        coming: Coming,
    ) -> Result<Option<Answer>, Error> {
        let ended = || Err(Failure::lost("the client's thread has ended"));
        match coming.created.await.unwrap_or_else(|_| ended()) {
            Ok(()) => {}
            Err(failure) if failure.is(Code::NO_NODE) => return Ok(None),
            Err(failure) => {
                if matches!(&failure, Failure::Lost(_)) {
                    link.shut("a create was not answered");
                }
                return Err(failure.into());
            }
        }
        let line = read_line(coming.line).await?;
        match self.zk.places.get(self.claim.owner) {
            Some(place) => self.stand(link, place, line).await.map(Some),
            // It was withdrawn meanwhile, or its time is over.
            None => Ok(Some(Answer::Tied)),
        }
    }

    /// Look where it stands. `None`: its place is lost.
    async fn look(&self, place: Place) -> Result<Option<Answer>, Error> {
        // It is wanted, however long it takes to reach a server.
        if !self.zk.places.touch(place.attempt, self.sent, self.until()) {
            return Ok(None);
        }
        let link = place.home.link().await?;
        if link.session != place.session {
            self.zk.places.session_over(place.session);
            return Ok(None);
        }
        let own = link.send(Ask::Exists { path: place.path.clone(), watch: false });
        let before = place.before.clone().map(|path| link.send(Ask::Data { path, watch: true }));
        let line = match before {
            None if !place.holds => Some(link.send(self.children())),
            _ => None,
        };
        if !self.zk.is_there(&place, own.await_it().await)? {
            self.zk.places.leave(place.attempt);
            return Ok(None);
        }
        if place.holds {
            return self.granted(&link, &place).await.map(Some);
        }
        if let Some(before) = before {
            match before.await_it().await {
                Ok(_) => return self.busy(place.ahead).await.map(Some),
                Err(failure) if failure.is(Code::NO_NODE) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        let line = line.unwrap_or_else(|| link.send(self.children()));
        let line = read_line(line).await?;
        self.stand(&link, place, line).await.map(Some)
    }

    fn children(&self) -> Ask {
        Ask::Children { path: self.zk.tree.lock(&self.claim.name) }
    }

    /// Where it stands in this line: it holds the lock, or waits for the one before it.
    pub(super) async fn stand(
        &self,
        link: &Arc<Link>,
        place: Place,
        mut line: Line,
    ) -> Result<Answer, Error> {
        let dir = self.zk.tree.lock(&self.claim.name);
        for _ in 0..ROUNDS {
            let Some(before) = line.before(place.node()) else {
                // Somebody has deleted it.
                self.zk.places.leave(place.attempt);
                return Ok(Answer::Tied);
            };
            let Some(last) = before.last() else { return self.granted(link, &place).await };
            let (path, ahead) = (format!("{dir}/{}", last.node), before.len() - 1);
            match link.ask(Ask::Data { path: path.clone(), watch: true }).await {
                Ok(_) => {
                    self.zk.places.stands(place.attempt, Some((path, ahead)));
                    return self.busy(ahead).await;
                }
                Err(failure) if failure.is(Code::NO_NODE) => {}
                Err(failure) => return Err(failure.into()),
            }
            line = self.zk.line(link, &dir).await?;
        }
        Ok(Answer::Tied)
    }

    async fn busy(&self, ahead: usize) -> Result<Answer, Error> {
        if self.claim.place.is_none() {
            self.zk.places.end(self.claim.owner, self.zk.runtime.now());
            self.zk.settle(self.claim.owner).await?;
        }
        Ok(Answer::Busy { free_in: None, ahead, fence: 0 })
    }

    /// It holds the lock for as long as its session lives.
    async fn granted(&self, link: &Link, place: &Place) -> Result<Answer, Error> {
        self.zk.places.stands(place.attempt, None);
        let wanted = link.wanted(self.sent, self.claim.ttl);
        let is_alive = |ends: &Instant| *ends > self.zk.runtime.now();
        let ends = match link.ends().filter(is_alive) {
            Some(ends) => Some(ends),
            // On a busy machine its beats may be late.
            None => self.zk.proven(link, wanted).await.filter(is_alive),
        };
        let Some(ends) = ends else {
            let message = "the session is not proven to live just now; ask again";
            return Err(Error::new(Kind::Unavailable, message));
        };
        if !self.zk.places.touch(place.attempt, self.sent, self.sent + self.claim.ttl) {
            return Ok(Answer::Tied);
        }
        let short = wanted.since(ends);
        let term = (!short.is_zero()).then_some(Term { began: short, lasts: self.claim.ttl });
        let fence = u64::try_from(place.czxid).unwrap_or_default();
        Ok(Answer::Granted { fence, slot: 0, term })
    }
}
