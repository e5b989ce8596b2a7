//! A real PostgreSQL.
#![allow(clippy::unwrap_used)] // these are tests

mod access;
mod conformance;
mod failover;
mod faults;
mod guard;
mod leases;
mod limits;
mod place;
mod pooler;
mod recipe;
mod search_path;
mod table;
mod waiting;
