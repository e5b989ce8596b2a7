//! What PostgreSQL and MySQL share.
//!
//! A lock is a row of a table. The frequent requests are single statements that decide on the
//! server: taking a free lock, giving it back, renewing. Every other request reads the row,
//! decides here by the rules of [`record`](super::record), and writes the row if it still has
//! the version that was read. [`Rows`] is what each kind of server does in its own way: the
//! statements. [`Locks`] is all that is built on them.

// A build with one of the two does not use all of it.
#![cfg_attr(not(all(feature = "postgres", feature = "mysql")), allow(dead_code, unused_imports))]

use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::record::{Address, Now, Record};
use super::{Claim, Held, Released, Renewal};
use crate::name::LockName;
use crate::runtime::Runtime;

/// What is said where somebody else has a row locked.
pub(super) const LOCKED: &str = "a transaction keeps the lock's row from being changed";

mod address;
mod chores;
mod claim;
mod dial;
mod expect;
mod failure;
mod guard;
mod locks;
mod release;
mod renew;
mod rows;
mod table;

pub(super) use address::{Endpoint, Options, Parts, Place, Tls, decode, decode_host, read_port};
pub(super) use dial::{Known, entered, in_time};
pub(super) use failure::{Is, Trouble, whole};
pub(super) use guard::{check_table, hex};
pub(super) use locks::Locks;
pub(super) use rows::{columns, read_owner, waiting};
pub(super) use table::Named;

/// The rows of a table, by the statements of one kind of server. No statement is carried out
/// twice, and one that has not failed is committed.
pub(super) trait Rows: Send + Sync + 'static {
    /// It carries out statements one after the other.
    type Session: Session;

    /// Whether [`write`](Self::write) skips a row that a transaction of somebody else has locked,
    /// as if the row had changed. Otherwise it waits for that transaction, or fails.
    const SKIPS_LOCKED_ROWS: bool;

    /// For every request but renewals.
    fn requests(&self) -> &Connection<Arc<Self::Session>>;

    fn runtime(&self) -> &Arc<dyn Runtime>;

    /// Where this client hears that it is woken; 0: nowhere.
    fn address(&self) -> Address;

    /// Whether the table was made anew since the first session, so that no lease is in it.
    fn is_anew(&self) -> bool;

    /// Take a lock for one holder if it is free. One that `has_row`, as far as is known, may be
    /// taken in a shorter way, which tells nothing else.
    fn take(
        &self,
        on: &Self::Session,
        claim: &Claim,
        has_row: bool,
    ) -> impl Future<Output = Result<Taken, Trouble>> + Send;

    /// Give back what is held, alone or not; `None`, and nothing is changed, if one statement
    /// cannot decide that.
    fn free(
        &self,
        on: &Self::Session,
        held: &Held,
    ) -> impl Future<Output = Result<Option<Released>, Trouble>> + Send;

    /// Give it back and take it for the next owner, whose fence is the answer; `None`, and
    /// nothing is changed, if one statement cannot decide that.
    fn hand_over(
        &self,
        on: &Self::Session,
        held: &Held,
        then: &Claim,
    ) -> impl Future<Output = Result<Option<u64>, Trouble>> + Send;

    fn read(
        &self,
        on: &Self::Session,
        name: &LockName,
    ) -> impl Future<Output = Result<Seen, Trouble>> + Send;

    fn read_many(
        &self,
        on: &Self::Session,
        which: Which<'_>,
    ) -> impl Future<Output = Result<Vec<Seen>, Trouble>> + Send;

    /// Look at the next `most` rows after this name for those that nobody has used for a day.
    fn old(
        &self,
        on: &Self::Session,
        after: &str,
        most: usize,
    ) -> impl Future<Output = Result<Old, Trouble>> + Send;

    /// The last name of a row up to this one, and the first behind it.
    fn around(
        &self,
        on: &Self::Session,
        name: &str,
    ) -> impl Future<Output = Result<[Option<String>; 2], Trouble>> + Send;

    /// Write a row; answers false, and changes nothing, if it is not as it was seen any more.
    fn write(
        &self,
        on: &Self::Session,
        change: &Change<'_>,
    ) -> impl Future<Output = Result<bool, Trouble>> + Send;

    /// Restart the ttls of leases; answers for each in its place whether it is still held.
    /// If it `waits`, it waits a moment for rows that a transaction of somebody else has
    /// locked, and [fails](Is::Locked) when that was not enough. Else it does without these
    /// rows: of them the answer is [`Renewal::Unknown`].
    fn renew(
        &self,
        on: &Self::Session,
        leases: &[&Held],
        waits: bool,
    ) -> impl Future<Output = Result<Vec<Renewal>, Trouble>> + Send;

    /// Drop rows that are still as they were seen, and remember their largest fence.
    fn forget(
        &self,
        on: &Self::Session,
        seen: &[Seen],
    ) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// One session with a server.
pub(super) trait Session: Send + Sync + 'static {
    /// Which attempt of its connection has opened it, counted from 1.
    fn number(&self) -> u64;

    fn age(&self) -> Duration;

    /// Whether a row that somebody else has locked is waited for for a moment only. Of a pooler's
    /// session nobody knows.
    fn limits_waits(&self) -> bool;

    /// Whether it can be asked, as far as can be known.
    fn is_alive(&self) -> impl Future<Output = bool> + Send;
}

/// A lock as it was at some moment.
pub(super) struct Seen {
    /// The name that was asked for.
    pub(super) name: String,
    /// The server's clock then, or shortly before.
    pub(super) now: Now,
    /// `None`: it had no row.
    pub(super) version: Option<i64>,
    /// The largest fence of all rows that were dropped by then.
    pub(super) forgotten: i64,
    pub(super) record: Record,
}

/// What is old among some rows.
pub(super) struct Old {
    /// Those that can be read.
    pub(super) rows: Vec<Seen>,
    /// The last name that was looked at, if there may be more.
    pub(super) last: Option<String>,
}

/// What the statement that takes a free lock came to.
pub(super) enum Taken {
    Granted(u64),
    /// Not granted. The lock was like this at about that time.
    Seen(Seen),
    /// Not granted, or it has no row.
    Unseen,
}

/// Which rows are read.
pub(super) enum Which<'a> {
    /// Those that are held or waited for.
    Used,
    Named(Vec<&'a str>),
}

impl Which<'_> {
    /// Of many rows that nobody has named, one that somebody else has written does not hide the
    /// others.
    pub(super) fn skips_unreadable(&self) -> bool {
        matches!(self, Self::Used)
    }
}

/// What is to be written in place of a row.
pub(super) struct Change<'a> {
    /// The row as it was read.
    pub(super) seen: &'a Seen,
    pub(super) record: &'a Record,
    /// Who is woken once it is written.
    pub(super) told: &'a [Address],
    /// For so long, statements that were sent before and arrive late change nothing, if they are
    /// not about one version of the row.
    pub(super) careful: Option<Duration>,
    /// Whether somebody becomes the holder.
    pub(super) grants: bool,
}
