//! The columns of a lock's row in a table; for SQLite, PostgreSQL and MySQL.

use std::sync::Arc;

use super::Mode;
use super::lists::{self, Unreadable};
use super::record::{Address, Record, Tenant};
use crate::name::Owner;
use crate::time::Instant;

/// All columns but the name. If nobody holds the lock, those about the holder are empty.
pub(super) struct Columns {
    pub(super) fence: u64,
    pub(super) owner: Option<Owner>,
    pub(super) client: Option<Address>,
    pub(super) label: Option<Arc<str>>,
    pub(super) since: Option<Instant>,
    pub(super) expires: Option<Instant>,
    pub(super) line: Option<String>,
    pub(super) sharers: Option<String>,
}

impl Columns {
    pub(super) fn of(record: &Record) -> serde_json::Result<Self> {
        // Of several holders the one that ends last: who reads only this one waits for all.
        let tenant = record.tenants.iter().max_by_key(|tenant| tenant.expires);
        Ok(Self {
            fence: record.fence,
            owner: tenant.map(|t| t.owner),
            client: tenant.map(|t| t.client),
            label: tenant.map(|t| t.label.clone()),
            since: tenant.map(|t| t.since),
            expires: tenant.map(|t| t.expires),
            line: lists::line(record)?,
            sharers: lists::sharers(record)?,
        })
    }

    pub(super) fn record(self) -> Result<Record, Unreadable> {
        let line = self.line.as_deref().map_or(Ok(Vec::new()), lists::read_line)?;
        let mut tenants = self.sharers.as_deref().map_or(Ok(Vec::new()), lists::read_sharers)?;
        if let Some(owner) = self.owner.filter(|_| tenants.is_empty()) {
            let expires = self.expires.ok_or("a holder without a time when it expires")?;
            tenants.push(Tenant {
                owner,
                client: self.client.unwrap_or(0),
                label: self.label.unwrap_or_default(),
                mode: Mode::Exclusive,
                fence: self.fence,
                slot: 0,
                since: self.since.unwrap_or(Instant::from_nanos(0)),
                expires,
            });
        }
        Ok(Record { fence: self.fence, tenants, line: line.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_who_never_expires_is_not_taken_for_one_who_has() {
        let mut row = Columns::of(&Record::after(7)).unwrap();
        row.owner = Some(Owner::from_bits(1));
        let error = row.record().unwrap_err().to_string();
        assert!(error.contains("expires"), "{error}");
    }
}
