//! A real PostgreSQL.
#![allow(clippy::unwrap_used)] // these are tests

mod access;
mod conformance;
mod dialect;
mod failover;
mod faults;
mod guard;
mod leases;
mod limits;
#[path = "../sql/place.rs"]
mod place;
mod pooler;
mod recipe;
mod search_path;
#[path = "../sql/mod.rs"]
mod sql;
mod table;
mod waiting;
