//! The statement by which a transaction of the user's holds off a takeover.

use super::Postgres;
use crate::backend::sql::{check_table, hex};
use crate::backend::{Held, Mode};
use crate::error::Error;

impl Postgres {
    /// It locks the rows of the leases as a foreign key does: that keeps out who is to become a
    /// holder, and not a renewal. A row that another transaction has just changed is looked at
    /// again. That the lease has not expired is not asked for: until somebody else has taken the
    /// lock it is safe, and the statement goes by no clock.
    ///
    /// It runs in sessions of the user's, where a name may be looked for in schemas of others: its
    /// functions are named with theirs, and its operators are exact matches.
    pub(super) fn guard_of(&self, leases: &[&Held]) -> Result<String, Error> {
        let table = self.locks.rows.table.name();
        check_table(table)?;
        let held: Vec<String> = leases.iter().map(|held| is_held(held)).collect();
        Ok(format!(
            "SELECT CAST(CASE WHEN pg_catalog.count(*) = {} THEN '1' \
             ELSE 'the lease is lost, so this transaction must not commit' END AS pg_catalog.int4) AS held \
             FROM (SELECT FROM {table} AS t WHERE {} FOR KEY SHARE) AS held",
            leases.len(),
            held.join(" OR ")
        ))
    }
}

/// The condition for the row of a lease.
fn is_held(held: &Held) -> String {
    let (owner, fence) = (held.owner, held.fence);
    let name = hex(held.name.as_str());
    let name =
        format!("t.name = pg_catalog.convert_from(pg_catalog.decode('{name}', 'hex'), 'UTF8')");
    match held.mode {
        Mode::Exclusive => format!("({name} AND t.owner = '{owner}' AND t.fence = {fence})"),
        Mode::Shared | Mode::Counted { .. } => format!(
            "({name} AND EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(t.sharers) \
             AS one WHERE one ->> CAST('owner' AS pg_catalog.text) = '{owner}'))"
        ),
    }
}
