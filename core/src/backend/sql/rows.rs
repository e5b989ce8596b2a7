//! A lock's record as a row of a server's table.

use crate::backend::columns::Columns;
use crate::backend::lists;
use crate::backend::record::Record;
use crate::error::Error;
use crate::name::Owner;

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
