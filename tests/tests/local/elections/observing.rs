//! Who leads, as others see it.

use leasehold::Kind;
use leasehold_tests::wire::{TTL, hold, on_virtual_time};
use leasehold_tests::world::cut_at;

use super::{SECOND, election, lead, next};

#[test]
fn an_observer_is_told_each_leader_and_nobody_between_them() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let leaders = other.election("x").observe();
        assert_eq!(next(&leaders).await, None);
        let told = async |expected: Option<&str>| {
            let since = world.truth.elapsed();
            assert_eq!(next(&leaders).await.as_deref(), expected);
            let took = world.truth.elapsed() - since;
            assert!(took <= SECOND, "{expected:?} was told after {took:?}");
        };
        let term = lead(&client, "a").await;
        told(Some("a")).await;
        term.proclaim("b").await.expect("held");
        told(Some("b")).await;
        world.truth.sleep(TTL * 3).await;
        term.resign().await.expect("held");
        told(None).await;
        let term = lead(&client, "b").await;
        told(Some("b")).await;
        term.resign().await.expect("held");
        let _next = lead(&other, "b").await;
        told(Some("b")).await;
        // Nothing more has happened.
        let quiet = tokio::select! {
            _ = leaders.next() => false,
            () = world.truth.sleep(TTL * 10) => true,
        };
        assert!(quiet);
    });
}

#[test]
fn an_observer_names_no_leader_that_has_crashed() {
    on_virtual_time(async |world| {
        let (client, _, machine) = world.client_that_stops();
        let (other, _) = world.client();
        let _term = lead(&client, "a").await;
        let (looks, sleeps) = (other.election("x").observe(), other.election("x").observe());
        assert_eq!(next(&looks).await.as_deref(), Some("a"));
        assert_eq!(next(&sleeps).await.as_deref(), Some("a"));
        machine.stop();
        let since = world.truth.elapsed();
        assert_eq!(next(&looks).await, None);
        assert!(world.truth.elapsed() - since <= TTL + SECOND);
        // One that has not been asked for long does not tell what it knew.
        world.truth.sleep(TTL).await;
        assert_eq!(next(&sleeps).await, None);
        let again = other.election("x").observe();
        assert_eq!(next(&again).await, None);
    });
}

#[test]
fn an_answer_that_took_longer_than_the_term_names_nobody() {
    on_virtual_time(async |world| {
        let (client, _, machine) = world.client_that_stops();
        let (other, wire) = world.client();
        let _term = election(&client, "a").ttl(SECOND * 2).campaign().await.expect("a term");
        machine.stop();
        wire.slow_looks(SECOND * 3);
        let leaders = other.election("x").observe();
        assert_eq!(next(&leaders).await, None);
    });
}

#[test]
fn an_outage_is_told_once_and_then_who_leads() {
    on_virtual_time(async |world| {
        let ((client, _), (other, wire)) = (world.client(), world.client());
        let _term = lead(&client, "a").await;
        let leaders = other.election("x").observe();
        assert_eq!(next(&leaders).await.as_deref(), Some("a"));
        for _ in 0..2 {
            wire.cut(true);
            let error = leaders.next().await.expect_err("cut off");
            assert_eq!(error.kind(), Kind::Unavailable);
            let looks = wire.looks();
            let since = world.truth.elapsed();
            let (told, ()) = tokio::join!(next(&leaders), async {
                world.truth.sleep(SECOND * 10).await;
                wire.cut(false);
            });
            assert_eq!(told.as_deref(), Some("a"));
            assert!(world.truth.elapsed() - since <= SECOND * 11);
            assert!(wire.looks() - looks <= 12, "{} questions", wire.looks() - looks);
        }
    });
}

#[test]
fn what_an_observer_waits_for_ends_when_its_client_is_closed() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let leaders = client.election("x").observe();
        assert_eq!(next(&leaders).await, None);
        let (told, ()) = tokio::join!(leaders.next(), async {
            world.settle().await;
            client.close().await;
        });
        assert_eq!(told.expect_err("closed").kind(), Kind::Closed);
        assert_eq!(leaders.next().await.expect_err("closed").kind(), Kind::Closed);
        let error = client.election("x").leader().await.expect_err("closed");
        assert_eq!(error.kind(), Kind::Closed);
    });
}

#[test]
fn an_observer_that_is_cancelled_misses_nothing() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let leaders = other.election("x").observe();
        assert_eq!(next(&leaders).await, None);
        let _term = lead(&client, "a").await;
        let mut told = None;
        for polls in 0..5 {
            told = told.or(cut_at(polls, next(&leaders)).await);
        }
        assert_eq!(told, Some(Some("a".to_owned())));
    });
}

#[test]
fn a_lock_that_is_shared_is_no_election() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let _reader = client.lock("x").shared().acquire().await.expect("a share");
        let leaders = client.election("x").observe();
        for error in [client.election("x").leader().await, leaders.next().await] {
            let error = error.expect_err("no election");
            assert_eq!(error.kind(), Kind::Refused);
            assert!(error.to_string().contains("name of its own"), "{error}");
        }
        let error = client.election("").leader().await.expect_err("no name");
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(
            client.election("").observe().next().await.map_err(|e| e.kind()),
            Err(Kind::Invalid)
        );
        // A plain lock is led by its holder.
        let lease = hold(&client, "y").await;
        let leader = client.election("y").leader().await.expect("an answer").expect("a holder");
        assert_eq!((leader.term, &*leader.value), (lease.fence(), ""));
    });
}
