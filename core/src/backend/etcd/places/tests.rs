use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::backend::Mode;

const ALONE: Mode = Mode::Exclusive;

fn of(first: Owner) -> Slot {
    Slot::of(ALONE, first)
}

fn poll(left: impl Future<Output = Left>) -> Poll<Left> {
    pin!(left).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_key_is_used_again_when_all_that_was_sent_for_it_is_answered() {
    let (places, name) = (Places::default(), LockName::new("x").unwrap());
    let [first, next, last] = [1, 2, 3].map(Owner::from_bits);
    let left = || poll(places.left(first, false));
    assert_eq!(places.take_slot(first, &name, ALONE), of(first));
    assert!(places.send(first));
    places.retire(first, &name, Instant::from_nanos(0));
    assert!(!places.send(first));
    assert_eq!(left(), Poll::Pending);
    places.answered(first, Sent::CarriedOut);
    assert_eq!(left(), Poll::Ready(Left::Key(of(first))));
    assert_eq!(left(), Poll::Pending, "it is deleted already");
    places.answered(first, Sent::CarriedOut);
    assert_eq!(left(), Poll::Ready(Left::Key(of(first))));
    places.settle(first);
    assert_eq!(places.take_slot(next, &name, ALONE), of(next), "it is deleted once more");
    places.answered(first, Sent::CarriedOut);
    places.settle(first);
    assert_eq!(places.take_slot(last, &name, ALONE), of(first));
    assert_eq!(left(), Poll::Ready(Left::Nothing), "it belongs to another");
}

#[test]
fn a_key_that_may_be_made_late_is_not_used_again() {
    let (places, name) = (Places::default(), LockName::new("x").unwrap());
    let [first, next] = [1, 2].map(Owner::from_bits);
    places.take_slot(first, &name, ALONE);
    places.send(first);
    places.answered(first, Sent::Lost);
    places.has_nothing(first);
    places.retire(first, &name, Instant::from_nanos(0));
    assert_eq!(poll(places.left(first, false)), Poll::Ready(Left::Late(of(first))));
    places.settle(first);
    assert_eq!(poll(places.left(first, true)), Poll::Ready(Left::Late(of(first))));
    places.settle_late(first);
    assert_eq!(places.take_slot(next, &name, ALONE), of(next));
    assert_eq!(places.owed(Instant::from_nanos(1), 9), []);
}

#[test]
fn a_key_that_another_request_made_is_not_left_behind() {
    let (places, name) = (Places::default(), LockName::new("x").unwrap());
    let [first, next] = [1, 2].map(Owner::from_bits);
    places.take_slot(first, &name, ALONE);
    assert!(places.send(first) && places.send(first));
    places.answered(first, Sent::CarriedOut);
    places.answered(first, Sent::CarriedOut);
    // The one that came too early to find it is the last that is heard of.
    places.has_nothing(first);
    assert_eq!(places.take_slot(next, &name, ALONE), of(next));
    places.retire(first, &name, Instant::from_nanos(0));
    assert_eq!(poll(places.left(first, false)), Poll::Ready(Left::Key(of(first))));
}
