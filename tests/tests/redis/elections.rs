//! Elections on a real server.

use crate::place::records::records;
use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::{Client, Kind, Term};
use leasehold_tests::patience::now;

fn lead(place: &Place, client: &Client, value: &str) -> Term {
    place.wait(client.election("x").value(value).ttl(LONG).campaign()).unwrap()
}

fn shown(place: &Place, client: &Client) -> Option<String> {
    place.wait(client.election("x").leader()).unwrap().map(|leader| leader.value)
}

#[test]
fn a_leader_proclaims_another_value_and_keeps_its_term_and_its_end() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let term = lead(&place, &client, "before");
    place.server.command(&["PEXPIRE", "leasehold:x", "30000"]);
    for value in ["after", "", " a  b ", "shared:-1 7"] {
        place.wait(term.proclaim(value)).unwrap();
        assert_eq!(shown(&place, &other).as_deref(), Some(value));
    }
    let lock = records(&place.server).into_iter().find(|record| record.key == "leasehold:x");
    let lives = lock.unwrap().lives;
    assert!((1..=30_000).contains(&lives), "{lives}");
    let leader = place.wait(other.election("x").leader()).unwrap().unwrap();
    assert_eq!(leader.term, term.number());
    place.wait(term.renew()).unwrap();
    assert_eq!(shown(&place, &other).as_deref(), Some("shared:-1 7"));
    place.wait(term.resign()).unwrap();
    assert_eq!(shown(&place, &other), None);
    assert_eq!(place.wait(term.proclaim("late")).unwrap_err().kind(), Kind::NotHeld);
}

#[test]
fn a_former_leader_cannot_proclaim() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let term = lead(&place, &client, "a");
    // As if its time had passed on the server alone.
    place.server.command(&["DEL", "leasehold:x"]);
    let next = lead(&place, &other, "b");
    assert_eq!(place.wait(term.proclaim("c")).unwrap_err().kind(), Kind::Lost);
    assert_eq!(shown(&place, &client).as_deref(), Some("b"));
    place.wait(next.resign()).unwrap();
}

#[test]
fn who_resigns_hands_the_lead_on_at_once_and_the_value_of_the_next_is_shown() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let term = lead(&place, &client, "a");
    let waiter = place.queue(other.lock("x").ttl(LONG).label("b"));
    place.until_in_line("x", 1);
    let resigned = now();
    place.wait(term.resign()).unwrap();
    assert_eq!(shown(&place, &client).as_deref(), Some("b"));
    let (_lease, at) = place.granted(waiter);
    assert!(at - resigned < PROMPT);
}

#[test]
fn an_observer_is_told_of_a_fail_over_when_the_term_has_ended() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let leaders = other.election("x").observe();
    let next = || place.wait(leaders.next()).unwrap().map(|leader| leader.value);
    assert_eq!(next(), None);
    let _term = lead(&place, &client, "a");
    assert_eq!(next().as_deref(), Some("a"));
    place.server.command(&["PEXPIRE", "leasehold:x", "300"]);
    let since = now();
    assert_eq!(next(), None);
    assert!(now() - since <= SECOND * 3 / 2);
    let _next = lead(&place, &other, "b");
    assert_eq!(next().as_deref(), Some("b"));
}
