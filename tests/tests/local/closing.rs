//! What a closed client gives back to the process, whoever still has it or its leases.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use leasehold::backend::Memory;
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::{Clock, SystemClock};
use leasehold::{Kind, Loss, Options, connect};
use leasehold_tests::wire::{hold, on_virtual_time, spawn};

const SECOND: Duration = Duration::from_secs(1);

/// How many descriptors this process has of files whose name begins so.
#[cfg(target_os = "linux")]
fn descriptors(of: &Path) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").expect("a list").flatten();
    let names = all.filter_map(|one| std::fs::read_link(one.path()).ok());
    names.filter(|name| name.to_string_lossy().starts_with(&*of.to_string_lossy())).count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_closed_client_has_no_file_open_though_its_leases_live_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("locks.db");
    let client = connect(&format!("sqlite:{}", file.display())).await.expect("a client");
    let (lock, watcher) = (client.lock("x"), client.clone());
    let (lease, second) = (lock.acquire().await.expect("free"), client.lock("y"));
    let second = second.acquire().await.expect("free");
    second.release().await.expect("held");
    assert!(descriptors(&file) > 3);
    client.close().await;
    // The thread for renewals closes its connection by itself.
    let patience = SystemClock.now() + SECOND * 5;
    while descriptors(&file) > 0 {
        assert!(SystemClock.now() < patience, "{} are open", descriptors(&file));
        std::thread::yield_now();
    }
    let left = std::fs::read_dir(dir.path().join("locks.db-bells")).expect("a list");
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["world"], "and not the client's socket");
    assert_eq!(lease.loss(), Some(Loss::Closed));
    assert_eq!(lease.release().await.expect_err("lost").kind(), Kind::Lost);
    second.release().await.expect("it was");
    assert_eq!(lock.acquire().await.expect_err("closed").kind(), Kind::Closed);
    assert_eq!(watcher.list().await.expect_err("closed").kind(), Kind::Closed);
    assert_eq!(watcher.backend(), format!("sqlite:{}", file.display()));
}

#[tokio::test]
async fn a_closed_client_lets_go_of_its_backend() {
    for own in [true, false] {
        let backend = Arc::new(Memory::new(Arc::new(SystemClock)).client());
        let alive = Arc::downgrade(&backend);
        let runtime = ThreadRuntime::start().expect("a thread");
        let options = match own {
            true => Options::new(),
            false => Options::new().runtime(runtime.clone()),
        };
        let client = options.open(backend).expect("a client");
        let (lease, events) = (client.lock("x").acquire().await.expect("free"), client.events());
        client.close().await;
        let patience = SystemClock.now() + SECOND * 5;
        while alive.upgrade().is_some() {
            // With a runtime of somebody else's, its tasks end in their own time.
            assert!(!own && SystemClock.now() < patience, "it is there");
            std::thread::yield_now();
        }
        // Which goes on for others.
        runtime.sleep(Duration::from_millis(1)).await;
        assert!(!runtime.is_stopped());
        drop((lease, events, client));
    }
}

#[tokio::test]
async fn a_thread_that_is_stopped_ends_whatever_it_has_to_do() {
    let runtime = ThreadRuntime::start().expect("a thread");
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    runtime.spawn(Box::pin(async move {
        let _tell = tell;
        std::future::pending::<()>().await;
    }));
    let before = runtime.sleep(3600 * SECOND);
    let mut polled = runtime.sleep(3600 * SECOND);
    tokio::select! {
        biased;
        () = &mut polled => panic!("it is not over"),
        () = std::future::ready(()) => {}
    }
    runtime.stop();
    runtime.ended().await;
    assert!(runtime.is_stopped());
    // Timers that nobody keeps any more are over, and do not panic.
    tokio::join!(before, polled, runtime.sleep(3600 * SECOND));
    assert!(told.await.is_err(), "dropped");
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    runtime.spawn(Box::pin(async move { tell.send(()).unwrap_or_default() }));
    assert!(told.await.is_err(), "dropped, too");
    runtime.stop();
    runtime.ended().await;
}

#[tokio::test]
async fn a_task_that_tries_again_and_again_does_not_keep_a_stopped_thread() {
    let runtime = ThreadRuntime::start().expect("a thread");
    let (begun, is_begun) = tokio::sync::oneshot::channel();
    let clock = Arc::downgrade(&runtime);
    runtime.spawn(Box::pin(async move {
        begun.send(()).unwrap_or_default();
        while let Some(clock) = clock.upgrade() {
            clock.sleep(Duration::from_micros(1)).await;
        }
    }));
    is_begun.await.expect("begun");
    runtime.stop();
    runtime.ended().await;
}

#[tokio::test]
async fn a_stopped_thread_does_not_wait_for_what_blocks() {
    let runtime = ThreadRuntime::start().expect("a thread");
    let (go, blocked) = std::sync::mpsc::channel::<()>();
    let (begun, is_begun) = tokio::sync::oneshot::channel();
    // As long as a name is looked up.
    runtime.spawn(Box::pin(async move {
        drop(tokio::task::spawn_blocking(move || {
            begun.send(()).unwrap_or_default();
            let _ = blocked.recv();
        }));
    }));
    is_begun.await.expect("begun");
    runtime.stop();
    let clock = ThreadRuntime::start().expect("a thread");
    tokio::select! {
        () = runtime.ended() => {}
        () = clock.sleep(SECOND * 20) => panic!("it waits"),
    }
    drop(go);
}

#[tokio::test]
async fn a_lease_whose_release_nobody_can_send_any_more_ends() {
    let runtime = ThreadRuntime::start().expect("a thread");
    let backend = Arc::new(Memory::new(Arc::new(SystemClock)).client());
    let client = Options::new().runtime(runtime.clone()).open(backend).expect("a client");
    let lease = client.lock("x").acquire().await.expect("free");
    let watch = lease.watch();
    runtime.stop();
    runtime.ended().await;
    drop(lease);
    let clock = ThreadRuntime::start().expect("a thread");
    tokio::select! {
        loss = watch.ended() => assert_eq!(loss, None),
        () = clock.sleep(SECOND * 20) => panic!("it has no end"),
    }
}

#[test]
fn who_gives_back_while_the_client_is_closed_is_told_what_came_of_it() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = Arc::new(hold(&client, "x").await);
        wire.slow_releases(SECOND);
        let releasing = spawn({
            let lease = lease.clone();
            async move { lease.release().await }
        });
        world.settle().await;
        let began = world.truth.elapsed();
        client.close().await;
        let took = world.truth.elapsed() - began;
        assert!(took > SECOND && took <= SECOND * 2, "{took:?}");
        releasing.await.expect("no panic").expect("it was held to its end");
        assert!(world.is_free("x").await);
    });
}

#[test]
fn who_gives_back_and_does_not_go_on_keeps_a_close_for_a_while_only() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        wire.slow_releases(SECOND);
        let mut releasing = Box::pin(lease.release());
        tokio::select! {
            biased;
            _ = &mut releasing => panic!("it takes two seconds"),
            () = world.settle() => {}
        }
        let began = world.truth.elapsed();
        client.close().await;
        assert!(world.truth.elapsed() - began <= SECOND * 5);
        drop(releasing);
    });
}

#[tokio::test]
async fn who_connects_or_asks_when_the_client_is_closed_hears_that_it_was() {
    // A server that lets everybody in, and says nothing.
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    for url in [format!("redis://127.0.0.1:{port}"), format!("etcd://127.0.0.1:{port}")] {
        let client = Options::new().client(&url).expect("a client");
        let (trying, asking) = (client.lock("x"), client.clone());
        let trying = spawn(async move { trying.try_acquire().await.map(drop) });
        let asking = spawn(async move { asking.status("x").await.map(drop) });
        tokio::task::yield_now().await;
        // Both are under way.
        let (mut connection, _) = server.accept().expect("a connection");
        let mut first = [0];
        std::io::Read::read_exact(&mut connection, &mut first).expect("its first word");
        client.close().await;
        for waiting in [trying, asking] {
            let error = waiting.await.expect("no panic").expect_err("closed");
            assert_eq!(error.kind(), Kind::Closed, "{error}");
        }
    }
}

#[test]
fn a_lock_is_handed_to_no_waiter_of_a_client_that_closes() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let _lease = hold(&client, "x").await;
        let lock = client.lock("x").ttl(Duration::from_secs(2000));
        let mut unpolled = Box::pin(lock.acquire());
        let polled = unpolled.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        // The answer to the release is lost, and that to the next says that it was done.
        wire.slow_releases(Duration::from_secs(4));
        let closing = spawn(async move { client.close().await });
        world.truth.sleep(Duration::from_millis(4300)).await;
        wire.slow_releases(Duration::ZERO);
        closing.await.expect("no panic");
        let free = other.lock("x").try_acquire().await.expect("an answer");
        assert!(free.is_some(), "nobody is there to use it");
    });
}
