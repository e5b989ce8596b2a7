//! Quorums of real Redis servers.
#![allow(clippy::unwrap_used)] // these are tests

mod conformance;
mod founding;
mod nodes;
mod order;
mod place;
mod records;
mod scripts;
mod waiting;
