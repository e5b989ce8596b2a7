//! Who is compared: each takes a free lock and gives it back.

use etcd_client::{Client as Plain, Compare, CompareOp, LockOptions, PutOptions, Txn, TxnOp};
use leasehold::Client;

use crate::Failure;
use crate::rig::Rig;

/// The default of Leasehold, in seconds.
pub(crate) const TTL: i64 = 10;
/// Longer than any slice, so that nobody has to keep it alive.
pub(crate) const LONG: i64 = 3600;

pub(crate) const COUNT: usize = 4;

/// In the order of [`Contender::all`].
pub(crate) const LEASEHOLD: usize = 0;
pub(crate) const RAW: usize = 1;
pub(crate) const OTHERS: [(usize, &str); COUNT - 1] =
    [(RAW, "two raw transactions"), (2, "etcd's lock RPC"), (3, "a lease for each lock")];

#[derive(Clone)]
pub(crate) enum Contender {
    Leasehold(Client),
    /// Two transactions, with an etcd lease that exists.
    Raw(Plain, i64),
    /// etcd's own lock, which the server waits for, with an etcd lease that exists.
    Rpc(Plain, i64),
    /// An etcd lease for each lock, whose end frees it.
    LeaseEach(Plain),
}

impl Contender {
    /// Each with one connection of its own.
    pub(crate) async fn all(rig: &Rig) -> Result<[Self; COUNT], Failure> {
        let (raw, raw_lease) = with_lease(rig).await?;
        let (rpc, rpc_lease) = with_lease(rig).await?;
        Ok([
            Self::Leasehold(leasehold::connect(&rig.url()).await?),
            Self::Raw(raw, raw_lease),
            Self::Rpc(rpc, rpc_lease),
            Self::LeaseEach(plain(rig).await?),
        ])
    }

    pub(crate) async fn pair(&mut self, name: &str) -> Result<(), Failure> {
        match self {
            Self::Leasehold(client) => {
                let lease = client.lock(name).acquire().await?;
                Ok(lease.release().await?)
            }
            Self::Raw(client, lease) => {
                let created = create(client, name, *lease).await?;
                let is_ours = Compare::create_revision(name, CompareOp::Equal, created);
                let free = Txn::new().when([is_ours]).and_then([TxnOp::delete(name, None)]);
                expect(client.txn(free).await?.succeeded())
            }
            Self::Rpc(client, lease) => {
                let options = LockOptions::new().with_lease(*lease);
                let key = client.lock(name, Some(options)).await?.key().to_vec();
                client.unlock(key).await?;
                Ok(())
            }
            Self::LeaseEach(client) => {
                let lease = client.lease_grant(TTL, None).await?.id();
                create(client, name, lease).await?;
                client.lease_revoke(lease).await?;
                Ok(())
            }
        }
    }
}

/// `etcd-client` with a connection of its own.
pub(crate) async fn plain(rig: &Rig) -> Result<Plain, Failure> {
    Ok(Plain::connect([rig.endpoint()], None).await?)
}

/// The same, and an etcd lease that lasts.
pub(crate) async fn with_lease(rig: &Rig) -> Result<(Plain, i64), Failure> {
    let mut client = plain(rig).await?;
    let lease = client.lease_grant(LONG, None).await?.id();
    Ok((client, lease))
}

/// Create a key that does not exist. Answers its revision.
pub(crate) async fn create(client: &mut Plain, key: &str, lease: i64) -> Result<i64, Failure> {
    let is_free = Compare::create_revision(key, CompareOp::Equal, 0);
    let put = TxnOp::put(key, "held", Some(PutOptions::new().with_lease(lease)));
    let done = client.txn(Txn::new().when([is_free]).and_then([put])).await?;
    expect(done.succeeded())?;
    Ok(done.header().ok_or("an answer without a revision")?.revision())
}

fn expect(succeeded: bool) -> Result<(), Failure> {
    if succeeded { Ok(()) } else { Err("the raw lock was not as expected".into()) }
}
