//! A follower that hears nothing from its leader goes on talking to its clients for a while:
//! it answers their pings, and shows them nodes that are gone. Who believes that still holds
//! its lock when somebody else does. FACTS of ZooKeeper, the first of them.

use std::sync::Arc;
use std::time::Duration;

use crate::interop;
use crate::place::{Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::servers::{ZkClient, ZooKeeperSettings};

/// A session of theirs ends sooner than a follower gives its leader up.
const TTL: Duration = Duration::from_secs(2);
const DEAF: u32 = 40;

const ROUNDS: u32 = 2;

#[test]
fn who_holds_by_a_follower_that_is_cut_off_stops_before_the_next_one_holds() {
    let settings = ZooKeeperSettings::default().members(3).sync_limit(DEAF);
    let place = Place::on(settings);
    let leader = place.ensemble.leader();
    let follower = place.ensemble.followers()[0];
    let next_client = place.client_at(leader);
    for round in 0..ROUNDS {
        let client = place.client_at(follower);
        let lease = Arc::new(place.wait(client.lock("x").ttl(TTL).acquire()).unwrap());
        let waiter = place.stand_in_line(&next_client, "x");
        // Somewhere between two beats.
        place.pass(Duration::from_millis(fastrand::u64(0..2000)));
        assert!(lease.is_valid(), "round {round}: {:?}", lease.loss());
        let end = place.spawn({
            let lease = lease.clone();
            async move { (lease.lost().await, now()) }
        });
        place.ensemble.part(follower);
        let (next, granted) = place.granted(waiter);
        assert!(!lease.is_valid(), "round {round}: it goes on while another holds");
        let (_, lost) = place.wait(end).unwrap();
        assert!(lost < granted, "round {round}: told {:?} too late", lost - granted);
        assert!(next.fence() > lease.fence());
        place.ensemble.join(follower);
        place.wait(next.release()).unwrap();
        place.ensemble.await_ready(follower);
        place.await_line("x", 0);
    }
}

/// A leader that its followers have left goes on as one for a while, and answers what needs no
/// majority.
#[test]
fn who_holds_by_a_leader_that_was_deposed_stops_before_the_next_one_holds() {
    let settings = ZooKeeperSettings::default().members(3).sync_limit(DEAF);
    let place = Place::on(settings);
    let (leader, followers) = (place.ensemble.leader(), place.ensemble.followers());
    let client = place.client_at(leader);
    let mut rig = ZkClient::connect_for(place.ensemble.port(leader), LIMIT).unwrap();
    let lease = Arc::new(place.wait(client.lock("x").ttl(TTL).acquire()).unwrap());
    let end = place.spawn({
        let lease = lease.clone();
        async move { (lease.lost().await, now()) }
    });
    place.ensemble.depose(leader);
    let next_client = place.client_at(followers[0]);
    let (next, granted) = place.granted(place.queue(next_client.lock("x").ttl(TTL)));
    assert!(!lease.is_valid(), "it goes on while another holds");
    let (_, lost) = place.wait(end).unwrap();
    assert!(lost < granted, "told {:?} too late", lost - granted);
    assert!(next.fence() > lease.fence());
    // Or there was nothing that could have been believed.
    rig.sync().expect("it answers by itself");
    place.wait(next.release()).unwrap();
    place.ensemble.pardon(leader);
}

/// What such a follower shows is no answer either.
#[test]
fn who_tries_by_a_follower_that_is_cut_off_is_not_told_that_a_free_lock_is_busy() {
    let settings = ZooKeeperSettings::default().members(3).sync_limit(DEAF);
    let place = Place::on(settings);
    let (leader, follower) = (place.ensemble.leader(), place.ensemble.followers()[0]);
    let (holder, client) = (place.client_at(leader), place.client_at(follower));
    for round in 0..3 {
        place.wait(place.hold(&client, "warm").release()).unwrap();
        let lease = place.hold(&holder, "x");
        let sees = || (place.wait(client.status("x")).unwrap().is_some()).then_some(());
        until(LIMIT, sees).expect("the follower knows of it");
        place.ensemble.part(follower);
        place.wait(lease.release()).unwrap();
        match place.wait(client.lock("x").ttl(TTL).try_acquire()) {
            Ok(None) => panic!("round {round}: busy, and nobody holds it"),
            Ok(Some(_)) => panic!("round {round}: the leader has heard nothing of it"),
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{error}"),
        }
        place.ensemble.join(follower);
        place.ensemble.await_ready(follower);
        place.await_line("x", 0);
    }
}

/// What makes the first of these tests one that can fail.
#[test]
fn a_kazoo_holder_there_believes_that_it_holds_while_another_does() {
    let settings = ZooKeeperSettings::default().members(3).sync_limit(DEAF);
    let place = Place::on(settings);
    let follower = place.ensemble.followers()[0];
    let node = place.lock_node("x");
    let mut theirs = interop::kazoo(&place.ensemble.endpoint(follower), "2");
    assert_eq!(theirs.ask(&format!("try {node}")), "granted");
    let mut rig = ZkClient::connect(place.ensemble.port(place.ensemble.leader())).unwrap();
    place.ensemble.part(follower);
    let gone = || rig.children(&node).unwrap().is_empty().then_some(());
    until(LIMIT, gone).unwrap();
    // Free for all, and somebody has it.
    rig.stand(&format!("{node}/other-lock-"), b"").unwrap();
    assert_eq!(theirs.ask(&format!("holds {node}")), "yes");
    place.pass(SECOND / 2);
    assert_eq!(theirs.ask(&format!("holds {node}")), "yes");
}
