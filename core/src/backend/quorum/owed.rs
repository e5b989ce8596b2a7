//! What was given back to a node and not confirmed by it.
//!
//! Nobody waits for the slowest node, nor for one without a connection: what it
//! is to be told is a debt, from its sending until it is confirmed or nothing
//! of it can be left there. A debt outlives every kind of error.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::unconstrained;

use super::node::{Ask, Ends, Node, Return, Returned, Said, Signed};
use super::round::{Asking, Round};
use super::{LAG, Quorum};
use crate::error::{Error, Outcome};
use crate::name::Owner;
use crate::time::Instant;

/// Of all nodes.
pub(super) struct Owed {
    nodes: Vec<Mutex<Ledger>>,
    /// Somebody will look after what is there.
    is_watched: AtomicBool,
    /// Rung when nobody does.
    pub(super) begun: Notify,
    /// When it is to be looked after next, in nanoseconds.
    look_at: AtomicU64,
}

/// One node's.
#[derive(Default)]
struct Ledger {
    /// What it is to be told.
    debts: BTreeMap<Owner, Debt>,
    /// What it was told and has not answered.
    under_way: Vec<Payment>,
    /// After a failure.
    pause: Duration,
    rests_until: Option<Instant>,
}

/// What a node is to be told.
#[derive(Clone)]
pub(super) struct Debt {
    pub(super) back: Arc<Return>,
    /// When nothing of it can be left there.
    pub(super) until: Instant,
}

struct Payment {
    debt: Debt,
    asking: Asking<'static, Returned>,
    /// When the answer is not waited for any longer.
    late: Option<Instant>,
}

impl Debt {
    /// Put it to the node.
    pub(super) fn ask(&self, node: &Arc<dyn Node>) -> Asking<'static, Returned> {
        let (node, back) = (node.clone(), self.back.clone());
        Box::pin(async move { node.give_back(&back).await })
    }

    /// Both in one.
    fn and(self, other: Debt) -> Debt {
        let rank = |back: &Return| match back.what {
            Ends::Vote { .. } => 0,
            Ends::Attempt => 1,
            Ends::Lease => 2,
        };
        let (weak, strong) = match rank(&self.back) <= rank(&other.back) {
            true => (self, other),
            false => (other, self),
        };
        let ballot = weak.back.ballot.max(strong.back.ballot);
        let until = weak.until.max(strong.until);
        let mut back = strong.back;
        if back.ballot != ballot || back.next.is_some() {
            back = Arc::new(Return { ballot, next: None, ..(*back).clone() });
        }
        Debt { back, until }
    }
}

impl Owed {
    /// A node that is owed more is asked for nothing that would add to it.
    const MOST: usize = 16_384;
    /// So many are paid at once.
    const BATCH: usize = 512;
    const MAX_PAUSE: Duration = Duration::from_secs(2);
    /// Who has not answered by then is told again.
    const PATIENCE: Duration = Duration::from_secs(3);

    pub(super) fn to(nodes: usize) -> Self {
        let nodes = (0..nodes).map(|_| Mutex::default()).collect();
        let (is_watched, look_at) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { nodes, is_watched, begun: Notify::new(), look_at }
    }

    pub(super) fn is_full(&self, node: usize) -> bool {
        self.ledger(node).debts.len() >= Self::MOST
    }

    /// It could not be told.
    pub(super) fn add(&self, node: usize, debt: Debt) {
        self.ledger(node).add(debt);
        self.begin();
    }

    /// It was told; its answer is still to come.
    pub(super) fn expect(&self, node: usize, debt: Debt, asking: Asking<'static, Returned>) {
        self.ledger(node).under_way.push(Payment { debt, asking, late: None });
        self.begin();
    }

    /// Tell it now, and do not wait for the answer.
    pub(super) fn tell(&self, node: usize, debt: Debt, mut asking: Asking<'static, Returned>) {
        match asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => self.add(node, debt),
            Poll::Pending => self.expect(node, debt, asking),
        }
    }

    /// It is connected anew: what failed before may succeed.
    pub(super) fn retry(&self, node: usize) {
        let mut ledger = self.ledger(node);
        (ledger.pause, ledger.rests_until) = (Duration::ZERO, None);
        self.look_at.store(0, Ordering::SeqCst);
    }

    /// Hear the answers and pay what can be paid. Answers when to look again.
    pub(super) fn look_after(&self, nodes: &[Arc<dyn Node>], now: Instant) -> Option<Instant> {
        let look_at = self.look_at.load(Ordering::SeqCst);
        if look_at > now.as_nanos() {
            return Some(Instant::from_nanos(look_at));
        }
        self.is_watched.store(false, Ordering::SeqCst);
        let each = nodes.iter().enumerate();
        let next = each.filter_map(|(at, node)| self.ledger(at).look_after(node, now)).min();
        if next.is_some() {
            self.is_watched.store(true, Ordering::SeqCst);
        }
        self.look_at.store(next.map_or(0, Instant::as_nanos), Ordering::SeqCst);
        next
    }

    /// Do at once what can be done; answers how many nodes there are to tell more, those
    /// that are connected and the others.
    pub(super) fn pay_now(&self, nodes: &[Arc<dyn Node>], now: Instant) -> (usize, usize) {
        let each = nodes.iter().enumerate();
        let open = each.filter(|(at, node)| self.ledger(*at).look_after(node, now).is_some());
        let open: Vec<bool> = open.map(|(_, node)| node.is_connected()).collect();
        let connected = open.iter().filter(|is_connected| **is_connected).count();
        (connected, open.len() - connected)
    }

    fn begin(&self) {
        if !self.is_watched.swap(true, Ordering::SeqCst) {
            self.begun.notify_one();
        }
    }

    fn ledger(&self, node: usize) -> MutexGuard<'_, Ledger> {
        self.nodes[node].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn add(&mut self, debt: Debt) {
        let owner = debt.back.owner;
        let debt = match self.debts.remove(&owner) {
            Some(earlier) => earlier.and(debt),
            None => debt,
        };
        self.debts.insert(owner, debt);
    }

    fn look_after(&mut self, node: &Arc<dyn Node>, now: Instant) -> Option<Instant> {
        self.hear(now);
        self.debts.retain(|_, debt| debt.until > now);
        let rests = self.rests_until.is_some_and(|until| until > now);
        if !rests && node.is_well() {
            let room = Owed::BATCH.saturating_sub(self.under_way.len());
            for _ in 0..room {
                let Some((_, debt)) = self.debts.pop_first() else { break };
                let asking = debt.ask(node);
                self.under_way.push(Payment { debt, asking, late: None });
            }
            self.hear(now);
        }
        let is_clear = self.debts.is_empty() && self.under_way.is_empty();
        // A new connection is heard of at once.
        let soon = if node.is_well() { LAG } else { 4 * LAG };
        let rests_until = self.rests_until.filter(|_| self.under_way.is_empty());
        (!is_clear).then(|| rests_until.map_or(now + soon, |until| until.max(now + soon)))
    }

    /// What has been answered. A failure is a debt again, whatever its kind.
    fn hear(&mut self, now: Instant) {
        let mut failed = false;
        for mut payment in std::mem::take(&mut self.under_way) {
            match poll_once(&mut payment.asking) {
                Poll::Ready(Ok(_)) => self.pause = Duration::ZERO,
                Poll::Ready(Err(_)) => {
                    failed = true;
                    self.add(payment.debt);
                }
                Poll::Pending if payment.debt.until <= now => {}
                Poll::Pending => match *payment.late.get_or_insert(now + Owed::PATIENCE) {
                    late if late <= now => self.add(payment.debt),
                    _ => self.under_way.push(payment),
                },
            }
        }
        if failed {
            self.pause = (self.pause * 2).clamp(LAG, Owed::MAX_PAUSE);
            self.rests_until = Some(now + self.pause);
        }
    }
}

impl Quorum {
    /// Until every node that is connected knows what was given back.
    pub(super) async fn pay_all(&self) {
        let (mut connected_at, mut pause) = (self.runtime.now(), Duration::from_millis(1));
        loop {
            let now = self.runtime.now();
            match self.owed.pay_now(&self.nodes, now) {
                (0, 0) => return,
                // One whose connection was just cut is soon there again.
                (0, _) if now.since(connected_at) >= LAG => return,
                (0, _) => {}
                _ => connected_at = now,
            }
            self.runtime.sleep(pause).await;
            pause = (pause * 2).min(LAG / 5);
        }
    }

    pub(super) fn vote<'a>(&'a self, node: usize, ask: &'a Ask) -> Asking<'a, Said> {
        if self.owed.is_full(node) {
            let why = "too much that was given back has not reached it yet";
            return Box::pin(std::future::ready(Err(Error::unavailable(why))));
        }
        self.noted(node, self.nodes[node].vote(ask))
    }

    /// Take down when the node was asked, unless it certainly was not.
    pub(super) fn noted<'a, T: Send + 'a>(
        &self,
        node: usize,
        mut asking: Asking<'a, T>,
    ) -> Asking<'a, T> {
        let (asked, now) = (self.asked.clone(), self.runtime.now());
        Box::pin(async move {
            let first = poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await;
            let is_unsent =
                matches!(&first, Poll::Ready(Err(e)) if e.outcome() == Outcome::NotHeld);
            if !is_unsent {
                asked[node].store(now.as_nanos(), Ordering::SeqCst);
            }
            match first {
                Poll::Ready(answer) => answer,
                Poll::Pending => asking.await,
            }
        })
    }

    /// What nodes did not answer to the question that ends an attempt or a lease,
    /// which was first asked for at `began`.
    pub(super) fn owe_rest(
        &self,
        round: &mut Round<'static, Returned>,
        began: Option<Instant>,
        debt: &Debt,
    ) {
        for node in 0..round.nodes() {
            if let Some(asking) = round.take_open(node) {
                self.owed.expect(node, debt.clone(), asking);
            } else if let Some(Err(_)) = round.answer(node) {
                self.owe(node, began, debt);
            }
        }
    }

    /// A node was not told; it may hold it unless it was not asked since it `began`.
    pub(super) fn owe(&self, node: usize, began: Option<Instant>, debt: &Debt) {
        let asked = self.asked[node].load(Ordering::SeqCst);
        if began.is_none_or(|began| asked >= began.as_nanos()) {
            self.owed.add(node, debt.clone());
        }
    }
}

/// Without regard to how much the task that asks has done already.
fn poll_once<T>(asking: &mut Asking<'static, T>) -> Poll<Result<Signed<T>, Error>> {
    pin!(unconstrained(asking)).poll(&mut Context::from_waker(Waker::noop()))
}
