//! The statement by which a transaction of the user's holds off a takeover.

use super::Mysql;
use crate::backend::sql::{check_table, hex};
use crate::backend::{Held, Mode};
use crate::error::{Error, Kind};

impl Mysql {
    /// It locks the entries of the leases in the index `guard`, and not their rows: a renewal
    /// leaves that index alone, a takeover has to change it. All of an entry is given, so nothing
    /// else is locked at READ COMMITTED. At the other levels MariaDB locks the gap before it, too.
    /// The fence stands first in the index, so that new entries come at its end and not there.
    ///
    /// That the lease has not expired is not asked for: until somebody else has taken the lock it
    /// is safe, and the statement goes by no clock.
    pub(super) fn guard_of(&self, leases: &[&Held]) -> Result<String, Error> {
        let table = self.locks.rows.table.name();
        check_table(table)?;
        if leases.iter().any(|held| held.mode != Mode::Exclusive) {
            let message = "MySQL and MariaDB keep those who share a lock in one text, so there is \
                           nothing that a guard of one of them could lock; send lease.fence() \
                           with each write";
            return Err(Error::new(Kind::Unsupported, message));
        }
        let entry = |held: &&Held| {
            let (name, owner, fence) = (hex(held.name.as_str()), held.owner, held.fence);
            format!(
                "(SELECT COUNT(*) FROM {table} FORCE INDEX (guard) WHERE fence = {fence} \
                 AND name = X'{name}' AND owner = '{owner}' LOCK IN SHARE MODE)"
            )
        };
        let held: Vec<String> = leases.iter().map(entry).collect();
        // EXP(710) is out of range, and the error names what is.
        Ok(format!(
            "SELECT EXP(710 * guard.lease_is_lost_so_this_transaction_must_not_commit) AS held \
             FROM (SELECT {} <> {} AS lease_is_lost_so_this_transaction_must_not_commit) AS guard",
            held.join(" + "),
            leases.len()
        ))
    }
}
