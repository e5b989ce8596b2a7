//! Who is compared: each takes a free lock and gives it back, or is told that it is not free.

use std::sync::Arc;

use leasehold::Client;

use crate::Failure;
use crate::plain::{Plain, Statement};
use crate::rig::Rig;

pub(crate) const COUNT: usize = 4;

/// In the order of [`Contender::all`].
pub(crate) const LEASEHOLD: usize = 0;
pub(crate) const BARE: usize = 1;
pub(crate) const SHEDLOCK: usize = 3;

#[derive(Clone)]
pub(crate) enum Contender {
    Leasehold(Client),
    /// Rows that are changed by their keys.
    Bare(Arc<Plain>),
    /// Locks of the server itself.
    Advisory(Arc<Plain>),
    /// The statements of ShedLock.
    Shedlock(Arc<Plain>),
}

impl Contender {
    /// Each with a client of its own.
    pub(crate) async fn all(rig: &Rig) -> Result<[Self; COUNT], Failure> {
        let plain = async || Ok::<_, Failure>(Arc::new(Plain::connect(&rig.url()).await?));
        Ok([
            Self::Leasehold(leasehold::connect(&rig.url()).await?),
            Self::Bare(plain().await?),
            Self::Advisory(plain().await?),
            Self::Shedlock(plain().await?),
        ])
    }

    /// Have a row for a lock, where one has to make it.
    pub(crate) async fn prepare(&self, name: &str) -> Result<(), Failure> {
        match self {
            Self::Bare(plain) => drop(plain.execute(Statement::Insert, name).await?),
            // It remembers that it has done so, and sends no more of these for that name.
            Self::Shedlock(plain) => {
                plain.execute(Statement::ShedInsert, name).await?;
                plain.execute(Statement::ShedGive, name).await?;
            }
            Self::Leasehold(_) | Self::Advisory(_) => {}
        }
        Ok(())
    }

    pub(crate) async fn pair(&self, name: &str) -> Result<(), Failure> {
        let (plain, take, give) = match self {
            Self::Leasehold(client) => {
                let lease = client.lock(name).acquire().await?;
                return Ok(lease.release().await?);
            }
            Self::Bare(plain) => (plain, Statement::Take, Statement::Give),
            Self::Advisory(plain) => (plain, Statement::TryLock, Statement::Unlock),
            Self::Shedlock(plain) => (plain, Statement::ShedTake, Statement::ShedGive),
        };
        let taken = plain.execute(take, name).await?;
        let given = plain.execute(give, name).await?;
        match matches!(self, Self::Advisory(_)) || (taken, given) == (1, 1) {
            true => Ok(()),
            false => Err(format!("{name} was not free").into()),
        }
    }

    /// Hold a lock for the others.
    pub(crate) async fn hold(&self, name: &str) -> Result<Option<leasehold::Lease>, Failure> {
        match self {
            Self::Leasehold(client) => {
                let long = std::time::Duration::from_secs(3600);
                return Ok(Some(client.lock(name).ttl(long).acquire().await?));
            }
            Self::Bare(plain) => drop(plain.execute(Statement::Take, name).await?),
            Self::Advisory(plain) => drop(plain.execute(Statement::TryLock, name).await?),
            Self::Shedlock(plain) => drop(plain.execute(Statement::ShedTake, name).await?),
        }
        Ok(None)
    }

    /// Ask for a lock that somebody else holds.
    pub(crate) async fn ask(&self, name: &str) -> Result<(), Failure> {
        let taken = match self {
            Self::Leasehold(client) => client.lock(name).try_acquire().await?.is_some(),
            // What it says is not looked at.
            Self::Bare(plain) => plain.execute(Statement::Select, name).await? > 1,
            Self::Advisory(plain) => plain.execute(Statement::TryLock, name).await? > 1,
            Self::Shedlock(plain) => plain.execute(Statement::ShedTake, name).await? == 1,
        };
        if taken { Err(format!("{name} was free").into()) } else { Ok(()) }
    }
}
