//! A real MariaDB.
#![allow(clippy::unwrap_used)] // these are tests

mod access;
mod conformance;
mod dialect;
mod guard;
mod leases;
mod limits;
#[path = "../sql/place.rs"]
mod place;
#[path = "../sql/mod.rs"]
mod sql;
mod table;
mod waiting;
