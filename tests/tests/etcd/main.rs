//! Real etcd clusters.
#![allow(clippy::unwrap_used)] // these are tests

mod access;
mod conformance;
mod elections;
mod leases;
mod liar;
mod members;
mod place;
mod sharing;
mod tickets;
mod waiting;
