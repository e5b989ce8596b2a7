//! A real PostgreSQL.
#![allow(clippy::unwrap_used)] // these are tests

mod access;
mod conformance;
mod faults;
mod guard;
mod leases;
mod place;
mod recipe;
mod table;
mod waiting;
