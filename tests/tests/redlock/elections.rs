//! Elections on a quorum.

use crate::place::{LONG, Place};
use leasehold::{Client, Kind, Term};
use leasehold_tests::patience::{LIMIT, until};

fn lead(place: &Place, client: &Client, value: &str) -> Term {
    place.wait(client.election("x").value(value).ttl(LONG).campaign()).unwrap()
}

fn shown(place: &Place, client: &Client) -> Option<String> {
    place.wait(client.election("x").leader()).unwrap().map(|leader| leader.value)
}

#[test]
fn what_a_leader_proclaims_comes_to_all_nodes_also_to_one_that_was_not_there() {
    let place = Place::of(3);
    let (client, other) = (place.client(), place.client());
    let term = lead(&place, &client, "before");
    place.held_by("x", &[0, 1, 2]);
    place.wait(term.proclaim("after")).unwrap();
    place.held_by("x", &[0, 1, 2]);
    assert_eq!(shown(&place, &other).as_deref(), Some("after"));
    place.servers[2].freeze();
    place.wait(term.proclaim("later")).unwrap();
    assert_eq!(shown(&place, &other).as_deref(), Some("later"));
    place.servers[2].thaw();
    place.wait(term.renew()).unwrap();
    let is_everywhere = || {
        let votes = place.votes("x");
        let shows = |vote: &Option<String>| vote.as_ref().is_some_and(|v| v.ends_with(" later"));
        votes.iter().all(shows).then_some(())
    };
    until(LIMIT, is_everywhere).expect("the last value on every node");
    place.wait(term.resign()).unwrap();
    assert_eq!(shown(&place, &other), None);
}

#[test]
fn a_former_leader_cannot_proclaim() {
    let place = Place::of(3);
    let (client, other) = (place.client(), place.client());
    let term = lead(&place, &client, "a");
    place.held_by("x", &[0, 1, 2]);
    for server in &place.servers {
        server.command(&["DEL", "leasehold:x"]);
    }
    let next = lead(&place, &other, "b");
    assert_eq!(place.wait(term.proclaim("c")).unwrap_err().kind(), Kind::Lost);
    assert_eq!(shown(&place, &client).as_deref(), Some("b"));
    place.wait(next.resign()).unwrap();
}
