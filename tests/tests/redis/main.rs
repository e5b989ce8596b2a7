//! One Redis or Valkey server, the real thing.
#![allow(clippy::unwrap_used)] // these are tests

mod broken_connections;
mod conformance;
mod connection;
mod dead_waiters;
mod elections;
mod facts_giving_back;
mod facts_granting;
mod facts_holding;
mod facts_waiting;
mod idle_names;
mod interop;
mod liars;
mod loans;
mod lost_messages;
mod outages;
mod place;
mod quarantine;
mod records;
mod refusals;
mod resting;
mod sharing;
mod strangers;
mod tickets;
