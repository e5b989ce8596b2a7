//! The command line, as it is started.
#![allow(clippy::unwrap_used)] // these are tests

mod etcd;
#[cfg(target_os = "linux")]
mod kinds;
#[cfg(target_os = "linux")]
mod lead;
mod limits;
mod look;
mod lost;
mod once;
mod redis;
mod redlock;
mod rig;
mod run;
#[cfg(target_os = "linux")]
mod signals;
mod sql;
mod terminal;
mod ways;
