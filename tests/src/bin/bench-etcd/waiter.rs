//! Clients between which a lock goes round, each with a connection of its own.

use std::time::Duration;

use etcd_client::{Client as Plain, LockOptions, WatchStream};
use leasehold::time::Instant;
use leasehold::{Lease, Lock};

use crate::Failure;
use crate::clock::{now, pause};
use crate::contender::{plain, with_lease};
use crate::rig::Rig;

/// By what the lock is handed over.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    Leasehold,
    Token,
    Rpc,
}

/// When somebody held the lock.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) acquired: Instant,
    pub(crate) releasing: Instant,
}

pub(crate) enum Waiter {
    Lock(Lock, Option<Lease>),
    /// The shortest way that etcd offers: whoever holds the token writes the key
    /// that the next one watches.
    Token {
        client: Plain,
        watch: Box<WatchStream>,
        next: String,
    },
    Rpc {
        client: Plain,
        name: String,
        lease: i64,
        held: Vec<u8>,
    },
}

impl Waiter {
    pub(crate) async fn all(
        rig: &Rig,
        who: Who,
        name: &str,
        number: usize,
    ) -> Result<Vec<Self>, Failure> {
        let mut all = Vec::new();
        for index in 0..number {
            all.push(match who {
                Who::Leasehold => {
                    Self::Lock(leasehold::connect(&rig.url()).await?.lock(name), None)
                }
                Who::Token => {
                    let mut client = plain(rig).await?;
                    let watch = client.watch(format!("{name}/{index}"), None).await?;
                    let mut watch = Box::new(watch);
                    // It says that it is there.
                    watch.message().await?;
                    let next = format!("{name}/{}", (index + 1) % number);
                    Self::Token { client, watch, next }
                }
                Who::Rpc => {
                    let (client, lease) = with_lease(rig).await?;
                    Self::Rpc { client, name: name.to_owned(), lease, held: Vec::new() }
                }
            });
        }
        if let Some(Self::Token { client, next, .. }) = all.last_mut() {
            client.put(next.as_str(), "token", None).await?;
        }
        Ok(all)
    }

    /// Take turns with the others until a time.
    pub(crate) async fn turns(
        mut self,
        hold: Duration,
        end: Instant,
    ) -> Result<Vec<Turn>, Failure> {
        let mut turns = Vec::with_capacity(4096);
        loop {
            let turn = self.turn(hold).await?;
            turns.push(turn);
            // Only now, so that nobody keeps what others wait for.
            if turn.releasing >= end {
                return Ok(turns);
            }
        }
    }

    pub(crate) async fn turn(&mut self, hold: Duration) -> Result<Turn, Failure> {
        self.take().await?;
        let acquired = now();
        if !hold.is_zero() {
            pause(hold).await;
        }
        let releasing = now();
        self.give().await?;
        Ok(Turn { acquired, releasing })
    }

    pub(crate) async fn take(&mut self) -> Result<(), Failure> {
        match self {
            Self::Lock(lock, lease) => *lease = Some(lock.acquire().await?),
            Self::Token { watch, .. } => {
                watch.message().await?.ok_or("the watch has ended")?;
            }
            Self::Rpc { client, name, lease, held } => {
                let options = LockOptions::new().with_lease(*lease);
                *held = client.lock(name.as_str(), Some(options)).await?.key().to_vec();
            }
        }
        Ok(())
    }

    pub(crate) async fn give(&mut self) -> Result<(), Failure> {
        match self {
            Self::Lock(_, lease) => {
                if let Some(lease) = lease.take() {
                    lease.release().await?;
                }
            }
            Self::Token { client, next, .. } => {
                client.put(next.as_str(), "token", None).await?;
            }
            Self::Rpc { client, held, .. } => {
                client.unlock(held.as_slice()).await?;
            }
        }
        Ok(())
    }
}

/// From the call of a release to the return of the next acquisition, and what all
/// of them took.
pub(crate) fn hand_overs(mut turns: Vec<Turn>) -> (Vec<Duration>, Duration) {
    turns.sort_by_key(|turn| turn.acquired);
    let times = turns.windows(2).map(|two| two[1].acquired.since(two[0].releasing)).collect();
    let span = match (turns.first(), turns.last()) {
        (Some(first), Some(last)) => last.acquired.since(first.acquired),
        _ => Duration::ZERO,
    };
    (times, span)
}
