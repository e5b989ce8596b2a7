//! A database of a test's own, and what the tests ask of it. Times are real;
//! whatever has a bound has a generous one.

mod process;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::{Client, Error, Kind, Lease, Status, connect};

pub(crate) use process::{Process, serve};

/// A bound for broken code; nothing has to be fast.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// No renewal and no expiry within a test.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) static RUNTIME: LazyLock<Arc<ThreadRuntime>> =
    LazyLock::new(|| ThreadRuntime::start().expect("a thread"));

/// A directory of a test's own, for one database.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) db: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let db = dir.path().join("locks.db");
        Self { dir, db }
    }

    pub(crate) fn holding(bytes: &[u8]) -> Self {
        let place = Self::new();
        std::fs::write(&place.db, bytes).expect("a file");
        place
    }

    pub(crate) async fn client(&self) -> Client {
        connect(&url(&self.db)).await.expect("a client")
    }

    /// The file as it is with everything in it that was committed.
    pub(crate) async fn bytes(&self) -> Vec<u8> {
        let _client = self.client().await;
        let db = rusqlite::Connection::open(&self.db).expect("a database");
        db.busy_timeout(LIMIT).expect("a timeout");
        // It is busy too while others run one.
        until("a checkpoint", async || {
            let checkpoint = "PRAGMA wal_checkpoint(FULL)";
            let is_busy = db.query_row(checkpoint, [], |row| row.get::<_, bool>(0));
            !is_busy.expect("a checkpoint")
        })
        .await;
        std::fs::read(&self.db).expect("a file")
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn bells(&self) -> PathBuf {
        self.path().join("locks.db-bells")
    }

    pub(crate) fn sockets(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.bells()).expect("a directory").flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "world").collect()
    }
}

pub(crate) fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = event => done,
        () = RUNTIME.sleep(LIMIT) => panic!("not within {LIMIT:?}: {what}"),
    }
}

pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !done().await {
            RUNTIME.sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, poll).await;
}

/// Drive `waiting` until `count` wait for the lock of this name.
pub(crate) async fn in_line(
    waiting: &mut (impl Future + Unpin),
    observer: &Client,
    lock: &str,
    count: usize,
) {
    let seen = until("a place in the line", async || {
        let status = observer.status(lock).await.expect("a status");
        status.is_some_and(|status| status.waiters.len() == count)
    });
    tokio::select! {
        biased;
        _ = waiting => panic!("it was to wait"),
        () = seen => {}
    }
}

pub(crate) async fn take(client: &Client, lock: &str) -> Lease {
    client.lock(lock).ttl(HOUR).acquire().await.expect("a lease")
}

pub(crate) async fn is_free(client: &Client, lock: &str) -> bool {
    client.lock(lock).try_acquire().await.expect("an answer").is_some()
}

pub(crate) async fn status(client: &Client, lock: &str) -> Status {
    client.status(lock).await.expect("a status").expect("it is in use")
}

#[track_caller]
pub(crate) fn assert_says<T: std::fmt::Debug>(
    result: Result<T, Error>,
    kind: Kind,
    words: &[&str],
) {
    let error = result.expect_err("an error");
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}
