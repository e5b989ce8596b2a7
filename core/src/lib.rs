//! Lease locks with fencing tokens, for programs that must agree that only one
//! of them does a thing.
//!
//! A [`Client`] is an open connection to a backend, a [`Lock`] is a name plus
//! options, and a [`Lease`] is the thing you hold: it is renewed in the
//! background, and ends by itself when its holder dies.
//!
//! ```
//! # async fn pay(_fence: u64) {}
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), leasehold::Error> {
//! use std::time::Duration;
//!
//! let client = leasehold::connect("memory:").await?;
//! let lease = client.lock("invoices/42").ttl(Duration::from_secs(10)).acquire().await?;
//! pay(lease.fence()).await;
//! lease.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Lock::run`] ties the work to the lease: the work is dropped when the
//! lease is lost.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), leasehold::Error> {
//! # let client = leasehold::connect("memory:").await?;
//! let nightly = client.lock("nightly");
//! let report = nightly.run(async |lease| format!("made under {}", lease.fence())).await?;
//! assert!(report.starts_with("made under 1"));
//! # Ok(())
//! # }
//! ```
//!
//! [`Election::lead`] does so again and again, and shows others who leads.
//!
//! ```
//! # async fn serve(_term: u64) {}
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), leasehold::Error> {
//! # let client = leasehold::connect("memory:").await?;
//! let election = client.election("scheduler").value("10.0.0.7:8080");
//! election.lead(async |term| serve(term.number()).await).await?;
//! assert!(election.leader().await?.is_none());
//! # Ok(())
//! # }
//! ```
//!
//! # The fence
//!
//! No lock can stop a write that is already on its way when its lease ends. So
//! every grant has a [fencing token](Lease::fence), larger than all before it
//! for that name. Send it along with every operation on what the lock protects,
//! *reads included*, and let that refuse a smaller one than it has seen; in SQL,
//! `UPDATE … SET fence = $1 … WHERE fence <= $1`. See Kleppmann, *How to do
//! distributed locking* (2016).
//!
//! # Time
//!
//! A lease is valid until `sent + ttl − (2 % of ttl + 5 ms)`, where `sent` is
//! the moment before the request left. The clock counts suspended time and
//! never jumps. Renewals run at a third of the ttl on a thread of the client's
//! own, so that a busy event loop does not lose leases; all futures of this
//! crate can be polled by any executor. When renewals fail, the lease is
//! reported [lost](Lease::lost) 10 % of the ttl before it ends.
//!
//! # Runtimes
//!
//! Any executor can poll the futures of this crate. Whoever waits for an answer
//! of Redis reads it, so that no other thread has to be woken: a Tokio runtime,
//! which must have I/O enabled (as `#[tokio::main]` has it), and a thread without
//! one that waits with [`block_on`]. With other executors the client's own thread
//! reads. It does so too, after 5 ms or 10, where whoever has to read is blocked.
//!
//! # Errors
//!
//! One [`Error`] with a [`Kind`] from a closed list, a stable
//! [`code`](Error::code), and the [`Outcome`]: what you hold now. A busy lock
//! and a broken backend are never confused: `timeout` is the one,
//! `unavailable` the other, and [`Lock::try_acquire`] answers `None` when the
//! lock is busy.
//!
//! # Features
//!
//! `sqlite`, `redis`, `etcd`, `zookeeper`, `postgres`, `mysql` and `tls` (all by default): the
//! embedded backend, one Redis server or a quorum of them, an etcd cluster, a ZooKeeper
//! ensemble, a database, and encryption to them.
//! `testing`: the conformance suite for authors of backends.
#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("Leasehold runs on Linux and macOS; its clock and sockets need a Unix");

mod anchor;
pub mod backend;
mod block;
mod client;
mod deadlocks;
mod election;
mod engine;
mod error;
mod event;
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only Redis lends its connections"))]
pub mod host;
mod leaders;
mod lease;
mod leases;
mod lock;
mod locks;
mod name;
mod once;
pub mod runtime;
mod settings;
mod target;
#[cfg(feature = "testing")]
pub mod testing;
mod ticket;
pub mod time;
mod together;

pub use backend::{Holder, Status};
pub use client::{Client, Options, connect, ddl};
pub use deadlocks::{Deadlock, Wait};
pub use election::{Election, Leader, Term};
pub use engine::Loss;
pub use error::{Error, Kind, Outcome};
pub use event::{Event, Events, What};
pub use host::block_on;
pub use leaders::Leaders;
pub use lease::{Lease, Watch};
pub use leases::Leases;
pub use lock::Lock;
pub use locks::Locks;
pub use name::{LockName, Owner};
pub use once::{Once, Run, Skip};
pub use ticket::Ticket;
