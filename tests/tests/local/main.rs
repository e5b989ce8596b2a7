//! What needs no server: virtual time, the embedded backend, and checks of the docs.
#![allow(clippy::unwrap_used)] // these are tests

mod api;
mod architecture;
mod closing;
mod crowd;
mod debts;
mod delay;
mod elections;
mod endings;
mod events;
mod far_away;
mod fence_check;
mod groups;
mod guard;
mod holding;
mod locked_database;
mod min_hold;
mod once;
mod own;
mod patience;
mod processes;
mod promises;
mod renew_for;
mod sharing;
mod slow_cluster;
mod tickets;
mod turns;
mod waiting;
