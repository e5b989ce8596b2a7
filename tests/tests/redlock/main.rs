//! Quorums of real Redis servers.
#![allow(clippy::unwrap_used)] // these are tests

mod conformance;
mod elections;
mod founding;
mod names;
mod nodes;
mod order;
mod owed;
mod place;
mod records;
mod scripts;
mod sharing;
mod waiting;
