//! A real MariaDB.
#![allow(clippy::unwrap_used)] // these are tests

mod access;
mod conformance;
mod faults;
mod guard;
mod leases;
mod limits;
mod place;
mod table;
mod waiting;
