//! The conformance suite: what every [`Backend`]
//! promises, one named test each.
//!
//! A backend's author writes a [`Stage`] and one line:
//!
//! ```
//! use std::sync::Arc;
//! use leasehold::backend::{Backend, Memory};
//! use leasehold::testing::{ManualClock, Stage};
//!
//! struct InMemory { server: Memory, clock: ManualClock }
//!
//! #[async_trait::async_trait]
//! impl Stage for InMemory {
//!     async fn client(&self) -> Arc<dyn Backend> {
//!         Arc::new(self.server.client())
//!     }
//!     async fn pass(&self, span: std::time::Duration) {
//!         self.clock.advance(span);
//!     }
//! }
//!
//! mod conformance {
//!     # use super::*;
//!     leasehold::conformance_tests!({
//!         let clock = ManualClock::new();
//!         InMemory { server: Memory::new(Arc::new(clock.clone())), clock }
//!     });
//! }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::Backend;
use crate::time::{Clock, Instant};

pub mod cases;

/// One empty storage, for one test.
#[async_trait]
pub trait Stage: Send + Sync + 'static {
    /// A new client of the storage.
    async fn client(&self) -> Arc<dyn Backend>;

    /// Let at least `span` pass for the storage.
    async fn pass(&self, span: Duration);
}

/// A clock that goes only when it is told to. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands one second after its start.
    #[allow(clippy::new_without_default)] // a clock is made on purpose
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_000_000_000)))
    }

    /// Let `span` pass.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn wall_micros(&self) -> u64 {
        1_700_000_000_000_000 + self.0.load(Ordering::SeqCst) / 1000
    }
}

type Case = fn(Arc<dyn Stage>) -> Pin<Box<dyn Future<Output = ()>>>;

/// Run one case on a stage; the macro's tests call it.
#[doc(hidden)]
pub fn run<S: Stage>(stage: impl FnOnce() -> S, case: Case) {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = built.expect("a Tokio runtime can be built");
    runtime.block_on(async { case(Arc::new(stage())).await });
}

/// Expand to one `#[test]` per case of the conformance suite. The argument is
/// an expression that makes a fresh [`Stage`](crate::testing::Stage), evaluated
/// once per test inside a Tokio runtime.
#[macro_export]
macro_rules! conformance_tests {
    ($stage:expr) => {
        $crate::__conformance_tests! { $stage =>
            a_held_lock_is_busy_until_it_is_released
            an_expired_lease_is_granted_anew_with_a_larger_fence
            fences_rise_over_every_kind_of_end
            only_one_of_many_simultaneous_claims_is_granted
            names_do_not_disturb_each_other
            a_repeated_claim_answers_the_same_fence_and_restarts_the_ttl
            a_claim_after_its_release_is_retired
            a_claim_after_its_withdraw_is_retired
            a_withdraw_gives_back_what_was_granted
            a_stranger_can_neither_renew_nor_release
            a_renewal_never_takes_a_lock_again
            renewals_are_answered_one_by_one_in_order
            a_holder_shows_another_label_and_nobody_else_can
            a_second_release_says_that_nothing_was_held
            busy_tells_when_the_lease_ends
            the_line_is_first_come_first_served
            a_try_leaves_no_place_behind
            a_place_lapses_unless_it_is_refreshed
            a_lock_is_handed_on_for_no_longer_than_its_ttl
            a_release_wakes_the_first_of_the_line_only
            a_woken_waiter_that_leaves_wakes_the_next
            a_release_hands_the_lock_over_in_the_same_request
            who_is_handed_the_lock_overtakes_or_stands_in_line
            a_withdrawn_claim_is_not_handed_the_lock
            a_lost_lease_hands_nothing_over
            an_eviction_frees_the_lock_and_tells_both_sides
            inspect_shows_who_holds_and_who_waits
            odd_names_are_locks_like_any_other
            the_shortest_and_the_longest_ttl_are_kept
            a_lock_that_is_to_be_shared_is_shared_or_refused
            a_lock_that_is_to_rest_rests_or_is_refused
            a_lease_is_handed_on_or_that_is_unsupported
        }
    };
}

/// The same for a backend that can hand leases to another process by
/// [tickets](crate::Lease::into_ticket).
#[macro_export]
macro_rules! handing_tests {
    ($stage:expr) => {
        $crate::__conformance_tests! { $stage =>
            a_lease_goes_over_a_ticket_to_another_client_and_is_never_free
            a_client_adopts_what_it_has_given_itself
            who_has_handed_a_lease_on_can_do_nothing_with_it
            a_ticket_is_adopted_once
            a_repeated_transfer_answers_the_same_and_restarts_the_ttl
            a_ticket_that_nobody_adopts_in_time_is_good_for_nothing
            what_is_not_held_is_not_handed_on
            a_transfer_after_its_withdraw_changes_nothing
            a_withdraw_gives_back_what_was_handed_on
            who_waits_is_served_when_the_adopter_releases
            an_eviction_takes_the_lock_from_a_ticket
        }
    };
}

/// The same for a backend that has [shared](crate::Lock::shared) locks: what it promises
/// about those, and about [counted](crate::Lock::permits) ones if it has them.
#[macro_export]
macro_rules! sharing_tests {
    ($stage:expr) => {
        $crate::__conformance_tests! { $stage =>
            those_who_share_hold_together_and_keep_an_exclusive_one_out
            an_exclusive_one_keeps_those_who_would_share_out
            who_would_share_does_not_pass_an_exclusive_one_that_waits
            a_release_admits_all_who_share_up_to_the_next_exclusive_one
            who_is_handed_the_lock_to_share_it_is_followed_by_others
            a_turn_has_one_fence_and_the_next_a_larger_one
            each_who_shares_has_an_end_of_its_own
            a_full_turn_with_a_dead_reader_ends_for_the_writer_that_waits
            who_comes_at_the_end_of_the_last_reader_begins_another_turn
            an_exclusive_one_that_leaves_the_line_lets_those_behind_it_share
            a_withdrawn_share_leaves_the_others_alone
            a_repeated_claim_for_a_share_answers_the_same
            an_eviction_takes_the_lock_from_all_who_share_it
            inspect_shows_all_who_share
            who_shares_hands_on_its_turn_and_its_slot
        }
    };
}

/// The same for a backend that has [counted](crate::Lock::permits) locks.
#[macro_export]
macro_rules! counting_tests {
    ($stage:expr) => {
        $crate::__conformance_tests! { $stage =>
            one_more_than_the_permits_waits
            who_waits_for_a_permit_is_told_when_the_first_ends
            each_permit_has_a_slot_whose_fences_rise
            another_number_of_permits_is_refused_until_nobody_uses_the_lock
        }
    };
}

/// The same for a backend whose locks can [rest](crate::Lock::min_hold).
#[macro_export]
macro_rules! resting_tests {
    ($stage:expr) => {
        $crate::__conformance_tests! { $stage =>
            a_lock_that_rests_is_nobodys_and_keeps_all_out_until_it_is_over
            a_rest_outlives_the_ttl_of_its_lease
            a_rest_outlives_its_client
            a_release_that_is_repeated_does_not_end_the_rest
            a_claim_after_its_rest_is_retired
            a_rest_of_what_is_not_held_changes_nothing
            a_broken_rest_is_over
            who_waits_for_the_end_of_a_rest_gets_its_turn
            inspect_shows_what_rests
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($stage:expr => $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::testing::run(|| $stage, |stage| {
                    ::std::boxed::Box::pin($crate::testing::cases::$case(stage))
                });
            }
        )*
    };
}
