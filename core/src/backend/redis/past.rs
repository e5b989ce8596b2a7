//! What is to be known about owners whose claims may still come to the server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::Value;

use super::failure::Failure;
use super::link::Link;
use super::request::Request;
use super::{LATE, Redis};
use crate::backend::record::Retired;
use crate::name::Owner;
use crate::time::Instant;

/// What is to be known about owners whose claims may still be on their way.
#[derive(Default)]
pub(super) struct Past {
    /// Released or withdrawn: over this connection no claim of theirs can come
    /// after that, as a server answers in order. A bug of ours could send one.
    pub(super) retired: Retired,
    pub(super) in_doubt: BTreeMap<Owner, Doubt>,
    /// Those of them that are over are dropped no sooner than this.
    sweep_at: Option<Instant>,
    /// The first link of those that were too many to be kept, and when they are over.
    forgotten: Option<(u64, Instant)>,
}

/// Over which connections a claim may still come to the server.
#[derive(Clone, Copy)]
pub(super) struct Doubt {
    /// What was sent does not come later than this.
    until: Instant,
    /// The first link over which one was sent that has no answer. What is sent
    /// over that link comes after it, what is sent over a later one may not.
    link: Option<u64>,
    /// The link over which one is on its way whose answer is waited for.
    asked: Option<u64>,
    /// A release is under way that hands the lock to this owner. It is sent again
    /// where the server has forgotten the script, perhaps after a withdrawal.
    pub(super) is_next: bool,
}

impl Doubt {
    fn new(until: Instant) -> Self {
        Self { until, link: None, asked: None, is_next: false }
    }

    /// What is sent over this link or an earlier one comes after all of them.
    fn first_link(&self) -> Option<u64> {
        if self.is_next { Some(0) } else { self.link.into_iter().chain(self.asked).min() }
    }
}

impl Past {
    /// As many as a client can owe.
    const MAX_IN_DOUBT: usize = 1 << 17;

    /// How often at most all of them are looked at.
    const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);

    pub(super) fn doubt(&mut self, owner: Owner, now: Instant) -> &mut Doubt {
        if self.in_doubt.len() >= Self::MAX_IN_DOUBT && !self.in_doubt.contains_key(&owner) {
            self.make_room(now);
        }
        let until = now + LATE;
        let doubt = self.in_doubt.entry(owner).or_insert_with(|| Doubt::new(until));
        doubt.until = until;
        doubt
    }

    /// Drop those that are over, or else one that is not.
    fn make_room(&mut self, now: Instant) {
        if self.sweep_at.is_none_or(|at| at <= now) {
            self.sweep_at = Some(now + Self::BETWEEN_SWEEPS);
            self.in_doubt.retain(|_, doubt| doubt.until > now);
        }
        if self.in_doubt.len() >= Self::MAX_IN_DOUBT
            && let Some((_, dropped)) = self.in_doubt.pop_first()
            && let Some(link) = dropped.first_link()
        {
            let before = self.forgotten.filter(|(_, until)| *until > now);
            let first = before.map_or(link, |(first, _)| first.min(link));
            self.forgotten = Some((first, now + LATE));
        }
    }

    /// A claim is sent over this link, before anything else is done.
    pub(super) fn asks(&mut self, owner: Owner, link: u64, now: Instant) {
        self.doubt(owner, now).asked = Some(link);
    }

    /// Whether a claim of this owner may come later than what is sent over this
    /// link now.
    pub(super) fn may_come_late(&self, owner: Owner, link: u64, now: Instant) -> bool {
        let first = match self.in_doubt.get(&owner) {
            Some(doubt) => doubt.first_link(),
            None => self.forgotten.filter(|(_, until)| *until > now).map(|(first, _)| first),
        };
        first.is_some_and(|first| first != link)
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
        // Who is not in doubt any more has been withdrawn meanwhile.
        let Some(doubt) = past.in_doubt.get_mut(&self.owner) else { return };
        match self.is_release {
            true => doubt.is_next = false,
            false => doubt.asked = None,
        }
        if !self.answered {
            doubt.link = Some(doubt.link.map_or(self.link, |first| first.min(self.link)));
        }
        // An answer says nothing about what was sent over other links.
        if doubt.first_link().is_none() {
            past.in_doubt.remove(&self.owner);
        }
    }
}

impl Redis {
    /// Send what may make this owner a holder, and so is withdrawn if it may come late.
    /// `None`: it was withdrawn before, and nothing is sent.
    pub(super) async fn ask_for(
        &self,
        owner: Owner,
        request: Request<'_>,
        link: &Arc<Link>,
    ) -> Result<Option<Value>, Failure> {
        let begun = {
            let mut past = self.past();
            // A withdrawal by another thread is seen here, or is sent after this.
            if past.retired.contains(owner) {
                return Ok(None);
            }
            past.asks(owner, link.number, self.clock.now());
            request.begin(link)
        };
        let mut sent =
            Sent { past: &self.past, owner, link: link.number, is_release: false, answered: false };
        let answer = Request::answer(begun, link).await;
        sent.answered = Failure::is_answer(&answer);
        answer.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    fn send(past: &Mutex<Past>, owner: Owner, link: u64, answered: bool) {
        past.lock().unwrap().asks(owner, link, NOW);
        drop(Sent { past, owner, link, is_release: false, answered });
    }

    #[test]
    fn a_claim_may_come_late_over_the_first_link_whatever_was_sent_over_others() {
        let (past, owner) = (Mutex::new(Past::default()), Owner::from_bits(1));
        let late = |link| past.lock().unwrap().may_come_late(owner, link, NOW);
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
        let late = |link| past.lock().unwrap().may_come_late(owner, link, NOW);
        for answered in [true, false] {
            past.lock().unwrap().doubt(owner, NOW).is_next = true;
            // Meanwhile it asks again.
            send(&past, owner, 1, true);
            assert!(late(1));
            drop(Sent { past: &past, owner, link: 1, is_release: true, answered });
            assert_eq!((late(1), late(2)), (false, !answered));
        }
    }

    #[test]
    fn a_claim_on_its_way_over_another_link_may_come_late() {
        let (past, owner) = (Mutex::new(Past::default()), Owner::from_bits(1));
        past.lock().unwrap().asks(owner, 1, NOW);
        let late = |link| past.lock().unwrap().may_come_late(owner, link, NOW);
        assert!(!late(1) && late(2));
    }

    #[test]
    fn those_that_are_too_many_to_be_known_may_all_come_late() {
        let past = Mutex::new(Past::default());
        let many = Past::MAX_IN_DOUBT as u128;
        (0..many).for_each(|number| send(&past, Owner::from_bits(number), 5, false));
        let late = |number, link| {
            let owner = Owner::from_bits(number);
            past.lock().unwrap().may_come_late(owner, link, NOW)
        };
        assert!(!late(many, 6) && late(0, 6));
        send(&past, Owner::from_bits(many), 6, false);
        assert!(late(0, 6) && late(many + 1, 6), "one of them was dropped");
        assert!(!late(0, 5) && late(many, 7));
        // Not for ever.
        let over = NOW + LATE;
        assert!(!past.lock().unwrap().may_come_late(Owner::from_bits(many + 1), 6, over));
        past.lock().unwrap().asks(Owner::from_bits(many + 1), 7, over);
        assert_eq!(past.lock().unwrap().in_doubt.len(), 1, "nor are those kept that are over");
    }
}
