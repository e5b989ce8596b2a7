//! Until when a session lives for certain.
//!
//! A server answers a ping from what it knows itself. One that is cut off from its leader
//! goes on answering for many seconds, while the leader, who alone decides, has ended the
//! session and somebody else holds the lock. So a ping proves nothing here, and none is sent.
//!
//! Nor does what a leader answers by itself: when its followers have left it, it believes for
//! `syncLimit` ticks that it leads. It answers a `sync`, while the next leader has ended the
//! session.
//!
//! A *beat* is a write that changes nothing: it deletes a node that is not there. The leader looks
//! whether the session lives (`PrepRequestProcessor`), and answers once a majority has noted that
//! the write failed. So after it was sent a majority still followed this leader. The next leader
//! needs one of them, so it begins later, and gives every session its whole time then.
//!
//! A beat does not begin the session's time anew. That happens when the server that has the
//! session tells the leader that it has heard of it, which
//! it does in its answer to a ping of the leader, twice in a tick (`LearnerSessionTracker`,
//! `Learner.ping`, `Leader.lead`). What the two tell each other arrives in order, either way,
//! however late. So let *A*, *B* and *C* be beats over one connection:
//!
//! * A was answered half a tick before B was sent. So the leader has pinged the server between
//!   the two, and before it answered B.
//! * B was answered. So the server has seen that ping, and has answered it, with what it knew
//!   of A.
//! * C was sent after B was answered, and is answered itself. So what the server has said until
//!   then has reached the leader.
//!
//! Then the leader counts from the sending of A, or from later on. That is how deadlines are
//! counted, and never from the last beat. C follows upon B at once; the next pair is a while later,
//! for which they are A.
//!
//! A new session counts from when it was asked for, as it begins by a write. When an old one goes
//! on over another connection, the leader begins its time anew (`Learner.validateSession`), but
//! asks nobody. So that counts when the first beat over the connection is answered.
//!
//! What is assumed: a leader that goes on pings its servers twice in a tick, and is not
//! stopped meanwhile for longer and then goes on as if it had not been; and the ticks of all
//! members are as long as this client believes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::time::Instant;

/// So many beats are remembered. A few are enough.
const MOST: usize = 64;

/// What is known of one session.
pub(super) struct Proof {
    state: Mutex<State>,
    /// So long a beat was answered before a later one was sent that proves it.
    apart: Duration,
    /// Since when, at the latest, the leader counts.
    since: watch::Sender<Option<Instant>>,
}

#[derive(Default)]
struct State {
    /// Of this connection: when beats were sent and answered, from the last on that is proven.
    answered: VecDeque<(Instant, Instant)>,
    /// When it was asked for, if the session went on by it and no beat was answered since.
    entered: Option<Instant>,
}

impl Proof {
    pub(super) fn new(apart: Duration) -> Self {
        Self { state: Mutex::default(), apart, since: watch::channel(None).0 }
    }

    /// Since when the leader counts, or later; `None` if there is no session.
    pub(super) fn since(&self) -> Option<Instant> {
        *self.since.borrow()
    }

    /// A connection was opened, and the session goes on or begins by it.
    pub(super) fn connected(&self, sent: Instant) {
        // What another server has heard is proven by none of this one's answers.
        let mut state = self.state();
        state.answered.clear();
        state.entered = self.since().is_some().then_some(sent);
        let begins = state.entered.is_none();
        drop(state);
        if begins {
            self.raise(sent);
        }
    }

    /// The session is over.
    pub(super) fn over(&self) {
        *self.state() = State::default();
        self.since.send_replace(None);
    }

    /// A beat of this connection was answered.
    pub(super) fn beat(&self, sent: Instant, now: Instant) {
        let mut state = self.state();
        let entered = state.entered.take();
        let is_before = |limit: Instant, by| move |beat: &&(Instant, Instant)| beat.1 + by <= limit;
        let newest = |limit, by| state.answered.iter().rfind(is_before(limit, by)).copied();
        let second = newest(sent, Duration::ZERO);
        let proven = second.and_then(|(second, _)| newest(second, self.apart));
        let proven = proven.map(|(first, _)| first);
        state.answered.retain(|(first, _)| proven.is_none_or(|proven| *first >= proven));
        state.answered.push_back((sent, now));
        if state.answered.len() > MOST {
            state.answered.pop_front();
        }
        drop(state);
        if self.since().is_some() {
            entered.into_iter().chain(proven).for_each(|since| self.raise(since));
        }
    }

    /// Ready when the leader counts since then or later.
    pub(super) async fn reached(&self, since: Instant) {
        let mut seen = self.since.subscribe();
        let is_reached = |known: &Option<Instant>| known.is_some_and(|known| known >= since);
        // It lives as long as its session.
        drop(seen.wait_for(is_reached).await);
    }

    fn raise(&self, to: Instant) {
        self.since.send_if_modified(|since| {
            let is_later = since.is_none_or(|since| to > since);
            if is_later {
                *since = Some(to);
            }
            is_later
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn of(beats: &[(u64, u64)]) -> Option<Instant> {
        let proof = Proof::new(Duration::from_secs(1));
        proof.connected(at(100));
        for (sent, answered) in beats {
            proof.beat(at(*sent), at(*answered));
        }
        proof.since()
    }

    #[test]
    fn a_beat_counts_when_one_that_was_sent_long_enough_after_its_answer_is_answered_and_one_more()
    {
        assert_eq!(of(&[]), Some(at(100)), "that it has connected counts");
        assert_eq!(of(&[(5000, 5001)]), Some(at(100)), "the last proves nothing of itself");
        let two = [(5000, 5001), (6001, 6002)];
        assert_eq!(of(&two), Some(at(100)), "the answer to a ping may be on its way for ever");
        let [a, b] = two;
        assert_eq!(of(&[a, b, (6001, 6003)]), Some(at(100)), "sent before the second's answer");
        assert_eq!(of(&[a, b, (6002, 6003)]), Some(at(5000)));
        assert_eq!(
            of(&[a, (6000, 6001), (6001, 6003)]),
            Some(at(100)),
            "too soon after the answer"
        );
        let late = [(5000, 5900), (6800, 6801), (6801, 6802)];
        assert_eq!(of(&late), Some(at(100)), "its answer came late");
        let pairs = [(5000, 5001), (5001, 5002), (6200, 6201), (6201, 6202), (7300, 7301)];
        assert_eq!(of(&pairs[..4]), Some(at(5001)), "the newest that is proven");
        assert_eq!(of(&pairs), Some(at(5001)));
        let more = [&pairs[..], &[(7301, 7302)]].concat();
        assert_eq!(of(&more), Some(at(6201)));
    }

    #[test]
    fn nothing_is_proven_over_two_connections_or_after_the_end() {
        let proof = Proof::new(Duration::from_secs(1));
        assert_eq!(proof.since(), None);
        proof.connected(at(100));
        proof.beat(at(5000), at(5001));
        proof.beat(at(6500), at(6501));
        proof.connected(at(6600));
        assert_eq!(proof.since(), Some(at(100)), "the leader may be none any more");
        proof.beat(at(7000), at(7001));
        proof.beat(at(7001), at(7002));
        assert_eq!(proof.since(), Some(at(6600)));
        proof.over();
        proof.beat(at(9000), at(9001));
        assert_eq!(proof.since(), None);
    }
}
