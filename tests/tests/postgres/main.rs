//! A real PostgreSQL.
#![allow(clippy::unwrap_used)] // these are tests

mod conformance;
