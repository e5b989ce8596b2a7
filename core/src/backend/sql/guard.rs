//! What the guards of all databases have in common.

use std::fmt::Write;

use crate::error::{Error, Kind};

/// What a driver or a layer above it may take for its own before the server sees it: places for
/// parameters, escapes. A guard has none of them, so that each runs it as it is.
const TREATED: [char; 8] = ['%', '?', ':', '$', '{', '}', '\\', '@'];

/// Whether a guard can name this table.
pub(crate) fn check_table(table: &str) -> Result<(), Error> {
    match table.chars().find(|c| TREATED.contains(c)) {
        None => Ok(()),
        Some(c) => {
            let message = format!(
                "the name of the table {table} has {c:?}, which drivers take for a part of their \
                 own syntax, so no guard can name it; use another table (?table=…)"
            );
            Err(Error::new(Kind::Unsupported, message))
        }
    }
}

/// The name of a lock as digits, whatever is in it.
pub(crate) fn hex(name: &str) -> String {
    let mut hex = String::with_capacity(name.len() * 2);
    for byte in name.bytes() {
        // A String takes everything.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_whose_name_a_driver_would_change_is_refused() {
        assert!(check_table("\"my schema\".\"a\"\"b\"").is_ok());
        for c in TREATED {
            let error = check_table(&format!("a{c}b")).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported, "{c}");
        }
    }
}
