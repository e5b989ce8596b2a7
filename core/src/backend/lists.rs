//! Who waits for a lock and who shares it, as a column of a table holds them: JSON.

use std::num::ParseIntError;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Mode;
use super::record::{Address, Record, Tenant, Waiter};
use crate::name::Owner;
use crate::time::Instant;

/// Why a column cannot be read.
pub(super) type Unreadable = Box<dyn std::error::Error + Send + Sync>;

/// Who waits; nothing if that is nobody.
pub(super) fn line(record: &Record) -> serde_json::Result<Option<String>> {
    write(record.line.iter(), Place::of)
}

/// All holders if they share the lock, else nothing.
pub(super) fn sharers(record: &Record) -> serde_json::Result<Option<String>> {
    write(record.tenants.iter().filter(|tenant| tenant.mode.is_shared()), Sharer::of)
}

pub(super) fn read_line(text: &str) -> Result<Vec<Waiter>, Unreadable> {
    read(text, Place::waiter)
}

pub(super) fn read_sharers(text: &str) -> Result<Vec<Tenant>, Unreadable> {
    read(text, Sharer::tenant)
}

fn write<'a, T, J: Serialize>(
    all: impl Iterator<Item = &'a T>,
    one: impl Fn(&'a T) -> J,
) -> serde_json::Result<Option<String>>
where
    T: 'a,
{
    let all: Vec<J> = all.map(one).collect();
    if all.is_empty() { Ok(None) } else { serde_json::to_string(&all).map(Some) }
}

fn read<J: DeserializeOwned, T>(
    text: &str,
    one: impl Fn(J) -> Result<T, ParseIntError>,
) -> Result<Vec<T>, Unreadable> {
    let all: Vec<J> = serde_json::from_str(text)?;
    Ok(all.into_iter().map(one).collect::<Result<_, _>>()?)
}

/// A waiter as the column `line` holds it.
#[derive(Serialize, Deserialize)]
struct Place {
    owner: String,
    client: Address,
    label: String,
    until: u64,
    #[serde(default, skip_serializing_if = "is_exclusive")]
    mode: i64,
}

/// A holder who shares, as the column `sharers` holds it.
#[derive(Serialize, Deserialize)]
struct Sharer {
    owner: String,
    client: Address,
    label: String,
    mode: i64,
    fence: u64,
    slot: u32,
    since: u64,
    expires: u64,
}

impl Place {
    fn of(waiter: &Waiter) -> Self {
        Self {
            owner: waiter.owner.to_string(),
            client: waiter.client,
            label: (*waiter.label).into(),
            until: waiter.until.as_nanos(),
            mode: waiter.mode.code(),
        }
    }

    fn waiter(self) -> Result<Waiter, ParseIntError> {
        Ok(Waiter {
            owner: owner(&self.owner)?,
            client: self.client,
            label: self.label.into(),
            mode: Mode::from_code(self.mode),
            // Waiters are woken, not granted: they say it again.
            ttl: Duration::ZERO,
            until: Instant::from_nanos(self.until),
        })
    }
}

impl Sharer {
    fn of(tenant: &Tenant) -> Self {
        Self {
            owner: tenant.owner.to_string(),
            client: tenant.client,
            label: (*tenant.label).into(),
            mode: tenant.mode.code(),
            fence: tenant.fence,
            slot: tenant.slot,
            since: tenant.since.as_nanos(),
            expires: tenant.expires.as_nanos(),
        }
    }

    fn tenant(self) -> Result<Tenant, ParseIntError> {
        Ok(Tenant {
            owner: owner(&self.owner)?,
            client: self.client,
            label: self.label.into(),
            mode: Mode::from_code(self.mode),
            fence: self.fence,
            slot: self.slot,
            since: Instant::from_nanos(self.since),
            expires: Instant::from_nanos(self.expires),
        })
    }
}

/// An owner, as it is written in text.
pub(super) fn owner(text: &str) -> Result<Owner, ParseIntError> {
    u128::from_str_radix(text, 16).map(Owner::from_bits)
}

fn is_exclusive(code: &i64) -> bool {
    Mode::from_code(*code) == Mode::Exclusive
}
