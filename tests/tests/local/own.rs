//! A task that asks again for what it holds itself, on virtual time.

use std::time::Duration;

use leasehold::{Client, Error, Kind, Lease, Lock, Outcome, Run};
use leasehold_tests::wire::{TTL, World, on_virtual_time, spawn};

const SECOND: Duration = Duration::from_secs(1);

fn with_either_server(test: impl AsyncFn(World)) {
    on_virtual_time(|world| test(world));
    on_virtual_time(|world| test(world.granting()));
}

fn is_refused<T>(answer: Result<T, Error>) {
    let error = answer.err().expect("it is refused");
    assert_eq!((error.kind(), error.lock()), (Kind::Refused, Some("x")), "{error}");
    assert_eq!(error.outcome(), Outcome::NotHeld);
    assert!(error.to_string().contains("already, and would wait for itself"), "{error}");
}

/// What comes of asking for one inside of another.
async fn inside(outer: Lock, inner: Lock) -> Result<Result<(), Error>, Error> {
    outer.run(async |_| inner.acquire().await.map(drop)).await
}

#[test]
fn whoever_waits_inside_for_what_it_holds_is_refused_at_once() {
    with_either_server(async |world| {
        let (client, _) = world.client();
        let since = world.truth.elapsed();
        let x = || client.lock("x");
        is_refused(inside(x(), x()).await.expect("held"));
        is_refused(x().run(async |_| x().run(async |_| ()).await).await.expect("held"));
        // A block of another lock between them changes nothing.
        let between = client.lock("y");
        is_refused(x().run(async |_| inside(between, x()).await).await.expect("held").expect("y"));
        let group = client.locks(["x", "y"]);
        is_refused(x().run(async |_| group.acquire().await.map(drop)).await.expect("held"));
        is_refused(group.run(async |_| x().acquire().await.map(drop)).await.expect("held"));
        let election = client.election("x");
        let again = election.lead(async |_| election.campaign().await.map(drop));
        is_refused(again.await.expect("led"));
        let once = client.once("x").every(SECOND * 60);
        let ran = once.run(async |_| x().acquire().await.map(drop)).await.expect("an answer");
        let Run::Ran(inner) = ran else { panic!("it is free") };
        is_refused(inner);
        assert!(world.truth.elapsed() - since < SECOND / 10);
        assert!(world.is_free("x").await && world.is_free("y").await);
    });
}

#[test]
fn whoever_waits_for_a_time_is_told_at_its_end() {
    with_either_server(async |world| {
        let (client, _) = world.client();
        let since = world.truth.elapsed();
        let inner = client.lock("x").wait(SECOND);
        let error = inside(client.lock("x"), inner).await.expect("held").expect_err("busy");
        assert_eq!((error.kind(), error.lock()), (Kind::Timeout, Some("x")));
        assert!(error.to_string().contains("already, and would wait for itself"), "{error}");
        assert!(world.truth.elapsed() - since >= SECOND);
        let other = client.lock("x").acquire().await.expect("free");
        let error = client.lock("x").wait(SECOND).acquire().await.expect_err("busy");
        assert!(error.to_string().contains("shows who holds it"), "{error}");
        drop(other);
    });
}

#[test]
fn whoever_only_tries_is_told_that_it_is_busy() {
    with_either_server(async |world| {
        let (client, _) = world.client();
        let x = || client.lock("x");
        let tried = x().run(async |_| x().try_acquire().await).await.expect("held");
        assert!(tried.expect("an answer").is_none());
        let shared = client.lock("x").shared();
        let tried = shared.run(async |_| x().try_acquire().await).await.expect("held");
        assert!(tried.expect("an answer").is_none());
        world.settle().await;
        let error = inside(x(), x().wait(Duration::ZERO)).await.expect("held").expect_err("busy");
        assert_eq!(error.kind(), Kind::Timeout);
    });
}

#[test]
fn what_can_be_held_at_once_is_not_refused() {
    with_either_server(async |world| {
        let (client, _) = world.client();
        let (x, shared) = (|| client.lock("x"), || client.lock("x").shared());
        is_refused(inside(shared(), x()).await.expect("held"));
        is_refused(inside(x(), shared()).await.expect("held"));
        inside(shared(), shared()).await.expect("held").expect("shared");
        world.settle().await;
        // A second share may have to wait for a writer that will give up.
        let (other, _) = world.client();
        let again = async |_: &Lease| {
            let writer = spawn(async move { other.lock("x").wait(SECOND).acquire().await });
            world.settle().await;
            let second = shared().run(async |_| ()).await;
            assert_eq!(writer.await.expect("no panic").expect_err("shared").kind(), Kind::Timeout);
            second
        };
        shared().run(again).await.expect("held").expect("shared");
        world.settle().await;
        let two = || client.lock("x").permits(2);
        let inner = async |_: &Lease| inside(two(), two()).await.expect("the second permit");
        is_refused(two().run(inner).await.expect("the first permit"));
        world.settle().await;
        inside(two(), two()).await.expect("held").expect("the second permit");
    });
}

/// It is held by a block, and somebody waits beside that.
async fn waits(world: &World, client: &Client, waiter: impl Future<Output = Result<(), Error>>) {
    let since = world.truth.elapsed();
    let held = async {
        let lock = client.lock("x");
        lock.run(async |_| world.truth.sleep(TTL * 2).await).await.expect("held to the end");
    };
    let waiter = async {
        world.settle().await;
        waiter.await.expect("it has its turn");
        assert!(world.truth.elapsed() - since >= TTL * 2);
    };
    tokio::join!(held, waiter);
}

#[test]
fn whoever_waits_beside_a_block_waits() {
    with_either_server(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        // Another future of the same task, and another client.
        let lock = client.lock("x");
        waits(&world, &client, async { lock.acquire().await.map(drop) }).await;
        waits(&world, &client, lock.run(async |_| ())).await;
        waits(&world, &client, async { other.lock("x").acquire().await.map(drop) }).await;
        let (outer, inner) = (client.lock("y"), client.lock("x"));
        waits(&world, &client, async { inside(outer, inner).await? }).await;
    });
}

#[test]
fn a_task_that_was_begun_inside_waits_for_the_end() {
    with_either_server(async |world| {
        let (client, _) = world.client();
        let (outer, lock) = (client.lock("x"), client.lock("x"));
        let waiter = outer.run(async |_| {
            let waiter = spawn(async move { lock.acquire().await.map(drop) });
            world.settle().await;
            assert!(!waiter.is_finished());
            Some(waiter)
        });
        waiter
            .await
            .expect("held")
            .expect("one")
            .await
            .expect("no panic")
            .expect("it has its turn");
        // So does one that the work itself polls.
        let local = tokio::task::LocalSet::new();
        let lock = client.lock("x");
        let waiter = outer.run(async |_| {
            let waiter = local.spawn_local(async move { lock.acquire().await.map(drop) });
            local.run_until(world.settle()).await;
            assert!(!waiter.is_finished());
            Some(waiter)
        });
        let waiter = waiter.await.expect("held").expect("one");
        local.run_until(waiter).await.expect("no panic").expect("it has its turn");
    });
}

#[test]
fn what_ends_by_itself_or_has_ended_is_waited_for() {
    with_either_server(async |world| {
        let (client, _) = world.client();
        let x = || client.lock("x");
        // The work is cut off when the inner one could have it.
        let ended = inside(x().auto_renew(false), x()).await.expect_err("it ends first");
        assert_eq!(ended.kind(), Kind::Lost);
        let outer = x();
        let released = outer.run(async |lease| {
            lease.release().await?;
            x().acquire().await.map(drop)
        });
        released.await.expect("no loss").expect("it is free");
        // One that was taken without a block may be given back by anybody.
        let (held, lock) = (x().acquire().await.expect("free"), x());
        let giver = async {
            world.truth.sleep(TTL).await;
            held.release().await.expect("held");
        };
        let (_, taken) = tokio::join!(giver, lock.acquire());
        taken.expect("it was given back");
    });
}
