//! A lock that is held.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::anchor::Anchor;
use crate::engine::{Asker, Engine, Given, Hold, Loss, Patience, Plan, Tie};
use crate::error::{Error, Kind, Outcome};

use crate::settings::Settings;
use crate::ticket::{Content, Ticket};
use crate::time::Instant;

/// The thing you hold: a fence, a deadline, and word when it is lost.
///
/// It is renewed in the background until it is released, dropped, or lost.
/// [`release`](Lease::release) gives it back and tells whether it was held to
/// the end. Dropping it gives it back in the background; when the process ends
/// before that is done, the lease ends with its ttl (on the embedded backend,
/// with the process). After a `fork` the child's copy is inert: it is not
/// valid and its drop does nothing.
pub struct Lease {
    engine: Arc<Engine>,
    hold: Arc<Hold>,
    key: Option<String>,
    /// The engine works for as long as this is there.
    anchor: Arc<Anchor>,
}

impl Lease {
    pub(crate) fn new(anchor: Arc<Anchor>, engine: Arc<Engine>, hold: Arc<Hold>) -> Self {
        let key = engine.backend().key(hold.held());
        Self { engine, hold, key, anchor }
    }

    pub(crate) fn hold(&self) -> Arc<Hold> {
        self.hold.clone()
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Given back before `span` has passed from now on, its lock rests until then.
    pub(crate) fn rest_for(&self, span: Duration) {
        self.engine.rest_for(&self.hold, span);
    }

    /// The same if it [succeeds](Lease::succeed).
    pub(crate) fn rest_on_success(&self, span: Duration) {
        self.engine.rest_on_success(&self.hold, span);
    }

    /// The work of a [`Once`](crate::Once) has succeeded: what is left is to give this back.
    pub(crate) fn succeed(&self) {
        self.hold.rest.succeed();
    }

    /// A task, by its number, is inside of a block that gives this back; with zero none is.
    pub(crate) fn keep_for(&self, task: u64) {
        self.hold.keep_for(task);
    }

    /// Whether it is renewed in the background.
    pub(crate) fn is_renewed(&self) -> bool {
        self.hold.held().renewed
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        self.hold.held().name.as_str()
    }

    /// The fencing token: larger than that of every earlier holder of this
    /// name. Send it along with every operation on what the lock protects,
    /// reads included, and let that refuse smaller ones than it has seen.
    pub fn fence(&self) -> u64 {
        self.hold.held().fence
    }

    /// Which of the [permits](crate::Lock::permits) it is, from 0: no other lease has the
    /// same at the same time. `None` for a lock without permits.
    pub fn slot(&self) -> Option<u32> {
        self.hold.slot()
    }

    /// With etcd, of a lock that is held alone: the key that is there for as long as
    /// it is held, and whose create_revision is the [`fence`](Lease::fence). A
    /// transaction that compares the two can only succeed while it is held. With ZooKeeper:
    /// its node, whose czxid is the fence; a `multi` that checks it can only succeed while it
    /// is held. `None` elsewhere.
    pub fn key(&self) -> Option<String> {
        self.key.clone()
    }

    /// With PostgreSQL, MySQL and MariaDB: an SQL statement for your own transaction in the
    /// database in which the lock is. Run it there before you commit, and nobody takes the lock
    /// over until that transaction has ended, whatever the clocks do and however long the
    /// process is stopped. If somebody has taken it, or it was given back or broken, the
    /// statement fails: roll back then. PostgreSQL refuses the commit after that, MySQL and
    /// MariaDB do not. So nothing is written under a lease that was lost, and no table needs a
    /// column for the [fence](Lease::fence).
    ///
    /// It is one text without parameters, and every driver runs it as it is. It returns one row.
    /// Without a transaction it is a check, and holds off nobody. Commit, then release. The user
    /// needs SELECT and UPDATE on the table of the locks. See `docs/database-guard.md`.
    ///
    /// Renewals go on meanwhile. A transaction that stays open keeps the lock taken, also after a
    /// release. It also keeps out those who would share the lock or use another permit. This does
    /// no I/O.
    ///
    /// # Errors
    /// `lost` and `not_held` when it is over. `unsupported` on other backends, for a lock that is
    /// shared or has permits on MySQL, and for a table whose name a driver would change; it is
    /// still held then.
    pub fn guard(&self) -> Result<String, Error> {
        Self::guard_all(std::slice::from_ref(self))
    }

    /// The same for several of one client, which are held.
    pub(crate) fn guard_all(leases: &[Self]) -> Result<String, Error> {
        if let Some(over) = leases.iter().find(|lease| !lease.is_valid()) {
            return Err(over.over());
        }
        let Some(first) = leases.first() else {
            return Err(Error::new(Kind::Internal, "a group without a lease"));
        };
        let held: Vec<_> = leases.iter().map(|lease| lease.hold.held()).collect();
        first.engine.backend().guard(&held).map_err(|e| first.held(e))
    }

    /// With SQLite, where a lock is free as soon as its holder's process is dead: a copy
    /// of the descriptor by which others see it alive, all processes that have it open
    /// together. For a child process that works under the lease: if it inherits a
    /// copy, the lock is free when the child is dead, too, or the ttl has passed.
    /// It is closed by an `exec` unless that is told otherwise; close your own when the
    /// child has it. `None` elsewhere, where the ttl has to pass in any case, and where
    /// no descriptor is free.
    pub fn proof_of_life(&self) -> Option<OwnedFd> {
        self.engine.backend().proof_of_life()
    }

    /// The ttl that it is renewed by: that of the lock, or the next longer one
    /// that the backend can count; etcd has whole seconds, and a shortest.
    pub fn ttl(&self) -> Duration {
        self.hold.ttl()
    }

    /// Whether it is held at this instant, by the clock alone: right even just
    /// after the process was stopped or the machine suspended.
    pub fn is_valid(&self) -> bool {
        !self.engine.is_foreign() && self.hold.is_valid(self.engine.runtime().now())
    }

    /// Whether it is held at this instant, as [`is_valid`](Lease::is_valid), with
    /// the reason if it is not.
    ///
    /// # Errors
    /// `lost`, and `not_held` after a release.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_valid() { Ok(()) } else { Err(self.over()) }
    }

    /// How long it stays valid without another renewal; zero when it is over.
    pub fn remaining(&self) -> Duration {
        match self.is_valid() {
            true => self.hold.deadline().since(self.engine.runtime().now()),
            false => Duration::ZERO,
        }
    }

    /// Wait until it is lost; pending for ever if it is released first.
    ///
    /// When renewals fail this comes 10 % of the ttl before the deadline, so
    /// that there is time to stop. When the backend says that the lease is
    /// gone it comes at once, and somebody else may hold the lock already. It
    /// comes also when only the release finds that out.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn lost(&self) -> Loss {
        self.hold.lost().await
    }

    /// Why it was lost, if it was.
    pub fn loss(&self) -> Option<Loss> {
        self.hold.loss()
    }

    /// Word of its end, for somebody who does not hold it.
    pub fn watch(&self) -> Watch {
        Watch::of(Tie::of(vec![self.hold.clone()]))
    }

    /// Renew now, by a full ttl. Needed only with
    /// [`auto_renew(false)`](crate::Lock::auto_renew). It never takes a lost
    /// lease again, and the fence stays.
    ///
    /// # Errors
    /// `lost` and `not_held` when it is over; `unavailable` when the backend
    /// did not answer, and then it is still held until its deadline.
    ///
    /// # Cancel safety
    /// Cancel safe; the backend may have renewed it, the deadline stays.
    pub async fn renew(&self) -> Result<(), Error> {
        self.engine.renew(&self.hold).await
    }

    /// Renew now, by another ttl, from 100 ms to 24 h, which it has from then on:
    /// [`renew`](Lease::renew) and [`ttl`](Lease::ttl) go by it. Only with
    /// [`auto_renew(false)`](crate::Lock::auto_renew). A shorter one frees the lock
    /// sooner: the deadline moves back before the request is sent, whatever comes of it.
    ///
    /// Where a renewal or claim by a shorter ttl has had no answer, this buys no more than
    /// that, as it may still arrive; [`remaining`](Lease::remaining) tells. An etcd lease
    /// has one ttl for its life.
    ///
    /// # Errors
    /// As [`renew`](Lease::renew); `invalid` for a ttl that cannot be, and for a lease
    /// that is renewed in the background; `unsupported` on etcd for another ttl than it
    /// was taken with.
    ///
    /// # Cancel safety
    /// As [`renew`](Lease::renew).
    pub async fn renew_for(&self, ttl: Duration) -> Result<(), Error> {
        Settings::check_ttl(ttl, self.hold.delay()).map_err(|e| self.held(e))?;
        self.engine.renew_for(&self.hold, ttl).await
    }

    /// Show another text to others in its label.
    pub(crate) async fn show(&self, text: &str) -> Result<(), Error> {
        Settings::check_label(text, "the value of an election").map_err(|e| self.held(e))?;
        self.engine.relabel(&self.hold, self.anchor.label(text)).await
    }

    /// The error of who still holds it.
    fn held(&self, error: Error) -> Error {
        error.with_outcome(Outcome::Held).about(&self.hold.held().name, self.engine.describe())
    }

    /// Hand it to another process: a ticket for whoever [adopts](crate::Client::adopt)
    /// it, valid for as long as the [ttl](Lease::ttl) of the lease. See
    /// [`into_ticket_for`](Lease::into_ticket_for).
    ///
    /// # Errors
    /// As [`into_ticket_for`](Lease::into_ticket_for).
    ///
    /// # Cancel safety
    /// As [`into_ticket_for`](Lease::into_ticket_for).
    pub async fn into_ticket(&self) -> Result<Ticket, Error> {
        self.into_ticket_for(self.ttl()).await
    }

    /// Hand it to another process: a ticket that is valid for so long, from 100 ms to
    /// 24 h, for whoever [adopts](crate::Client::adopt) it. The lock stays taken all the
    /// while, and whoever adopts it has the same fence and slot, ttl, delay, label and
    /// `auto_renew`, and what was left of `max_hold` now.
    ///
    /// The lease is over here: it is not renewed any more, and cannot be released by
    /// mistake; [`release`](Lease::release) has nothing to do then and says that all is
    /// well. A ticket is for one use. If nobody adopts it in its time, the lock is
    /// free after that and the [delay](crate::Lock::delay). It outlives this process.
    ///
    /// A backend that does not answer is asked again for 10 s, but not beyond the
    /// deadline of the lease.
    ///
    /// # Errors
    /// `unsupported` on a quorum and with `min_hold`, `invalid` for a time that cannot be: the lease is still
    /// held then. `lost` and `not_held` when it is over. Any other error: the backend did
    /// not say, there is no ticket, and the lease is given back in the background as by
    /// a drop.
    ///
    /// # Cancel safety
    /// Dropped midway, the lease is given back in the background: nobody has the ticket.
    pub async fn into_ticket_for(&self, valid: Duration) -> Result<Ticket, Error> {
        self.engine.check_open()?;
        if !self.is_valid() {
            return Err(self.over());
        }
        let now = self.engine.runtime().now();
        if self.hold.rest.is_due(now) {
            let message = "the lock is to rest when it is given back, and whoever adopts a ticket \
                           would not know of that; hand on one that is taken without min_hold";
            return Err(self.held(Error::new(Kind::Unsupported, message)));
        }
        let (plan, given) = self.hold.continued(now);
        Settings::check_validity(valid, plan.delay).map_err(|e| self.held(e))?;
        let scheme = self.engine.backend().tickets(valid + plan.delay);
        let scheme = scheme.map_err(|e| self.held(e))?;
        let ticket = self.engine.heir(&Plan { ttl: valid, ..plan.clone() });
        self.engine.give(&self.hold, &ticket).await?;
        let content = Content {
            scheme: scheme.into(),
            name: plan.name,
            owner: ticket.owner,
            mode: plan.mode,
            fence: given.fence,
            slot: given.slot,
            ttl: plan.ttl,
            delay: plan.delay,
            max_hold: plan.max_hold,
            auto_renew: plan.auto_renew,
            label: self.anchor.text_of(&plan.label),
        };
        Ok(content.ticket())
    }

    /// Go on with what a ticket says.
    pub(crate) async fn adopt(anchor: &Arc<Anchor>, content: Content) -> Result<Self, Error> {
        let engine = anchor.engine(Patience::Forever.with_an_outage()).await?;
        let about = |e: Error| e.about(&content.name, engine.describe());
        let scheme = engine.backend().tickets(content.ttl + content.delay).map_err(about)?;
        if scheme != content.scheme {
            let message = format!(
                "the ticket is for a lease on {}, and this client is one of {scheme}; adopt it \
                 with a client of the same server",
                content.scheme
            );
            return Err(about(Error::new(Kind::Refused, message)));
        }
        let plan = Plan {
            name: content.name,
            ttl: content.ttl,
            delay: content.delay,
            mode: content.mode,
            label: anchor.label(&content.label),
            max_hold: content.max_hold,
            auto_renew: content.auto_renew,
            may_rest: false,
            asker: Asker::Unknown,
        };
        let given = Given { owner: content.owner, fence: content.fence, slot: content.slot };
        let hold = engine.adopt(plan, given).await?;
        Ok(Self::new(anchor.clone(), engine.clone(), hold))
    }

    /// The error for using it after its end.
    pub(crate) fn over(&self) -> Error {
        self.engine.over(&self.hold)
    }

    /// Give it back, and hear how it ended. The first call tells the backend;
    /// all calls, also those meanwhile, wait for that and get the same answer.
    ///
    /// * `Ok`: the backend says that it was held until now.
    /// * `lost`: it was not held to its end: lost before, used beyond its
    ///   deadline, or, as only the backend's answer to the release tells, gone
    ///   (evicted, or its data lost). Then it is lost for everybody:
    ///   [`loss`](Lease::loss) and [events](crate::Client::events) say so too.
    /// * Any other error: the backend did not say. It was given back before its
    ///   deadline, and so held for all that is known; the release is repeated
    ///   in the background until the ttl has passed, and nothing is left to do.
    ///
    /// # Errors
    /// `lost`, `unavailable`, or what the backend answers, as above; `closed` in
    /// a fork.
    ///
    /// # Cancel safety
    /// Once polled it cannot be lost: dropped midway, it goes on in the background.
    pub async fn release(&self) -> Result<(), Error> {
        self.engine.release(&self.hold).await
    }

    /// Give it back at the end of the work that it was held for: as
    /// [`release`](Lease::release), but an error only if the work was not done
    /// under the lock. That a release was not confirmed is none: the work was
    /// done in time. The blocks of every language end with this.
    ///
    /// # Errors
    /// `lost`, and `closed` in a fork.
    ///
    /// # Cancel safety
    /// As [`release`](Lease::release).
    pub async fn finish(&self) -> Result<(), Error> {
        match self.release().await {
            Err(error) if !matches!(error.kind(), Kind::Lost | Kind::Closed) => Ok(()),
            ended => ended,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.engine.release_in_background(self.hold.clone());
    }
}

/// Word of the end of a lease, or of [several](crate::Leases) that are held together. It
/// does not keep the lease: that is given back when it is dropped, whoever watches.
#[derive(Clone)]
pub struct Watch {
    tie: Arc<Tie>,
}

impl Watch {
    pub(crate) fn of(tie: Arc<Tie>) -> Self {
        Self { tie }
    }

    /// Wait until the lease is lost, and why; `None` when it was released, which
    /// the backend has confirmed or failed to.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&self) -> Option<Loss> {
        self.tie.ended().await
    }

    /// Why it was lost, if it was.
    pub fn loss(&self) -> Option<Loss> {
        self.tie.lost().map(|(_, loss)| loss)
    }

    /// The name of the lock that was lost, of several the first.
    pub fn lost_name(&self) -> Option<&str> {
        self.tie.lost().map(|(hold, _)| hold.held().name.as_str())
    }

    /// When it ends unless it is renewed before, by its client's clock. After a loss it
    /// stays as it is: until then nobody else holds the lock if that was
    /// [`Expired`](Loss::Expired) or [`MaxHold`](Loss::MaxHold), and there is time to stop.
    pub fn deadline(&self) -> Instant {
        let deadlines = self.tie.holds().iter().map(|hold| hold.deadline());
        deadlines.min().unwrap_or(Instant::from_nanos(0))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("loss", &self.loss()).finish()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("name", &self.name())
            .field("fence", &self.fence())
            .field("remaining", &self.remaining())
            .field("loss", &self.loss())
            .finish()
    }
}
