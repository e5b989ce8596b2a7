//! The backends, by their contract and where they can be seen from outside.
#![allow(clippy::unwrap_used)] // these are tests

mod conformance;
mod etcd_cluster;
#[cfg(feature = "sqlite")]
mod place;
mod quorum_line;
#[cfg(feature = "sqlite")]
mod sqlite_clients;
#[cfg(feature = "sqlite")]
mod sqlite_file;
#[cfg(feature = "sqlite")]
mod sqlite_users;
#[cfg(all(feature = "sqlite", target_os = "linux"))]
mod sqlite_world;
