//! Real servers of ZooKeeper.
#![allow(clippy::unwrap_used)] // these are tests

mod access;
mod answers;
mod conformance;
mod interop;
mod leases;
mod liar;
mod members;
mod parted;
mod place;
mod waiting;
