//! Elections on a real cluster.

use crate::place::{LONG, Place};
use leasehold::{Client, Kind, Term};

fn lead(place: &Place, client: &Client, value: &str) -> Term {
    place.wait(client.election("x").value(value).ttl(LONG).campaign()).unwrap()
}

fn shown(place: &Place, client: &Client) -> Option<String> {
    place.wait(client.election("x").leader()).unwrap().map(|leader| leader.value)
}

#[test]
fn a_leader_proclaims_another_value_in_the_same_key_and_session() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let term = lead(&place, &client, "before");
    let since = |note: &str| note.split(", held since ").nth(1).unwrap().to_owned();
    let (key, note) = place.keys().remove(0);
    for value in ["after", "", " a  b ", "a, held since b (c)", "ready"] {
        place.wait(term.proclaim(value)).unwrap();
        assert_eq!(shown(&place, &other).as_deref(), Some(value));
    }
    let (same_key, ready) = place.keys().remove(0);
    assert_eq!((same_key, since(&ready)), (key, since(&note)));
    let leader = place.wait(other.election("x").leader()).unwrap().unwrap();
    assert_eq!(leader.term, term.number());
    place.wait(term.renew()).unwrap();
    assert_eq!(shown(&place, &other).as_deref(), Some("ready"));
    place.wait(term.resign()).unwrap();
    assert_eq!((shown(&place, &other), place.keys()), (None, Vec::new()));
}

#[test]
fn a_former_leader_cannot_proclaim() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let term = lead(&place, &client, "a");
    // The key alone, so that its client does not hear of it.
    place.cluster.ctl(&["del", &place.only_key()]);
    let next = lead(&place, &other, "b");
    assert_eq!(place.wait(term.proclaim("c")).unwrap_err().kind(), Kind::Lost);
    assert_eq!(shown(&place, &client).as_deref(), Some("b"));
    place.wait(next.resign()).unwrap();
}
