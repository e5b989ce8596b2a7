//! A server that does as a ZooKeeper would, and does not where a test tells it so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::proxy::Proxy;
use leasehold_tests::scene::{LONG, Scene};

mod server;

use server::{Liar, Lie};

/// The distance of the beats of such a lease is a tenth of it, and its session lasts for
/// two and a half more.
const TTL: Duration = Duration::from_secs(4);
const BEAT: Duration = Duration::from_millis(400);
/// What is never written down, and the client finds out: so often a leader asks who is there.
const HALF_A_TICK: Duration = Duration::from_millis(100);
/// How long every answer is on its way.
const WAY: Duration = Duration::from_millis(200);

/// The newest beat from which on the leader is known to have counted. One that was
/// answered half a tick before another was sent: the follower has told of it, when that one
/// is answered; and a third that was sent then, and is answered, shows that the leader has
/// heard.
fn proven(liar: &Liar, session: i64) -> Option<Instant> {
    let now = now();
    let beats = liar.beats(session);
    let newest = |until: Instant| beats.iter().rev().find(|beat| **beat + WAY <= until).copied();
    let third = newest(now)?;
    let second = newest(third)?;
    newest(second - HALF_A_TICK)
}

#[test]
fn a_lease_lasts_from_a_beat_of_which_the_leader_has_heard_and_not_from_the_last() {
    let (scene, liar) = (Scene::new(), Liar::start());
    let way = Proxy::of_bytes(liar.port());
    let client = scene.client_of(&format!("zookeeper://127.0.0.1:{}", way.port()));
    let lease = Arc::new(scene.wait(client.lock("x").ttl(TTL).acquire()).unwrap());
    let timeout = TTL + BEAT * 5 / 2;
    let session = liar.session(timeout).expect("the beats are as they are said to be");
    way.delay_replies(WAY);
    until(LIMIT, || proven(&liar, session)).expect("beats");
    let (began, mut renewed) = (now(), 0);
    let mut renewal = None;
    while now() < began + 10 * BEAT {
        // It is asked for at every moment between beats, and granted at some of them.
        let asked = renewal.get_or_insert_with(|| {
            let lease = lease.clone();
            scene.spawn(async move { lease.renew().await.is_ok() })
        });
        if asked.is_finished() {
            renewed += u32::from(scene.wait(renewal.take().unwrap()).unwrap());
        }
        let end = now() + lease.remaining();
        // Looked at later, it may be more.
        let sure = proven(&liar, session).unwrap() + timeout;
        assert!(end <= sure, "{:?} longer than the session lives", end - sure);
        scene.pass(BEAT / 25);
    }
    assert!(lease.is_valid() && renewed > 3, "{renewed}: {:?}", lease.loss());
}

/// Nothing that a server says makes a lease of what is none, or takes the client down.
#[test]
fn an_answer_that_cannot_be_ends_the_connection_and_is_no_grant() {
    let lies: [(&str, Lie); 8] = [
        ("to another request", |said| said[3] ^= 1),
        ("to nothing", |said| said[..4].copy_from_slice(&(-7i32).to_be_bytes())),
        ("cut off", |said| said.truncate(20)),
        ("without a head", |said| said.truncate(9)),
        ("with more behind it", |said| said.extend([0; 4])),
        ("with a text that is longer than all", |said| {
            said[16..20].copy_from_slice(&i32::MAX.to_be_bytes());
        }),
        ("with a text of less than nothing", |said| {
            said[16..20].copy_from_slice(&i32::MIN.to_be_bytes());
        }),
        ("empty", Vec::clear),
    ];
    let (scene, liar) = (Scene::new(), Liar::start());
    let client = scene.client_of(&liar.url());
    for (number, (what, lie)) in lies.into_iter().enumerate() {
        let name = format!("x{number}");
        scene.wait(scene.hold(&client, &name).release()).unwrap();
        let connections = liar.connections();
        liar.lie_once(lie);
        let lease = scene.hold(&client, &name);
        assert!(liar.connections() > connections, "{what}: it was believed");
        // It found its own node over the next connection, and made no other.
        assert_eq!(liar.children(&name).len(), 1, "{what}");
        assert_eq!(Some(lease.fence()), liar.czxid(&name), "{what}");
        scene.wait(lease.release()).unwrap();
        assert_eq!(liar.children(&name).len(), 0, "{what}");
    }
}

/// Its node is made; that nothing was heard of the line does not mean that it is not there.
#[test]
fn who_waits_keeps_its_place_when_a_release_hears_nothing_of_the_line() {
    let (scene, liar) = (Scene::new(), Liar::start());
    let client = scene.client_of(&liar.url());
    for round in 0..4 {
        let name = format!("x{round}");
        let lease = scene.hold(&client, &name);
        let waiter = scene.queue(client.lock(&*name).ttl(LONG));
        // It waits inside the client; its node is made by the request that gives the lock back.
        scene.pass(BEAT);
        liar.hang_up_after_a_delete();
        drop(scene.wait(lease.release()));
        let soon = until(LIMIT / 6, || waiter.is_finished().then_some(()));
        assert!(soon.is_some(), "{:?}", liar.children(&name));
        let (next, _) = scene.granted(waiter);
        assert_eq!(liar.children(&name).len(), 1);
        scene.wait(next.release()).unwrap();
        until(LIMIT, || liar.children(&name).is_empty().then_some(())).expect("nothing is left");
    }
}

/// A server answers a request by any write of its session that has its number, and is committed
/// then.
#[test]
fn no_number_is_used_again_by_the_next_connection_of_a_session() {
    let (scene, liar) = (Scene::new(), Liar::start());
    let way = Proxy::of_bytes(liar.port());
    let client = scene.client_of(&format!("zookeeper://127.0.0.1:{}", way.port()));
    let lease = scene.wait(client.lock("x").ttl(TTL).acquire()).unwrap();
    let session = liar.session(TTL + BEAT * 5 / 2).expect("the beats are as they are said to be");
    for _ in 0..3 {
        let (asked, connections) = (liar.asked(session).len(), liar.connections());
        way.cut();
        let goes_on = || {
            let has_asked = liar.asked(session).len() > asked + 3;
            (has_asked && liar.connections() > connections).then_some(())
        };
        until(LIMIT, goes_on).expect("another connection");
    }
    let mut asked = liar.asked(session);
    asked.sort_unstable();
    assert!(asked.windows(2).all(|pair| pair[0] < pair[1]), "{asked:?}");
    assert!(lease.is_valid());
}
