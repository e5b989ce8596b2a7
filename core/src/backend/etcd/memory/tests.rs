//! What etcd does with transactions, sessions and watches.

use std::task::{Context, Poll, Waker};

use super::super::cluster::{Condition, Found, Keys, Order, Read, Step};
use super::*;
use crate::error::Kind;
use crate::testing::ManualClock;

struct Scene {
    clock: ManualClock,
    cluster: MemoryCluster,
    client: MemoryClusterClient,
}

impl Scene {
    fn new() -> Self {
        let clock = ManualClock::new();
        let cluster = MemoryCluster::new(Arc::new(clock.clone()));
        Self { client: cluster.client(), cluster, clock }
    }

    fn pass(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    async fn session(&self, seconds: u64) -> SessionId {
        self.client.open(seconds).await.unwrap().0
    }

    async fn run(&self, steps: impl Into<Vec<Step>>) -> Done {
        let txn = Txn { then: steps.into(), ..Txn::default() };
        self.client.txn(&txn).await.unwrap()
    }

    /// The keys that there are, with when they were created, oldest first.
    async fn keys(&self) -> Vec<(String, u64)> {
        let found = self.run([all()]).await.reads.remove(0);
        found.entries.into_iter().map(|entry| (entry.key, entry.created)).collect()
    }

    /// What the client was told until now.
    fn heard(&self) -> Vec<News> {
        let mut cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match self.client.news().as_mut().poll(&mut cx) {
            Poll::Ready(news) => Some(news),
            Poll::Pending => None,
        })
        .collect()
    }
}

fn put(key: &str, value: &str, session: Option<SessionId>) -> Step {
    Step::Put { key: key.to_owned(), value: value.to_owned(), session }
}

fn delete(key: &str) -> Step {
    Step::Delete(key.to_owned())
}

fn read(start: &str, before: Option<u64>, order: Order, limit: u32) -> Step {
    Step::Read(Read { keys: Keys::Under(start.to_owned()), before, order, limit })
}

fn all() -> Step {
    read("", None, Order::OldestFirst, 0)
}

fn changed(key: &str, value: &str) -> News {
    News::Changed { key: key.to_owned(), value: value.to_owned() }
}

fn names(found: &Found) -> Vec<&str> {
    found.entries.iter().map(|entry| entry.key.as_str()).collect()
}

#[tokio::test]
async fn one_transaction_is_one_revision() {
    let scene = Scene::new();
    assert_eq!(scene.run([all()]).await.revision, 1);
    let done = scene.run([put("a", "1", None), put("b", "1", None), all()]).await;
    assert_eq!((done.revision, done.reads[0].count), (2, 2));
    assert_eq!(scene.run([put("a", "2", None), delete("b")]).await.revision, 3);
    assert_eq!(scene.run([delete("b"), delete("c")]).await.revision, 3);
    assert_eq!(scene.keys().await, [("a".to_owned(), 2)]);
}

#[tokio::test]
async fn a_key_that_was_deleted_is_created_anew() {
    let scene = Scene::new();
    scene.run([put("a", "1", None)]).await;
    scene.run([delete("a")]).await;
    assert_eq!(scene.run([put("a", "1", None)]).await.revision, 4);
    assert_eq!(scene.keys().await, [("a".to_owned(), 4)]);
}

#[tokio::test]
async fn reads_see_the_steps_before_them_only() {
    let scene = Scene::new();
    let done = scene.run([all(), put("a", "1", None), all(), delete("b"), all()]).await;
    let counts: Vec<usize> = done.reads.iter().map(|found| found.count).collect();
    assert_eq!(counts, [0, 1, 1]);
}

#[tokio::test]
async fn reads_are_ordered_and_limited_and_count_all() {
    let scene = Scene::new();
    for key in ["k/c", "k/a", "k/b", "kk", "j"] {
        scene.run([put(key, "", None)]).await;
    }
    let steps = [
        read("k/", None, Order::OldestFirst, 2),
        read("k/", Some(4), Order::NewestFirst, 1),
        read("k/", Some(2), Order::NewestFirst, 0),
    ];
    let reads = scene.run(steps).await.reads;
    assert_eq!(names(&reads[0]), ["k/c", "k/a"]);
    assert_eq!(names(&reads[1]), ["k/a"]);
    assert!(names(&reads[2]).is_empty());
    assert!(reads.iter().all(|found| found.count == 3));
}

#[tokio::test]
async fn conditions_choose_the_branch() {
    let scene = Scene::new();
    scene.run([put("k/a", "1", None)]).await;
    let created = |revision| Condition::Created("k/a".to_owned(), revision);
    let none = |start: &str| Condition::Absent(Keys::Under(start.to_owned()));
    let missing = Condition::Created("x".to_owned(), 2);
    let cases = [
        (vec![created(2)], true),
        (vec![created(3)], false),
        (vec![missing], false),
        (vec![none("k/"), created(2)], false),
        (vec![none("k/b"), created(2)], true),
        (vec![Condition::Absent(Keys::One("k/".to_owned()))], true),
    ];
    for (conditions, met) in cases {
        let txn = Txn { conditions, then: vec![], otherwise: vec![all()] };
        let done = scene.client.txn(&txn).await.unwrap();
        assert_eq!((done.met, done.reads.len()), (met, usize::from(!met)), "{txn:?}");
    }
}

#[tokio::test]
async fn what_etcd_refuses_is_refused_in_either_branch() {
    let scene = Scene::new();
    let put = || put("a", "1", None);
    let long = (0..129).map(|_| all()).collect();
    for bad in [vec![put(), put()], vec![delete("a"), put()], vec![delete("")], long] {
        let taken = Txn { then: bad.clone(), ..Txn::default() };
        let other = Txn { otherwise: bad, ..Txn::default() };
        for txn in [taken, other] {
            let Err(Failure::Error(error)) = scene.client.txn(&txn).await else {
                panic!("{txn:?} was carried out");
            };
            assert_eq!(error.kind(), Kind::Internal);
        }
    }
    assert!(scene.keys().await.is_empty());
}

#[tokio::test]
async fn nothing_is_written_under_a_session_that_is_over() {
    let scene = Scene::new();
    let session = scene.session(1).await;
    scene.client.end(session).await.unwrap();
    let late = vec![put("a", "1", None), put("b", "1", Some(session))];
    let txn = Txn { then: late.clone(), ..Txn::default() };
    assert!(matches!(scene.client.txn(&txn).await, Err(Failure::NoSession)));
    assert!(scene.keys().await.is_empty());
    // Of the branch that is not taken nobody asks.
    let txn = Txn { otherwise: late, ..Txn::default() };
    assert!(scene.client.txn(&txn).await.unwrap().met);
    assert_eq!(scene.client.keep_alive(session).await.unwrap(), None);
    assert_eq!(scene.client.ends_in(session).await.unwrap(), None);
    assert_ne!(scene.session(1).await, session);
}

#[tokio::test]
async fn a_session_ends_unless_it_is_kept_alive() {
    let scene = Scene::new();
    let session = scene.session(2).await;
    scene.run([put("b", "", Some(session)), put("a", "", Some(session)), put("c", "", None)]).await;
    scene.pass(1500);
    assert_eq!(scene.client.ends_in(session).await.unwrap(), Some(Duration::ZERO));
    let ttl = Duration::from_secs(2);
    assert_eq!(scene.client.keep_alive(session).await.unwrap(), Some(ttl));
    scene.pass(1999);
    assert_eq!(scene.keys().await.len(), 3);
    scene.pass(1);
    assert_eq!(scene.run([all()]).await.revision, 3);
    assert_eq!(scene.keys().await, [("c".to_owned(), 2)]);
    assert_eq!(scene.client.keep_alive(session).await.unwrap(), None);
}

#[tokio::test]
async fn a_session_lasts_for_the_least_time_at_least() {
    let clock = Arc::new(ManualClock::new());
    let client = MemoryCluster::with_min_ttl(clock, 3).client();
    assert_eq!(client.open(2).await.unwrap().1, Duration::from_secs(3));
    assert_eq!(client.open(4).await.unwrap().1, Duration::from_secs(4));
}

#[tokio::test]
async fn a_key_lives_with_the_session_that_wrote_it_last() {
    let scene = Scene::new();
    let (old, new) = (scene.session(9).await, scene.session(9).await);
    scene.run([put("a", "1", Some(old)), put("b", "1", Some(old))]).await;
    scene.run([put("a", "2", Some(new)), put("b", "2", None)]).await;
    scene.client.end(old).await.unwrap();
    assert_eq!(scene.keys().await, [("a".to_owned(), 2), ("b".to_owned(), 2)]);
    scene.client.end(new).await.unwrap();
    assert_eq!(scene.keys().await, [("b".to_owned(), 2)]);
}

#[tokio::test]
async fn a_new_leader_gives_every_session_its_whole_time() {
    let scene = Scene::new();
    let session = scene.session(2).await;
    scene.pass(3000);
    scene.cluster.change_leader();
    scene.pass(1999);
    assert!(scene.client.ends_in(session).await.unwrap().is_some());
    scene.pass(1);
    assert!(scene.client.ends_in(session).await.unwrap().is_none());
}

#[tokio::test]
async fn what_happened_before_the_watch_is_told_too() {
    let scene = Scene::new();
    scene.run([put("a", "1", None)]).await;
    scene.run([put("a", "2", None), put("b", "2", None)]).await;
    scene.client.watch("a", Change::Written, 1);
    scene.client.watch("b", Change::Written, 0);
    assert_eq!(scene.heard(), [changed("a", "1"), changed("a", "2")]);
    scene.run([delete("a")]).await;
    scene.run([put("a", "3", None), put("b", "3", None)]).await;
    assert_eq!(scene.heard(), [changed("a", "3"), changed("b", "3")]);
    scene.client.unwatch("a");
    scene.run([put("a", "4", None), put("b", "4", None)]).await;
    assert_eq!(scene.heard(), [changed("b", "4")]);
}

#[tokio::test]
async fn a_deletion_is_told_once() {
    let scene = Scene::new();
    let session = scene.session(1).await;
    scene.run([put("a", "1", Some(session)), put("b", "1", None)]).await;
    scene.client.watch("a", Change::Deleted, 2);
    scene.client.watch("b", Change::Deleted, 2);
    scene.run([put("a", "2", Some(session)), delete("b")]).await;
    scene.run([put("b", "2", None)]).await;
    scene.run([delete("b")]).await;
    assert_eq!(scene.heard(), [changed("b", "")]);
    scene.pass(1000);
    scene.cluster.expire();
    assert_eq!(scene.heard(), [changed("a", "")]);
}

#[tokio::test]
async fn a_key_is_watched_for_one_thing() {
    let scene = Scene::new();
    scene.client.watch("a", Change::Deleted, 1);
    scene.client.watch("a", Change::Written, 1);
    scene.run([put("a", "1", None)]).await;
    scene.run([delete("a")]).await;
    assert_eq!(scene.heard(), [changed("a", "1")]);
}

#[tokio::test]
async fn nothing_is_watched_on_a_new_connection() {
    let scene = Scene::new();
    let other = scene.cluster.client();
    other.watch("a", Change::Written, 1);
    scene.client.watch("a", Change::Written, 1);
    scene.client.reconnect();
    scene.run([put("a", "1", None)]).await;
    assert_eq!(scene.heard(), [News::Reconnected]);
    assert_eq!(other.news().await, changed("a", "1"));
    scene.cluster.restart();
    scene.run([put("a", "2", None)]).await;
    assert_eq!((scene.heard(), other.news().await), (vec![News::Reconnected], News::Reconnected));
}

#[tokio::test]
async fn what_is_forgotten_may_have_changed() {
    let scene = Scene::new();
    scene.client.watch("before", Change::Written, 1);
    scene.run([put("a", "1", None)]).await;
    scene.cluster.compact();
    scene.client.watch("a", Change::Written, 1);
    scene.client.watch("b", Change::Written, 2);
    assert_eq!(scene.heard(), [changed("a", "")]);
    scene.run([put("a", "2", None), put("b", "2", None), put("before", "2", None)]).await;
    assert_eq!(scene.heard(), [changed("b", "2"), changed("before", "2")]);
}

#[tokio::test]
async fn what_was_written_twice_is_told_from_what_was_put_once() {
    let scene = Scene::new();
    let under = || Keys::Under("k/".to_owned());
    let is_met = async |condition: Condition| {
        let txn = Txn { conditions: vec![condition], ..Txn::default() };
        scene.client.txn(&txn).await.unwrap().met
    };
    // Of nothing everything is true that compares from above.
    assert!(is_met(Condition::Once(under())).await && is_met(Condition::Quiet(under(), 1)).await);
    assert!(!is_met(Condition::NoneBefore(under(), 1)).await);
    for key in ["k/a", "k/b", "k/c"] {
        scene.run([put(key, "1", None)]).await;
    }
    assert!(is_met(Condition::Once(under())).await);
    let done = scene.run([put("k/b", "2", None)]).await;
    assert!(!is_met(Condition::Once(under())).await);
    assert!(is_met(Condition::Once(Keys::One("k/c".to_owned()))).await);
    assert!(is_met(Condition::Quiet(under(), done.revision)).await);
    assert!(!is_met(Condition::Quiet(under(), done.revision - 1)).await);
    let between = || Keys::Between("k/b".to_owned(), "k/c".to_owned());
    assert!(!is_met(Condition::Once(between())).await);
    let read = |keys, limit| {
        Step::Read(Read { keys, before: None, order: Order::MostWrittenFirst, limit })
    };
    let reads = scene.run([read(under(), 1), read(between(), 0)]).await.reads;
    for found in &reads {
        assert_eq!(names(found), ["k/b"]);
        let entry = &found.entries[0];
        assert_eq!((entry.written, entry.writes), (done.revision, 2));
    }
    scene.run([delete("k/b")]).await;
    scene.run([put("k/b", "3", None)]).await;
    assert!(is_met(Condition::Once(under())).await, "it is another");
}

#[tokio::test]
async fn one_change_is_told_of_any_kind_or_of_any_key() {
    let scene = Scene::new();
    scene.run([put("k/a", "1", None), put("k/b", "1", None)]).await;
    scene.client.watch("k/a", Change::Any, 2);
    scene.client.watch("k/", Change::DeletedUnder, 2);
    scene.run([put("k/a", "2", None)]).await;
    scene.run([put("k/a", "3", None), put("k/b", "3", None)]).await;
    assert_eq!(scene.heard(), [changed("k/a", "2")]);
    scene.run([delete("k/b")]).await;
    scene.run([delete("k/a")]).await;
    assert_eq!(scene.heard(), [changed("k/", "")]);
    scene.client.watch("k/a", Change::Any, 4);
    assert_eq!(scene.heard(), [changed("k/a", "")]);
}
