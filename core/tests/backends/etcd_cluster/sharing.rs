//! Those who share a lock, or count permits, when others come in between.

use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::etcd::MemoryCluster;
use leasehold::backend::etcd::cluster::{Cluster, Keys, Step, Txn};
use leasehold::backend::{Answer, Backend, Claim, Etcd, Held, Mode, Renewal, Wake};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::SystemClock;
use leasehold::{LockName, Owner};

use super::{Fate, Gated, claim, places};

/// A client beside others of one cluster, and the gate before it.
async fn gated(memory: &MemoryCluster) -> (Arc<Gated>, Arc<Etcd>) {
    let cluster = Gated::before(memory);
    cluster.go.add_permits(100);
    let etcd = Etcd::over(cluster.clone(), "", ThreadRuntime::start().unwrap()).await.unwrap();
    (cluster, Arc::new(etcd))
}

fn of(mode: Mode, owner: u128) -> Claim {
    Claim { mode, ..claim(owner) }
}

async fn granted(etcd: &Etcd, claim: &Claim) -> (Held, u32) {
    let Answer::Granted { fence, slot, .. } = etcd.claim(claim).await.unwrap() else {
        panic!("not granted: {claim:?}")
    };
    let Claim { name, owner, mode, ttl, renewed, .. } = claim.clone();
    (Held { name, owner, mode, fence, ttl, renewed }, slot)
}

/// Ask, and stop on the way after the look, before anything is taken.
#[allow(clippy::disallowed_methods)] // it is one Tokio runtime
async fn asks_slowly(
    (cluster, etcd): &(Arc<Gated>, Arc<Etcd>),
    claim: &Claim,
) -> tokio::task::JoinHandle<(Held, u32)> {
    cluster.go.forget_permits(100);
    let come = *cluster.come.borrow();
    cluster.next(Fate::Next(Box::new(Fate::Held)));
    let (etcd, claim) = (etcd.clone(), claim.clone());
    let asks = tokio::spawn(async move { granted(&etcd, &claim).await });
    cluster.come.subscribe().wait_for(|now| *now > come).await.unwrap();
    asks
}

#[tokio::test]
async fn who_would_join_a_turn_that_ends_meanwhile_opens_another() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let (first, second) = (gated(&memory).await, gated(&memory).await);
    let (before, _) = granted(&first.1, &of(Mode::Shared, 1)).await;
    // As if its session had ended: after the other has looked, before it writes.
    let key = format!("x/#s-{}", Owner::from_bits(1));
    second.0.next(Fate::Deletes(key));
    let (lease, _) = granted(&second.1, &of(Mode::Shared, 2)).await;
    assert!(lease.fence > before.fence, "it has joined nobody");
    assert_eq!(first.1.renew(&[before]).await.unwrap(), [Renewal::Gone]);
}

#[tokio::test]
async fn who_comes_late_to_join_again_and_again_opens_a_turn_that_nobody_is_in() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let (first, second) = (gated(&memory).await, gated(&memory).await);
    let (seen, _) = granted(&second.1, &of(Mode::Shared, 2)).await;
    let slow = asks_slowly(&first, &of(Mode::Shared, 1)).await;
    assert!(second.1.release(&seen, None).await.unwrap().held);
    let (next, _) = granted(&second.1, &of(Mode::Shared, 3)).await;
    let come = *first.0.come.borrow();
    first.0.next(Fate::Held);
    first.0.go.add_permits(1);
    first.0.come.subscribe().wait_for(|now| *now > come).await.unwrap();
    // It has seen the next one by now, who leaves in its turn.
    assert!(second.1.release(&next, None).await.unwrap().held);
    first.0.next(Fate::NotSent);
    first.0.go.add_permits(1);
    let (lease, _) = slow.await.expect("it asks no third time");
    assert!(lease.fence > next.fence);
}

#[tokio::test]
async fn of_two_who_open_a_turn_at_once_one_joins_the_other() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let (first, second) = (gated(&memory).await, gated(&memory).await);
    let slow = asks_slowly(&first, &of(Mode::Shared, 1)).await;
    let (lease, _) = granted(&second.1, &of(Mode::Shared, 2)).await;
    first.0.go.add_permits(100);
    assert_eq!(slow.await.unwrap().0.fence, lease.fence);
    // One that has come and gone meanwhile is a turn of its own.
    let (first, second) = (gated(&memory).await, gated(&memory).await);
    let other = |owner| Claim { name: LockName::new("y").unwrap(), ..of(Mode::Shared, owner) };
    let slow = asks_slowly(&first, &other(3)).await;
    let (lease, _) = granted(&second.1, &other(4)).await;
    assert!(second.1.release(&lease, None).await.unwrap().held);
    first.0.go.add_permits(100);
    assert!(slow.await.unwrap().0.fence > lease.fence);
}

#[tokio::test]
async fn a_turn_that_opens_before_a_writer_has_a_smaller_fence_than_that() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let (first, second) = (gated(&memory).await, gated(&memory).await);
    let slow = asks_slowly(&first, &of(Mode::Shared, 1)).await;
    let writer = of(Mode::Exclusive, 2);
    assert!(matches!(second.1.claim(&writer).await.unwrap(), Answer::Busy { .. }));
    first.0.go.add_permits(100);
    let (reader, _) = slow.await.unwrap();
    assert!(matches!(second.1.claim(&writer).await.unwrap(), Answer::Busy { .. }));
    let late = of(Mode::Shared, 3);
    assert!(matches!(second.1.claim(&late).await.unwrap(), Answer::Busy { .. }));
    assert!(first.1.release(&reader, None).await.unwrap().held);
    let (lease, _) = granted(&second.1, &writer).await;
    assert!(lease.fence > reader.fence);
    assert!(second.1.release(&lease, None).await.unwrap().held);
    assert!(granted(&second.1, &late).await.0.fence > lease.fence);
}

#[tokio::test]
async fn a_permit_is_had_by_one_and_its_fence_rises_though_it_was_seen_free_before() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let two = Mode::Counted { permits: 2 };
    let (first, second) = (gated(&memory).await, gated(&memory).await);
    // Somebody has the first permit while it looks, so it would have the second.
    let (before, _) = granted(&second.1, &of(two, 5)).await;
    let slow = asks_slowly(&first, &of(two, 1)).await;
    assert!(second.1.release(&before, None).await.unwrap().held);
    let (held, slot) = granted(&second.1, &of(two, 2)).await;
    assert_eq!(slot, 1, "the first is for who waits before it");
    first.0.go.add_permits(100);
    let (other, its) = slow.await.unwrap();
    assert_eq!(its, 0, "the second is taken meanwhile");
    assert!(second.1.release(&held, None).await.unwrap().held);
    let slow = asks_slowly(&first, &of(two, 3)).await;
    assert!(first.1.release(&other, None).await.unwrap().held);
    let (between, slot) = granted(&second.1, &of(two, 4)).await;
    assert!(second.1.release(&between, None).await.unwrap().held);
    first.0.go.add_permits(100);
    let (last, its) = slow.await.unwrap();
    assert_eq!((slot, its), (1, 1));
    assert!(last.fence > between.fence && between.fence > held.fence);
}

#[tokio::test]
async fn a_claim_that_is_repeated_takes_nothing_a_second_time() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    for (mode, name) in [(Mode::Shared, "a"), (Mode::Counted { permits: 3 }, "b")] {
        let (first, second) = (gated(&memory).await, gated(&memory).await);
        let asked = Claim { name: LockName::new(name).unwrap(), ..of(mode, 1) };
        // What it sent first is carried out last.
        let slow = asks_slowly(&first, &asked).await;
        let (lease, slot) = granted(&first.1, &asked).await;
        let beside = Claim { owner: Owner::from_bits(2), ..asked.clone() };
        let (other, _) = granted(&second.1, &beside).await;
        first.0.go.add_permits(100);
        assert_eq!(slow.await.unwrap(), (lease.clone(), slot));
        let kept = first.1.renew(std::slice::from_ref(&lease)).await.unwrap();
        assert_eq!(kept, [Renewal::Kept]);
        assert!(first.1.release(&lease, None).await.unwrap().held);
        assert!(second.1.release(&other, None).await.unwrap().held);
        assert!(first.1.inspect(Some(&asked.name)).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_label_that_is_changed_changes_no_fence() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let (_gate, etcd) = gated(&memory).await;
    for (number, mode) in [(1, Mode::Shared), (3, Mode::Counted { permits: 2 })] {
        let (lease, _) = granted(&etcd, &of(mode, number)).await;
        assert!(etcd.relabel(&lease, &"another".into()).await.unwrap());
        let status = etcd.inspect(Some(&lease.name)).await.unwrap().remove(0);
        let holder = &status.holders[0];
        assert_eq!((&*holder.label, holder.fence), ("another", lease.fence));
        if mode == Mode::Shared {
            let (joined, _) = granted(&etcd, &of(mode, number + 1)).await;
            assert_eq!(joined.fence, lease.fence);
            assert!(etcd.release(&joined, None).await.unwrap().held);
        }
        assert!(etcd.release(&lease, None).await.unwrap().held);
    }
}

#[tokio::test]
async fn a_client_from_before_keeps_all_out_and_is_kept_out() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let (cluster, etcd) = gated(&memory).await;
    let (reader, _) = granted(&etcd, &of(Mode::Shared, 1)).await;
    // What it asks of a free lock, and how it stands in line.
    let free = leasehold::backend::etcd::cluster::Condition::Absent(Keys::Under("x/#".to_owned()));
    let key = format!("x/#{}", Owner::from_bits(99));
    let put = Step::Put { key: key.clone(), value: "of before, waits".into(), session: None };
    let take = Txn { conditions: vec![free], then: vec![put.clone()], otherwise: Vec::new() };
    assert!(!cluster.client.txn(&take).await.unwrap().met);
    cluster.client.txn(&Txn { then: vec![put.clone()], ..Txn::default() }).await.unwrap();
    let late = of(Mode::Shared, 2);
    assert!(matches!(etcd.claim(&late).await.unwrap(), Answer::Busy { .. }));
    assert!(etcd.release(&reader, None).await.unwrap().held);
    assert!(matches!(etcd.claim(&late).await.unwrap(), Answer::Busy { .. }), "it holds the lock");
    let delete = Txn { then: vec![Step::Delete(key)], ..Txn::default() };
    cluster.client.txn(&delete).await.unwrap();
    let (late, _) = granted(&etcd, &late).await;
    assert!(etcd.release(&late, None).await.unwrap().held);
    // It knows of no permits: who counts them does so no more while it waits.
    let one = Mode::Counted { permits: 1 };
    let (holder, _) = granted(&etcd, &of(one, 3)).await;
    let waits = of(one, 4);
    assert!(matches!(etcd.claim(&waits).await.unwrap(), Answer::Busy { .. }));
    cluster.client.txn(&Txn { then: vec![put], ..Txn::default() }).await.unwrap();
    let refused = Answer::OtherKind { mode: Mode::Exclusive };
    for claim in [&waits, &of(one, 5)] {
        assert_eq!(etcd.claim(claim).await.unwrap(), refused);
    }
    assert!(etcd.release(&holder, None).await.unwrap().held);
    assert_eq!(etcd.claim(&of(one, 6)).await.unwrap(), refused);
    assert_eq!(places(&cluster.client).await, 1, "its own, which is the first now");
}

#[tokio::test]
async fn who_waits_for_a_permit_hears_that_the_one_before_it_has_left() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let (first, second) = (gated(&memory).await.1, gated(&memory).await.1);
    let one = Mode::Counted { permits: 1 };
    granted(&first, &of(one, 1)).await;
    let [before, last] = [2, 3].map(|owner| of(one, owner));
    for (etcd, claim) in [(&first, &before), (&second, &last)] {
        assert!(matches!(etcd.claim(claim).await.unwrap(), Answer::Busy { .. }));
    }
    first.withdraw(&before).await.unwrap();
    let runtime = ThreadRuntime::start().unwrap();
    tokio::select! {
        wake = second.wake() => assert_eq!(wake, Wake::Name(last.name)),
        () = runtime.sleep(Duration::from_secs(20)) => panic!("it is not told"),
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods)] // it is one Tokio runtime
async fn an_exclusive_one_that_comes_as_others_begin_to_count_is_refused() {
    let memory = MemoryCluster::new(Arc::new(SystemClock));
    let (first, second) = (gated(&memory).await, gated(&memory).await.1);
    let (holder, _) = granted(&second, &of(Mode::Exclusive, 1)).await;
    first.0.go.forget_permits(100);
    // It finds the lock busy, and is on its way into the line.
    first.0.next(Fate::Next(Box::new(Fate::Held)));
    let asks = tokio::spawn({
        let etcd = first.1.clone();
        async move { etcd.claim(&of(Mode::Exclusive, 2)).await.unwrap() }
    });
    first.0.come.subscribe().wait_for(|come| *come > 0).await.unwrap();
    assert!(second.release(&holder, None).await.unwrap().held);
    let four = Mode::Counted { permits: 4 };
    granted(&second, &of(four, 3)).await;
    first.0.go.add_permits(100);
    assert_eq!(asks.await.unwrap(), Answer::OtherKind { mode: four });
    assert_eq!(places(&first.0.client).await, 1);
}
