//! Lease locks with fencing tokens: one holder at a time, a waiter woken the
//! moment the lock is free, work stopped before the lease runs out.
#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("Leasehold runs on Linux and macOS; its clock and sockets need a Unix");

pub mod backend;
mod client;
mod engine;
mod error;
mod lease;
mod lock;
mod name;
pub mod runtime;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;

pub use backend::{Holder, Status};
pub use client::{Client, Options, connect};
pub use engine::Loss;
pub use error::{Error, Kind, Outcome};
pub use lease::Lease;
pub use lock::Lock;
pub use name::{LockName, Owner};
