//! What the Redis backend stores beside the plain key of a lock.
#![allow(clippy::unwrap_used, missing_docs)] // for tests; the names say it

use crate::servers::Server;

/// Which server it was when data may have been lost last; of the usual prefix.
pub const EPOCH: &str = "leasehold:\0epoch";

/// The key of the line of those who wait for the lock with this key.
pub fn line(server: &Server, lock: &str) -> Option<String> {
    find(server, lock, 'l')
}

/// The key of the hash with the places in the line, and on a node of a quorum the fence.
pub fn side(server: &Server, lock: &str) -> Option<String> {
    find(server, lock, 's')
}

/// The key of the last fence, where it is not a node of a quorum.
pub fn fence(server: &Server, lock: &str) -> Option<String> {
    find(server, lock, 'f')
}

/// The key of those who share the lock on a node of a quorum, by when they end.
pub fn ends(server: &Server, lock: &str) -> Option<String> {
    find(server, lock, 'e')
}

/// The key of what is known there of each of them.
pub fn turn(server: &Server, lock: &str) -> Option<String> {
    find(server, lock, 't')
}

fn find(server: &Server, lock: &str, kind: char) -> Option<String> {
    let ours = format!("{lock}\0{kind}");
    server.keys().into_iter().find(|key| key.starts_with(&ours))
}

/// How many stand in the line.
pub fn waiting(server: &Server, lock: &str) -> i64 {
    let line = line(server, lock);
    line.map_or(0, |line| server.command(&["ZCARD", &line]).as_int().unwrap())
}
