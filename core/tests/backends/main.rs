//! The backends, by their contract and where they can be seen from outside.
#![allow(clippy::unwrap_used)] // these are tests

mod conformance;
mod etcd_cluster;
mod etcd_liar;
#[cfg(feature = "sqlite")]
mod place;
mod quorum_line;
mod quorum_names;
mod quorum_turns;
#[cfg(feature = "sqlite")]
mod sqlite_clients;
#[cfg(feature = "sqlite")]
mod sqlite_file;
#[cfg(feature = "sqlite")]
mod sqlite_users;
#[cfg(all(feature = "sqlite", target_os = "linux"))]
mod sqlite_world;
