//! One granted lease on the client's side, shared by the handle, the keeper
//! and the line.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::asked::Asked;
use super::loss::Loss;
use super::offer::Offer;
use super::rest::Rest;
use super::{Asker, Given, Plan};
use crate::backend::{Held, Mode, Term};
use crate::error::{Error, Kind};
use crate::name::Owner;
use crate::time::{Instant, deadline, drift, grace};

/// How a lease ended. Everybody hears the same.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// The backend said that it was held until it was given back.
    Released,
    /// It was given back before its deadline, and the backend did not say.
    Unconfirmed(Arc<Error>),
    /// A ticket holds it, and whoever adopts that.
    HandedOn,
    Lost(Loss),
}

#[derive(Debug)]
pub(crate) struct Hold {
    /// As it was granted.
    pub(super) held: Held,
    slot: u32,
    /// As it is shown.
    label: Mutex<Arc<str>>,
    /// Of two answers, that of the second request tells what is shown.
    pub(super) relabels: tokio::sync::Mutex<()>,
    /// The last part of the server's ttl, which is not used.
    delay: Duration,
    /// In nanoseconds, the rest, which is.
    ttl: AtomicU64,
    /// The same of the server, the longest that it may have it for.
    longest: AtomicU64,
    by_hand: Mutex<Asked>,
    max_hold: Option<Duration>,
    /// Where `max_hold` ends it.
    pub(super) ends_at: Option<Instant>,
    deadline: AtomicU64,
    lost_at: AtomicU64,
    gone_at: AtomicU64,
    pub(crate) rest: Rest,
    // Set once: the end of a lease is final.
    end: OnceLock<End>,
    ended: Notify,
    /// Whether it is given back; it ends with the answer of the backend.
    let_go: AtomicBool,
    /// Whether the backend was asked to release it.
    asked: AtomicBool,
    /// Whether it is lost because another one of its group is: the backend has it still.
    lost_with_others: AtomicBool,
    pub(super) offer: Offer,
    /// Whether the backend is asked if it is held, and not to renew it.
    checking: AtomicBool,
    /// The task that is inside of a block which gives it back at its end; zero for none.
    task: AtomicU64,
    /// Why the last renewal failed, if it did.
    trouble: Mutex<Option<Arc<Error>>>,
}

/// How a lease begins.
pub(super) struct Start {
    /// The server granted it at this moment or later.
    pub(super) since: Instant,
    /// For how long, the delay included.
    pub(super) lasts: Duration,
    /// When its holder gets it; `max_hold` counts from here.
    pub(super) now: Instant,
    /// Whether it is to be renewed at once for the whole of its ttl.
    pub(super) is_short: bool,
}

impl Start {
    /// Of a claim that was sent at `sent` and granted.
    pub(super) fn granted(plan: &Plan, sent: Instant, term: Option<Term>) -> Self {
        let Term { began, lasts } =
            term.unwrap_or(Term { began: Duration::ZERO, lasts: plan.lasts() });
        let since = sent - began;
        if plan.auto_renew {
            return Self { since, lasts, now: sent, is_short: lasts < plan.lasts() };
        }
        // It has its ttl from the claim on, whatever others in its session have.
        let whole = began + plan.lasts();
        Self { since, lasts: lasts.min(whole), now: sent, is_short: lasts < whole }
    }

    /// Of a lock that is handed to somebody who asked for it last at `asked`.
    pub(super) fn handed_on(plan: &Plan, asked: Instant, lasts: Duration, now: Instant) -> Self {
        Self { since: asked, lasts, now, is_short: lasts < plan.lasts() }
    }
}

impl Hold {
    /// `fence` and slot as they were granted.
    pub(super) fn new(plan: &Plan, owner: Owner, (fence, slot): (u64, u32), start: &Start) -> Self {
        let (name, mode, renewed) = (plan.name.clone(), plan.mode, plan.auto_renew);
        let held = Held { name, owner, mode, fence, ttl: plan.lasts(), renewed };
        let ends_at = plan.max_hold.map(|most| start.now + most);
        let hold = Self {
            held,
            slot,
            label: Mutex::new(plan.label.clone()),
            relabels: tokio::sync::Mutex::new(()),
            delay: plan.delay,
            ttl: nanos(plan.ttl).into(),
            longest: nanos(plan.lasts()).into(),
            by_hand: Mutex::default(),
            max_hold: plan.max_hold,
            ends_at,
            deadline: AtomicU64::new(0),
            lost_at: AtomicU64::new(0),
            gone_at: AtomicU64::new(0),
            rest: Rest::default(),
            end: OnceLock::new(),
            ended: Notify::new(),
            let_go: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            lost_with_others: AtomicBool::new(false),
            offer: Offer::open(),
            checking: AtomicBool::new(false),
            task: AtomicU64::new(0),
            trouble: Mutex::default(),
        };
        hold.buy(start.since, start.lasts.saturating_sub(plan.delay));
        hold.may_be_kept(start.now, start.lasts.max(plan.lasts()));
        hold
    }

    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// Which of the permits it is, where they are counted.
    pub(crate) fn slot(&self) -> Option<u32> {
        matches!(self.held.mode, Mode::Counted { .. }).then_some(self.slot)
    }

    /// The lease that goes on with this one in another process, from now on.
    pub(crate) fn continued(&self, now: Instant) -> (Plan, Given) {
        let Held { name, owner, mode, fence, renewed, .. } = self.held.clone();
        let max_hold = self.ends_at.map(|end| end.since(now));
        let (ttl, delay, label) = (self.ttl(), self.delay, self.shown().clone());
        let (auto_renew, may_rest, asker) = (renewed, false, Asker::Unknown);
        let plan = Plan { name, ttl, delay, mode, label, max_hold, auto_renew, may_rest, asker };
        (plan, Given { owner, fence, slot: self.slot })
    }

    /// What others see of it.
    pub(super) fn shown(&self) -> MutexGuard<'_, Arc<str>> {
        self.label.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::from_nanos(self.deadline.load(Ordering::Acquire))
    }

    /// When it is reported lost unless it is renewed before.
    pub(super) fn lost_at(&self) -> Instant {
        Instant::from_nanos(self.lost_at.load(Ordering::Acquire))
    }

    /// When the backend no longer has it, whatever becomes of a release.
    pub(super) fn gone_at(&self) -> Instant {
        Instant::from_nanos(self.gone_at.load(Ordering::Acquire))
    }

    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// What it is renewed by.
    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_nanos(self.ttl.load(Ordering::Acquire))
    }

    pub(super) fn set_ttl(&self, ttl: Duration) {
        self.ttl.store(nanos(ttl), Ordering::Release);
    }

    /// The server's ttl.
    pub(super) fn with_delay(&self, ttl: Duration) -> Duration {
        ttl + self.delay
    }

    /// As the server is to have it by a renewal.
    pub(super) fn renewed_by(&self, ttl: Duration) -> Held {
        Held { ttl: self.with_delay(ttl), ..self.held.clone() }
    }

    /// The part of the server's ttl that is used.
    pub(super) fn without_delay(&self, lasts: Duration) -> Duration {
        lasts.saturating_sub(self.delay)
    }

    /// As the server may have it.
    pub(super) fn as_held(&self) -> Cow<'_, Held> {
        let longest = Duration::from_nanos(self.longest.load(Ordering::Acquire));
        match longest == self.held.ttl {
            true => Cow::Borrowed(&self.held),
            false => Cow::Owned(Held { ttl: longest, ..self.held.clone() }),
        }
    }

    /// A renewal by this ttl that arrives by `until` is on its way; answers its number.
    pub(super) fn renewing(&self, ttl: Duration, until: Instant) -> u64 {
        let lasts = self.with_delay(ttl);
        self.longest.fetch_max(nanos(lasts), Ordering::AcqRel);
        self.may_be_kept(until, lasts);
        match self.held.renewed {
            // All by the same ttl.
            true => 0,
            false => self.by_hand().begin(ttl),
        }
    }

    /// A renewal was carried out; answers what it buys.
    pub(super) fn renewal_answered(&self, number: u64) -> Duration {
        let buys = if self.held.renewed { None } else { self.by_hand().answered(number) };
        buys.unwrap_or_else(|| self.ttl())
    }

    /// A renewal has no answer, and may come late.
    pub(super) fn renewal_lost(&self, number: u64) {
        if !self.held.renewed {
            self.by_hand().lost(number);
        }
    }

    /// Its claim may come once more, late, and cut it down to its own ttl.
    pub(super) fn may_be_cut(&self) {
        if !self.held.renewed {
            self.by_hand().may_be_cut_to(self.ttl());
        }
    }

    fn by_hand(&self) -> MutexGuard<'_, Asked> {
        self.by_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the server is told that it is not used any more, if it is lost.
    pub(super) fn given_back_at(&self) -> Instant {
        self.deadline() + self.delay
    }

    /// Whether it is lost and its delay is not over. Of one that is gone from the server
    /// nothing is left to stay there.
    pub(super) fn is_delayed(&self, now: Instant) -> bool {
        let is_there = match self.loss() {
            Some(Loss::Expired | Loss::MaxHold | Loss::Closed) => true,
            Some(Loss::Gone) => self.lost_with_others.load(Ordering::Acquire),
            None => false,
        };
        is_there && !self.delay.is_zero() && now < self.given_back_at()
    }

    /// For how long its lock rests if it is given back now.
    pub(super) fn rest_left(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        self.rest.left(now, self.loss().is_some(), self.asked.load(Ordering::Acquire))
    }

    /// A renewal has not been sent: the backend has it until `before`, as it had.
    pub(super) fn not_renewed(&self, number: u64, ttl: Duration, until: Instant, before: Instant) {
        self.renewal_answered(number);
        let lasts = self.with_delay(ttl);
        let said = until + lasts + drift(lasts);
        let (said, before) = (said.as_nanos(), before.as_nanos());
        // Unless another renewal is on its way by now.
        let _ = self.gone_at.compare_exchange(said, before, Ordering::AcqRel, Ordering::Acquire);
    }

    fn may_be_kept(&self, since: Instant, lasts: Duration) {
        let gone_at = since + lasts + drift(lasts);
        self.gone_at.fetch_max(gone_at.as_nanos(), Ordering::AcqRel);
    }

    /// Move the deadline back to what a renewal sent at `sent` will leave of it.
    pub(super) fn shorten(&self, sent: Instant, ttl: Duration) {
        let left = deadline(sent, ttl);
        self.deadline.fetch_min(left.as_nanos(), Ordering::AcqRel);
        self.lost_at.fetch_min((left - grace(ttl)).as_nanos(), Ordering::AcqRel);
    }

    /// Move the deadline to what a renewal sent at `sent` bought; never back.
    pub(super) fn extend(&self, sent: Instant, ttl: Duration) {
        self.buy(sent, ttl);
        *self.last_trouble() = None;
    }

    /// A renewal has failed.
    pub(super) fn not_extended(&self, why: Arc<Error>) {
        *self.last_trouble() = Some(why);
    }

    fn last_trouble(&self) -> MutexGuard<'_, Option<Arc<Error>>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error of who uses it after it was lost, with what kept it from being renewed.
    pub(super) fn lost_by(&self, loss: Loss) -> Error {
        let error = Error::new(Kind::Lost, format!("the lease was lost: {loss}"));
        match self.last_trouble().clone().filter(|_| loss == Loss::Expired) {
            Some(trouble) => error.because(trouble),
            None => error,
        }
    }

    fn buy(&self, since: Instant, lasts: Duration) {
        let bought = deadline(since, lasts);
        let deadline = self.ends_at.map_or(bought, |end| bought.min(end));
        let span = self.max_hold.map_or(lasts, |most| most.min(lasts));
        let lost_at = deadline - grace(span);
        self.deadline.fetch_max(deadline.as_nanos(), Ordering::AcqRel);
        self.lost_at.fetch_max(lost_at.as_nanos(), Ordering::AcqRel);
    }

    /// End it, unless it has ended before. `then` runs when it is not valid any
    /// more and before who waits for that goes on; it is told whether this was
    /// the end.
    pub(super) fn end(&self, end: End, then: impl FnOnce(bool)) {
        let is_first = self.end.set(end).is_ok();
        then(is_first);
        if is_first {
            self.ended.notify_waiters();
        }
    }

    /// It is not used any more. True for the first who says so: the one to tell
    /// the backend.
    pub(super) fn let_go(&self) -> bool {
        !self.let_go.swap(true, Ordering::AcqRel)
    }

    /// True before the backend is asked for the first time to release it. Later
    /// it may not be held because the first time was carried out.
    pub(super) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::AcqRel)
    }

    /// Its end comes from another one of its group.
    pub(super) fn lose_with_others(&self) {
        self.lost_with_others.store(true, Ordering::Release);
    }

    /// A task, by its number, is inside of a block that gives it back; with zero none is.
    pub(crate) fn keep_for(&self, task: u64) {
        self.task.store(task, Ordering::Release);
    }

    /// The task that keeps it to the end of a block.
    pub(super) fn task(&self) -> Option<u64> {
        Some(self.task.load(Ordering::Acquire)).filter(|task| *task != 0)
    }

    /// See [`Engine::check`](super::Engine::check).
    pub(super) fn check(&self, is_checked: bool) {
        self.checking.store(is_checked, Ordering::Release);
    }

    pub(super) fn is_checked(&self) -> bool {
        self.checking.load(Ordering::Acquire)
    }

    /// Why time alone ends it.
    pub(super) fn loss_by_time(&self) -> Loss {
        match self.ends_at {
            Some(end) if end <= self.deadline() => Loss::MaxHold,
            _ => Loss::Expired,
        }
    }

    pub(crate) fn loss(&self) -> Option<Loss> {
        match self.end.get() {
            Some(End::Lost(loss)) => Some(*loss),
            _ => None,
        }
    }

    pub(super) fn is_handed_on(&self) -> bool {
        matches!(self.end.get(), Some(End::HandedOn))
    }

    pub(super) fn how_ended(&self) -> Option<&End> {
        self.end.get()
    }

    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        !self.is_over() && now < self.deadline()
    }

    /// Whether it is given back or lost.
    pub(crate) fn is_over(&self) -> bool {
        self.end.get().is_some() || self.let_go.load(Ordering::Acquire)
    }

    /// Ready when it is lost; never if it is released first.
    pub(crate) async fn lost(&self) -> Loss {
        match self.ended().await {
            Some(loss) => loss,
            None => std::future::pending().await,
        }
    }

    /// Ready when it is lost, and why, or released.
    pub(crate) async fn ended(&self) -> Option<Loss> {
        loop {
            let ended = self.ended.notified();
            if self.end.get().is_some() {
                return self.loss();
            }
            ended.await;
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
