//! Those behind a waiter that is not polled, in its own client; on virtual time.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use leasehold::{Client, Error, Lease, Lock};
use leasehold_tests::wire::{TTL, World, hold, on_virtual_time, spawn};
use leasehold_tests::world::Machine;

const SECOND: Duration = Duration::from_secs(1);

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Lease, Error>> + 'a>>;

/// Wait for the lock, and be polled so often.
async fn half<'a>(world: &World, lock: &'a Lock, polls: u32) -> Waiting<'a> {
    let mut waiting: Waiting<'a> = Box::pin(lock.acquire());
    for _ in 0..polls {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        world.settle().await;
    }
    waiting
}

/// How long somebody waits for a free lock behind some of its client that are polled
/// so often and then not any more.
async fn wait_behind(world: &World, first: bool, unpolled: usize, polls: u32) -> Duration {
    let ((client, wire), (other, _)) = (world.client(), world.client());
    let holder = if first { None } else { Some(hold(&other, "x").await) };
    // As over a network: one poll does not see the answer.
    wire.slow_claims(Duration::from_millis(1));
    let lock = client.lock("x");
    let mut before = Vec::new();
    for _ in 0..unpolled {
        before.push(half(world, &lock, polls).await);
    }
    let behind = client.lock("x");
    let behind = spawn(async move { behind.acquire().await });
    world.settle().await;
    let since = world.truth.elapsed();
    if let Some(holder) = holder {
        holder.release().await.expect("held");
    }
    let lease = behind.await.expect("no panic").expect("its turn comes");
    let took = world.truth.elapsed() - since;
    world.truth.sleep(TTL * 2).await;
    assert!(lease.is_valid());
    lease.release().await.expect("held");
    // They wait still, and are served when they are polled.
    for waiting in before {
        waiting.await.expect("its turn comes").release().await.expect("held");
    }
    world.settle().await;
    assert!(world.is_free("x").await, "nothing is left of what they asked before");
    took
}

#[test]
fn a_waiter_that_is_not_polled_costs_those_of_its_own_client_two_seconds() {
    for (unpolled, grants) in [(1, false), (1, true), (3, false), (3, true)] {
        on_virtual_time(async |world| {
            let world = if grants { world.granting() } else { world };
            let took = wait_behind(&world, false, unpolled, 3).await;
            let most = SECOND * 2 * unpolled as u32 + SECOND / 2;
            assert!(took < most, "{unpolled} unpolled, grants {grants}: after {took:?}");
        });
    }
}

#[test]
fn a_question_whose_answer_nobody_reads_is_withdrawn() {
    on_virtual_time(async |world| {
        // The lock was granted to it.
        let took = wait_behind(&world, true, 1, 1).await;
        assert!(took < TTL / 2 + SECOND * 5 / 2, "after {took:?}");
    });
}

#[test]
fn a_grant_that_nobody_reads_is_withdrawn_also_where_nobody_waits_behind() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        wire.slow_claims(Duration::from_millis(1));
        let lock = client.lock("x").ttl(SECOND * 3000);
        let unread = half(&world, &lock, 1).await;
        let since = world.truth.elapsed();
        let lease = hold(&other, "x").await;
        let took = world.truth.elapsed() - since;
        assert!(took < SECOND * 9, "{took:?}");
        lease.release().await.expect("held");
        unread.await.expect("its turn comes again").release().await.expect("held");
        world.settle().await;
        assert!(world.is_free("x").await);
    });
}

#[test]
fn a_waiter_whose_loop_stands_still_for_a_while_keeps_its_place_among_other_clients() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _), (third, _)) =
            (world.client(), world.client(), world.client());
        let holder = hold(&other, "x").await;
        let lock = client.lock("x").ttl(SECOND * 3000);
        let mut first = half(&world, &lock, 3).await;
        let behind = third.lock("x");
        let behind = spawn(async move { behind.acquire().await });
        world.settle().await;
        // At whatever moment of those who look.
        for _ in 0..30 {
            world.truth.sleep(SECOND * 19 / 10).await;
            for _ in 0..3 {
                let polled = first.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending());
                world.settle().await;
            }
        }
        holder.release().await.expect("held");
        first.await.expect("its turn").release().await.expect("held");
        behind.await.expect("no panic").expect("the next").release().await.expect("held");
    });
}

/// Waiters of one client, and in which order they have the lock.
struct Row {
    served: Arc<Mutex<Vec<u32>>>,
    waiters: Vec<tokio::task::JoinHandle<()>>,
}

impl Row {
    async fn of(world: &World, client: &Client, machine: &Arc<Machine>) -> Self {
        let mut row = Self { served: Arc::default(), waiters: Vec::new() };
        for number in 0..4 {
            let (lock, served) = (client.lock("x"), row.served.clone());
            row.waiters.push(spawn(machine.within(async move {
                let lease = lock.acquire().await.expect("its turn comes");
                served.lock().expect("no panic").push(number);
                lease.release().await.expect("held");
            })));
            world.settle().await;
        }
        row
    }

    async fn served(self) -> Vec<u32> {
        for waiter in self.waiters {
            waiter.await.expect("no panic");
        }
        self.served.lock().expect("no panic").clone()
    }
}

#[test]
fn who_is_polled_keeps_its_turn_though_the_server_is_slow() {
    on_virtual_time(async |world| {
        let ((client, wire, machine), (other, _)) = (world.client_that_stops(), world.client());
        let holder = hold(&other, "x").await;
        wire.slow_claims(SECOND * 4);
        let row = Row::of(&world, &client, &machine).await;
        world.truth.sleep(SECOND * 30).await;
        holder.release().await.expect("held");
        assert_eq!(row.served().await, [0, 1, 2, 3]);
    });
}

#[test]
fn who_could_not_be_polled_as_its_process_was_stopped_keeps_its_turn() {
    on_virtual_time(async |world| {
        let ((client, _, machine), (other, _)) = (world.client_that_stops(), world.client());
        let holder = hold(&other, "x").await;
        let row = Row::of(&world, &client, &machine).await;
        // At whatever moment between its questions.
        for moment in 0..30 {
            world.truth.sleep(SECOND / 20 * moment).await;
            machine.stop();
            world.truth.sleep(SECOND * 5).await;
            machine.go_on();
        }
        holder.release().await.expect("held");
        assert_eq!(row.served().await, [0, 1, 2, 3]);
    });
}
