//! What is to be known about owners whose claims may still come to the server.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::backend::record::Retired;
use crate::name::Owner;

/// What is to be known about owners whose claims may still be on their way.
#[derive(Default)]
pub(super) struct Past {
    /// Released or withdrawn: over this connection no claim of theirs can come
    /// after that, as a server answers in order. A bug of ours could send one.
    pub(super) retired: Retired,
    pub(super) in_doubt: BTreeMap<Owner, Doubt>,
}

/// Over which connections a claim may still come to the server.
#[derive(Clone, Copy, Default)]
pub(super) struct Doubt {
    /// The first link over which one was sent that has no answer. What is sent
    /// over that link comes after it, what is sent over a later one may not.
    link: Option<u64>,
    /// A release is under way that hands the lock to this owner. It is sent again
    /// where the server has forgotten the script, perhaps after a withdrawal.
    pub(super) is_next: bool,
}

impl Past {
    /// Only as many as can matter, whatever happens.
    const MAX_IN_DOUBT: usize = 65_536;

    pub(super) fn doubt(&mut self, owner: Owner) -> &mut Doubt {
        if self.in_doubt.len() >= Self::MAX_IN_DOUBT && !self.in_doubt.contains_key(&owner) {
            self.in_doubt.pop_first();
        }
        self.in_doubt.entry(owner).or_default()
    }

    /// Whether a claim of this owner may come later than what is sent over this
    /// link now.
    pub(super) fn may_come_late(&self, owner: Owner, link: u64) -> bool {
        let doubt = self.in_doubt.get(&owner).copied().unwrap_or_default();
        doubt.is_next || doubt.link.is_some_and(|first| first != link)
    }
}

/// A claim, or a release that makes one, which is not answered before it is dropped.
pub(super) struct Sent<'a> {
    pub(super) past: &'a Mutex<Past>,
    pub(super) owner: Owner,
    pub(super) link: u64,
    pub(super) is_release: bool,
    pub(super) answered: bool,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.answered {
            let first = &mut past.doubt(self.owner).link;
            *first = Some(first.map_or(self.link, |first| first.min(self.link)));
        }
        if let Some(doubt) = past.in_doubt.get_mut(&self.owner) {
            doubt.is_next &= !self.is_release;
            // An answer says nothing about what was sent over other links.
            if doubt.link.is_none() && !doubt.is_next {
                past.in_doubt.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(past: &Mutex<Past>, owner: Owner, link: u64, answered: bool) {
        drop(Sent { past, owner, link, is_release: false, answered });
    }

    #[test]
    fn a_claim_may_come_late_over_the_first_link_whatever_was_sent_over_others() {
        let (past, owner) = (Mutex::new(Past::default()), Owner::from_bits(1));
        let late = |link| past.lock().unwrap().may_come_late(owner, link);
        send(&past, owner, 1, true);
        assert!(!late(1) && !late(2));
        send(&past, owner, 1, false);
        assert!(!late(1) && late(2));
        send(&past, owner, 2, true);
        assert!(late(2), "the answer to another one proves nothing");
        send(&past, owner, 2, false);
        assert!(late(2) && late(3));
    }

    #[test]
    fn a_hand_over_is_in_doubt_until_it_is_answered() {
        let (past, owner) = (Mutex::new(Past::default()), Owner::from_bits(1));
        let late = |link| past.lock().unwrap().may_come_late(owner, link);
        for answered in [true, false] {
            past.lock().unwrap().doubt(owner).is_next = true;
            // Meanwhile it asks again.
            send(&past, owner, 1, true);
            assert!(late(1));
            drop(Sent { past: &past, owner, link: 1, is_release: true, answered });
            assert_eq!((late(1), late(2)), (false, !answered));
        }
    }
}
