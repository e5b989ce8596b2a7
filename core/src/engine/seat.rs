//! One waiter, as its line and the backend know it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::pauses::place_for;
use super::{Hold, Plan};
use crate::backend::{Claim, Grant};
use crate::name::Owner;
use crate::time::Instant;

/// A waiter's place in its line.
pub(super) struct Seat {
    pub(super) plan: Plan,
    pub(super) since: Instant,
    /// Where it stands; changed by its line alone.
    ticket: AtomicU64,
    /// Rung when it is worth looking again.
    pub(super) bell: Notify,
    /// Rung when a lease has come that nobody asked for just now.
    served: Notify,
    state: Mutex<SeatState>,
}

struct SeatState {
    claim: Claim,
    /// Whether the backend may know the claim.
    sent: bool,
    /// So many times was it sent without an answer: it may come late.
    unanswered: u32,
    /// Whether it might before it was sent the last time.
    sent_before: bool,
    /// What the backend last answered, while that was busy.
    busy: Option<Busy>,
    /// A grant that came before that answer.
    early: Option<Grant>,
    granted: Option<Arc<Hold>>,
    /// There was a hint that a lease may be gone, after the claim was sent.
    is_doubted: bool,
}

/// An answer that the lock is busy. Only a grant that is newer can be used.
#[derive(Clone, Copy)]
pub(super) struct Busy {
    /// When the claim was sent that it was answered to.
    pub(super) asked: Instant,
    /// The last fence of the lock at that time.
    pub(super) fence: u64,
}

impl Seat {
    pub(super) fn new(plan: Plan, claim: Claim, since: Instant) -> Arc<Self> {
        let state = SeatState {
            claim,
            sent: false,
            unanswered: 0,
            sent_before: false,
            busy: None,
            early: None,
            granted: None,
            is_doubted: false,
        };
        let (ticket, bell, served) = (AtomicU64::new(0), Notify::new(), Notify::new());
        Arc::new(Self { plan, since, ticket, bell, served, state: Mutex::new(state) })
    }

    pub(super) fn ticket(&self) -> u64 {
        self.ticket.load(Ordering::Relaxed)
    }

    pub(super) fn set_ticket(&self, ticket: u64) {
        self.ticket.store(ticket, Ordering::Relaxed);
    }

    /// The claim, for sending. It is sent again `recheck` after its answer, and
    /// the place that it asks for lasts well beyond that.
    pub(super) fn send(&self, recheck: Duration) -> Claim {
        let mut state = self.state();
        (state.sent_before, state.sent) = (state.sent, true);
        state.unanswered += 1;
        state.is_doubted = false;
        if let Some(place) = &mut state.claim.place {
            *place = place_for(recheck);
        }
        state.claim.clone()
    }

    /// This owner's claim has certainly not left this client.
    pub(super) fn was_not_sent(&self, owner: Owner) {
        let mut state = self.state();
        if state.claim.owner == owner {
            state.sent = state.sent_before;
            state.unanswered = state.unanswered.saturating_sub(1);
        }
    }

    /// This owner's claim, as it was sent last, is answered.
    pub(super) fn is_answered(&self, owner: Owner) {
        let mut state = self.state();
        if state.claim.owner == owner {
            state.unanswered = state.unanswered.saturating_sub(1);
        }
    }

    /// Whether the claim may arrive once more.
    pub(super) fn is_unanswered(&self) -> bool {
        self.state().unanswered > 0
    }

    /// Go on as another owner, unless it has begun to; answers the claim to withdraw.
    pub(super) fn renew_owner(&self, old: Owner, new: Owner) -> Option<Claim> {
        let mut state = self.state();
        if state.claim.owner != old {
            return None;
        }
        Some(state.start_anew(new))
    }

    /// The same for one that does not ask; `None` where the backend knows no claim.
    pub(super) fn give_up_claim(&self, new: Owner) -> Option<Claim> {
        let mut state = self.state();
        state.sent.then(|| state.start_anew(new))
    }

    /// The claim that the backend may know and that nobody will use.
    pub(super) fn take_sent(&self) -> Option<Claim> {
        let mut state = self.state();
        std::mem::take(&mut state.sent).then(|| state.claim.clone())
    }

    /// Whether the backend may know its claim.
    pub(super) fn is_sent(&self) -> bool {
        self.state().sent
    }

    /// The lease it was given.
    pub(super) fn take_granted(&self) -> Option<Arc<Hold>> {
        self.state().granted.take()
    }

    pub(super) fn give(&self, hold: Arc<Hold>) {
        let mut state = self.state();
        state.sent = false;
        state.granted = Some(hold);
    }

    /// Let it see that it has been given a lease.
    pub(super) fn wake(&self) {
        self.served.notify_one();
        self.bell.notify_one();
    }

    /// Whether a lease waits to be taken.
    pub(super) fn is_served(&self) -> bool {
        self.state().granted.is_some()
    }

    pub(super) fn doubt(&self) {
        self.state().is_doubted = true;
    }

    /// Whether what its last claim was granted may be gone by now.
    pub(super) fn is_doubted(&self) -> bool {
        self.state().is_doubted
    }

    /// Ready when it has been given a lease.
    pub(super) async fn served(&self) {
        self.served.notified().await;
    }

    /// Remember what the backend answered to this owner; answers a grant that came before.
    pub(super) fn set_busy(&self, owner: Owner, busy: Busy) -> Option<Grant> {
        let mut state = self.state();
        if state.claim.owner != owner {
            return None;
        }
        state.busy = Some(busy);
        state.early.take()
    }

    /// The answer that the grant must be newer than. If there is none yet, the grant
    /// is left for when it comes.
    pub(super) fn busy_before(&self, grant: &Grant) -> Option<Busy> {
        let mut state = self.state();
        if state.busy.is_none() {
            state.early = Some(grant.clone());
        }
        state.busy
    }

    pub(super) fn owner(&self) -> Owner {
        self.state().claim.owner
    }

    fn state(&self) -> MutexGuard<'_, SeatState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeatState {
    fn start_anew(&mut self, owner: Owner) -> Claim {
        (self.sent, self.sent_before, self.unanswered) = (false, false, 0);
        (self.busy, self.early) = (None, None);
        let old = self.claim.clone();
        self.claim.owner = owner;
        old
    }
}
