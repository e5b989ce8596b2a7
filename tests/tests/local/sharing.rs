//! Locks that several share, and locks with permits, as a client has them, on virtual
//! time: with a server that wakes who waits, and with one that hands locks on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold::backend::quorum::{MemoryNode, Node};
use leasehold::backend::{Backend, Claim, Held, Mode, Quorum};
use leasehold::{Client, Kind, Lease, Lock, LockName, Loss, Options, Outcome, Owner};
use leasehold_tests::wire::{TTL, World, hold, on_virtual_time, spawn};
use leasehold_tests::world::{Machine, cut_at};

const SECOND: Duration = Duration::from_secs(1);

fn with_either_server(test: impl AsyncFn(World)) {
    on_virtual_time(|world| test(world));
    on_virtual_time(|world| test(world.granting()));
}

async fn share(client: &Client) -> Lease {
    client.lock("x").shared().acquire().await.expect("a share")
}

/// Wait for it elsewhere.
async fn queue(world: &World, lock: Lock) -> tokio::task::JoinHandle<Lease> {
    let waiter = spawn(async move { lock.acquire().await.expect("the lock") });
    world.settle().await;
    waiter
}

#[test]
fn readers_share_and_a_writer_waits_for_all_of_them() {
    with_either_server(async |world| {
        let ((a, _), (b, _)) = (world.client(), world.client());
        let readers = [share(&a).await, share(&a).await, share(&b).await];
        assert!(readers.iter().all(|r| r.fence() == readers[0].fence() && r.slot().is_none()));
        // In the client of a reader, and in another.
        let writer = queue(&world, b.lock("x")).await;
        assert!(a.lock("x").try_acquire().await.expect("an answer").is_none());
        assert!(a.lock("x").shared().try_acquire().await.expect("an answer").is_none());
        let late = queue(&world, a.lock("x").shared()).await;
        let mut fence = 0;
        for reader in readers {
            // Longer than the ttl: each is renewed.
            world.truth.sleep(TTL * 2).await;
            assert!(!writer.is_finished() && !late.is_finished());
            reader.release().await.expect("held");
            fence = reader.fence();
        }
        world.settle().await;
        let writer = writer.await.expect("granted");
        assert!(writer.fence() > fence);
        world.truth.sleep(TTL * 2).await;
        assert!(!late.is_finished());
        writer.release().await.expect("held");
        world.settle().await;
        assert!(late.is_finished());
        assert!(late.await.expect("granted").fence() > writer.fence());
    });
}

#[test]
fn all_who_try_at_once_in_one_client_share() {
    with_either_server(async |world| {
        let (client, _) = world.client();
        let tries: Vec<_> = (0..10)
            .map(|_| {
                let lock = client.lock("x").shared();
                spawn(async move { lock.try_acquire().await.expect("an answer") })
            })
            .collect();
        let mut leases = Vec::new();
        for tried in tries {
            leases.push(tried.await.expect("no panic").expect("nobody is in the way"));
        }
        assert!(leases.iter().all(|lease| lease.fence() == leases[0].fence()));
    });
}

#[test]
fn a_writer_gets_its_turn_among_a_thousand_readers() {
    with_either_server(async |world| {
        let clients = [(); 4].map(|()| world.client().0);
        let reads = Arc::new(AtomicU64::new(0));
        for number in 0..1000 {
            let (lock, reads) = (clients[number % 4].lock("x").shared(), reads.clone());
            let truth = world.truth;
            spawn(async move {
                loop {
                    let lease = lock.acquire().await.expect("a share");
                    reads.fetch_add(1, Ordering::SeqCst);
                    truth.sleep(Duration::from_millis(20 + number as u64 % 30)).await;
                    lease.release().await.expect("held");
                }
            });
        }
        world.truth.sleep(SECOND).await;
        let (writer, _) = world.client();
        for _ in 0..5 {
            let before = (world.truth.elapsed(), reads.load(Ordering::SeqCst));
            let lease = hold(&writer, "x").await;
            let waited = world.truth.elapsed() - before.0;
            assert!(waited < SECOND, "the writer waited for {waited:?}");
            lease.release().await.expect("held");
            world.truth.sleep(SECOND).await;
            assert!(reads.load(Ordering::SeqCst) > before.1 + 1000, "the readers do not go on");
        }
    });
}

#[test]
fn a_sharer_that_is_cancelled_anywhere_leaves_nothing_behind() {
    with_either_server(async |world| {
        for polls in 0..12 {
            let ((a, _), (b, _)) = (world.client(), world.client());
            let reader = share(&a).await;
            let writer = queue(&world, a.lock("x")).await;
            let behind = queue(&world, a.lock("x").shared()).await;
            let lock = b.lock("x").shared();
            let cut = spawn(async move { cut_at(polls, lock.acquire()).await });
            // It is granted somewhere meanwhile, or it has left by then.
            reader.release().await.expect("held");
            writer.await.expect("granted").release().await.expect("held");
            let cut = cut.await.expect("no panic");
            let behind = behind.await.expect("granted");
            world.truth.sleep(TTL * 2).await;
            assert!(behind.is_valid());
            drop((cut, behind));
            world.settle().await;
            assert!(world.is_free("x").await, "cut at {polls}");
        }
    });
}

#[test]
fn a_broken_lock_is_lost_by_all_who_share_it() {
    with_either_server(async |world| {
        let ((a, _), (b, _), (c, _)) = (world.client(), world.client(), world.client());
        let leases = [share(&a).await, share(&b).await, share(&b).await];
        assert_eq!(c.status("x").await.expect("a status").expect("held").holders.len(), 3);
        // By one of them.
        assert!(b.break_lock("x").await.expect("an answer"));
        for lease in &leases {
            assert_eq!(lease.lost().await, Loss::Gone);
            assert_eq!(lease.release().await.expect_err("lost").kind(), Kind::Lost);
        }
        assert!(hold(&c, "x").await.fence() > leases[0].fence());
    });
}

#[test]
fn who_shares_a_lock_and_asks_for_it_alone_waits_for_the_others_and_for_itself() {
    with_either_server(async |world| {
        let (client, _) = world.client();
        let (reader, other) = (share(&client).await, share(&client).await);
        let alone = client.lock("x").wait(SECOND).acquire().await.expect_err("it shares it");
        assert_eq!((alone.kind(), alone.outcome()), (Kind::Timeout, Outcome::NotHeld));
        let waiter = queue(&world, client.lock("x")).await;
        other.release().await.expect("held");
        world.truth.sleep(TTL * 2).await;
        assert!(!waiter.is_finished() && reader.is_valid());
        reader.release().await.expect("held");
        assert!(waiter.await.expect("granted").fence() > reader.fence());
    });
}

#[test]
fn a_dead_reader_keeps_a_writer_for_its_ttl_and_no_longer() {
    with_either_server(async |world| {
        let ((dies, _, machine), (lives, _)) = (world.client_that_stops(), world.client());
        let dead = share(&dies).await;
        machine.stop();
        let alive = share(&lives).await;
        let writer = queue(&world, lives.lock("x")).await;
        alive.release().await.expect("held");
        world.truth.sleep(TTL * 2).await;
        assert!(writer.is_finished());
        assert!(writer.await.expect("granted").fence() > dead.fence());
    });
}

#[test]
fn of_four_permits_a_fifth_waits_and_each_has_a_slot() {
    with_either_server(async |world| {
        let ((a, _), (b, _)) = (world.client(), world.client());
        let gpu = |client: &Client| client.lock("gpu").permits(4);
        let mut leases = Vec::new();
        for number in 0..4 {
            leases.push(gpu([&a, &b][number % 2]).acquire().await.expect("a permit"));
        }
        let slots: BTreeSet<_> = leases.iter().map(|lease| lease.slot()).collect();
        assert_eq!(slots, (0..4).map(Some).collect());
        assert!(gpu(&a).try_acquire().await.expect("an answer").is_none());
        let fifth = queue(&world, gpu(&b)).await;
        world.truth.sleep(TTL * 2).await;
        assert!(!fifth.is_finished());
        let ended = leases.remove(1);
        ended.release().await.expect("held");
        let fifth = fifth.await.expect("granted");
        assert_eq!(fifth.slot(), ended.slot());
        assert!(leases.iter().chain([&ended]).all(|lease| fifth.fence() > lease.fence()));
    });
}

#[test]
fn another_number_of_permits_is_refused_and_said_why() {
    with_either_server(async |world| {
        let ((a, _), (b, _)) = (world.client(), world.client());
        let lease = a.lock("x").permits(4).acquire().await.expect("a permit");
        for other in [b.lock("x").permits(5), b.lock("x"), b.lock("x").shared()] {
            let refusals = [
                other.acquire().await.map(drop).expect_err("another number"),
                other.try_acquire().await.map(drop).expect_err("another number"),
            ];
            for refusal in refusals {
                let facts = (refusal.kind(), refusal.outcome());
                assert_eq!(facts, (Kind::Refused, Outcome::NotHeld), "{refusal}");
                assert!(refusal.to_string().contains("with 4 permits"), "{refusal}");
            }
        }
        lease.release().await.expect("held");
        let lease = b.lock("x").permits(5).acquire().await.expect("nobody uses it");
        assert_eq!(lease.slot(), Some(0));
        for wrong in [0, 1001] {
            let error = a.lock("y").permits(wrong).acquire().await.expect_err("out of range");
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
        }
        let both = a.lock("y").shared().permits(2).try_acquire().await.expect_err("both");
        assert_eq!(both.kind(), Kind::Invalid, "{both}");
    });
}

#[test]
fn a_waiter_is_not_put_out_of_the_line_by_permits_that_its_holders_client_wants() {
    with_either_server(async |world| {
        let ((a, _), (b, _)) = (world.client(), world.client());
        // Asked for while this client waits, too: only the first of a client's line asks.
        let other = b.lock("x").acquire().await.expect("free");
        let own = queue(&world, a.lock("x")).await;
        let counted = a.lock("x").permits(2);
        let behind = spawn(async move { counted.acquire().await });
        world.settle().await;
        other.release().await.expect("held");
        let own = own.await.expect("the lock");
        let first = queue(&world, b.lock("x")).await;
        for refusal in [
            a.lock("x").permits(2).acquire().await.expect_err("held alone, here"),
            a.lock("x").permits(2).try_acquire().await.expect_err("held alone, here"),
        ] {
            assert_eq!(refusal.kind(), Kind::Refused, "{refusal}");
            assert!(refusal.to_string().contains("without permits"), "{refusal}");
        }
        own.release().await.expect("held");
        world.settle().await;
        let first = first.await.expect("who came first has it");
        let refusal = behind.await.expect("no panic").expect_err("others use it without");
        assert_eq!(refusal.kind(), Kind::Refused, "{refusal}");
        first.release().await.expect("held");
    });
}

#[test]
fn a_waiter_that_is_refused_leaves_no_place_in_the_line() {
    with_either_server(async |world| {
        let (client, _) = world.client();
        // A client with a bug, which hands permits on where others wait for the lock alone.
        let broken = world.server.client();
        let name = LockName::new("x").expect("a name");
        let claim = |number, mode| Claim {
            name: name.clone(),
            owner: Owner::from_bits(number),
            ttl: TTL,
            delay: Duration::ZERO,
            mode,
            label: "broken".into(),
            place: None,
            renewed: false,
        };
        let held = |number, mode| {
            let (name, owner) = (name.clone(), Owner::from_bits(number));
            Held { name, owner, mode, fence: 0, ttl: TTL, renewed: false }
        };
        let counted = Mode::Counted { permits: 2 };
        broken.claim(&claim(1, Mode::Exclusive)).await.expect("an answer");
        let waiting = client.lock("x");
        let waiter = spawn(async move { waiting.acquire().await });
        world.settle().await;
        let handed = broken.release(&held(1, Mode::Exclusive), Some(&claim(2, counted))).await;
        assert!(handed.is_ok());
        let refusal = waiter.await.expect("no panic").expect_err("in use with permits");
        assert_eq!(refusal.kind(), Kind::Refused, "{refusal}");
        world.settle().await;
        let status = client.status("x").await.expect("an answer").expect("held");
        assert!(status.waiters.is_empty(), "{status:?}");
        broken.release(&held(2, counted), None).await.expect("an answer");
        assert!(client.lock("x").try_acquire().await.expect("an answer").is_some());
    });
}

#[test]
fn what_a_backend_does_not_have_is_refused_with_the_reason_and_asks_it_nothing() {
    on_virtual_time(async |world| {
        let machine = Machine::new(world.truth, 1.0, 7);
        let node = || Arc::new(MemoryNode::new(Arc::new(world.truth), SECOND).client());
        let nodes = (0..3).map(|_| node() as Arc<dyn Node>).collect();
        let quorum = Quorum::new(nodes, SECOND * 60, machine.clone()).expect("a quorum");
        let client = Options::new().runtime(machine).ttl(TTL).open(Arc::new(quorum));
        let client = client.expect("a client");
        let counted = client.lock("x").permits(2).acquire().await.expect_err("permits");
        assert!(counted.to_string().contains("majority"), "{counted}");
        let facts = (counted.kind(), counted.outcome(), counted.lock());
        assert_eq!(facts, (Kind::Unsupported, Outcome::NotHeld, Some("x")), "{counted}");
    });
}
