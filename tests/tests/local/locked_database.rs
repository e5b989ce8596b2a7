//! The embedded backend while somebody keeps the whole database locked, as a
//! process does that was stopped inside its transaction.

use std::path::Path;
use std::task::{Context, Waker};
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::{Clock, SystemClock};
use leasehold::{Kind, connect};
use rusqlite::Connection;

fn keep_locked(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.execute_batch("BEGIN IMMEDIATE")?;
    Ok(db)
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_can_connect_and_is_told_why_it_gets_no_lock() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("locks.db");
    let url = format!("sqlite:{}", path.display());
    // Answered after the tidying that follows a connect.
    connect(&url).await.expect("a client").list().await.expect("a list");
    let locked = keep_locked(&path).expect("the write lock");
    let client = connect(&url).await.expect("a client");
    let error = client.lock("x").try_acquire().await.expect_err("locked");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("perhaps a stopped one"), "{error}");
    drop(locked);
    assert!(client.lock("x").try_acquire().await.expect("an answer").is_some());
}

#[tokio::test(flavor = "current_thread")]
async fn the_first_connect_outlasts_a_process_that_is_stopped_for_a_while() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("locks.db");
    let locked = keep_locked(&path).expect("the write lock");
    let clock = ThreadRuntime::start().expect("a thread");
    let url = format!("sqlite:{}", path.display());
    let go_on = async {
        // Longer than a request would wait.
        clock.sleep(Duration::from_secs(4)).await;
        drop(locked);
    };
    let (client, ()) = tokio::join!(connect(&url), go_on);
    client.expect("a client");
}

#[tokio::test(flavor = "current_thread")]
async fn a_claim_that_is_made_long_after_its_turn_was_lost_is_withdrawn_once_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("locks.db");
    let url = format!("sqlite:{}", path.display());
    let (client, other) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    client.list().await.expect("its tidying is done");
    let held = other.lock("x").acquire().await.expect("the lock");
    let locked = keep_locked(&path).expect("the write lock");
    let lock = client.lock("x").ttl(Duration::from_secs(3600)).wait(Duration::from_secs(60));
    let mut unpolled = Box::pin(lock.acquire());
    assert!(unpolled.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(locked);
    // Until it has lost its turn to this one, which is answered then.
    let behind = client.lock("x").wait(Duration::from_secs(8)).acquire().await;
    assert_eq!(behind.expect_err("held").kind(), Kind::Timeout);
    // More than are remembered of those that have withdrawn.
    for _ in 0..4200 {
        client.lock("y").acquire().await.expect("the lock").release().await.expect("held");
    }
    held.release().await.expect("held");
    let lease = unpolled.await.expect("its old claim is not in its way");
    lease.release().await.expect("held");
    client.close().await;
    assert!(other.lock("x").try_acquire().await.expect("an answer").is_some());
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_whose_file_a_newer_version_has_taken_over_closes_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("locks.db");
    let client = connect(&format!("sqlite:{}", path.display())).await.expect("a client");
    let ttl = Duration::from_secs(60);
    let _lost = client.lock("x").ttl(ttl).acquire().await.expect("the lock");
    let released = client.lock("y").ttl(ttl).acquire().await.expect("the lock");
    let shared = client.lock("x").ttl(ttl).shared();
    let mut waits = Box::pin(shared.acquire());
    assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    // As a migration does it.
    let db = Connection::open(&path).expect("the file");
    let sql = "SELECT name FROM sqlite_schema WHERE name LIKE 'locks%' AND type = 'table'";
    let table: String = db.query_row(sql, [], |row| row.get(0)).expect("the table");
    db.execute_batch(&format!("ALTER TABLE {table} RENAME TO locks_of_a_newer")).expect("renamed");
    let error = released.release().await.expect_err("it cannot be told");
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("taken over by a newer Leasehold"), "{error}");
    drop(waits);
    let since = SystemClock.now();
    client.close().await;
    let took = SystemClock.now().since(since);
    assert!(took < Duration::from_secs(10), "{took:?}");
}
