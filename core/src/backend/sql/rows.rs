//! A lock's record as a row of a server's table.

use crate::backend::columns::Columns;
use crate::backend::lists;
use crate::backend::record::Record;
use crate::error::Error;
use crate::name::Owner;
use crate::time::Instant;

/// How many wait for a lock by now, by its column `line`. What cannot be read is nobody: the lock
/// is given back, whoever waits.
pub(crate) fn waiting(line: Option<&str>, now: Instant) -> usize {
    let line = line.and_then(|line| lists::read_line(line).ok()).unwrap_or_default();
    line.iter().filter(|waiter| waiter.until > now).count()
}

/// Read the column `owner`; the error says what is there instead.
pub(crate) fn read_owner(text: Option<&str>) -> Result<Option<Owner>, String> {
    let owner = text.map(lists::owner).transpose();
    owner.map_err(|_| format!("an owner that is none: {:?}", text.unwrap_or_default()))
}

/// The columns of a row that is to be written.
pub(crate) fn columns(record: &Record) -> Result<Columns, Error> {
    Columns::of(record)
        .map_err(|e| Error::invalid("the lock cannot be written down as JSON").because(e))
}
