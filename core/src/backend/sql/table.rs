//! The table in which the locks are: its name, and what is said when something is wrong with it.

use crate::error::{Error, Kind};

/// A table, and how messages speak of it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// As SQL names it.
    pub(crate) name: String,
    /// The statements that make it.
    pub(crate) ddl: String,
    /// The layout of the rows that this version reads and writes.
    pub(crate) layout: i64,
    /// What a value of the option `table` looks like.
    pub(crate) example: &'static str,
}

impl Named {
    /// The statements that make it if it is missing, without the last semicolon.
    pub(crate) fn ddl_if_missing(&self) -> String {
        let ddl = self.ddl.replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1);
        ddl.trim_end_matches(';').to_owned()
    }

    /// `version` is what the table says of its layout.
    pub(crate) fn check_version(&self, version: i64) -> Result<(), Error> {
        if version == self.layout {
            return Ok(());
        }
        Err(Error::new(
            Kind::Refused,
            format!(
                "the table {} has layout {version}, and this version of Leasehold knows layout \
                 {}; use the version that made it, or another table (?table={})",
                self.name, self.layout, self.example
            ),
        ))
    }

    /// The error if the table has no row about itself.
    pub(crate) fn says_nothing(&self) -> Error {
        let message = format!(
            "the table {} has no row without a name, which says what it is; name another table \
             (?table={})",
            self.name, self.example
        );
        Error::new(Kind::Refused, message)
    }

    /// The error if there is no table and the user may not make it.
    pub(crate) fn missing(&self) -> Error {
        let message = format!(
            "the table {} is not there and this user may not make it; have somebody run what \
             follows, and GRANT SELECT, INSERT, UPDATE, DELETE on it, or name another table \
             (?table={}):\n{}\n",
            self.name, self.example, self.ddl
        );
        Error::new(Kind::Refused, message)
    }

    /// The error if the table was there before.
    pub(crate) fn gone(&self) -> Error {
        let message = format!(
            "the table {} is not there any more; close this client and connect again to have it \
             made",
            self.name
        );
        Error::new(Kind::Refused, message)
    }

    /// The error if the user may only read it.
    pub(crate) fn not_writable(&self) -> Error {
        let message = format!(
            "the user may not write to the table {0}: GRANT SELECT, INSERT, UPDATE, DELETE ON {0} \
             TO the user",
            self.name
        );
        Error::new(Kind::Refused, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_table_is_refused() {
        let (name, ddl) = ("x".to_owned(), "CREATE TABLE x ();".to_owned());
        let table = Named { name, ddl, layout: 1, example: "schema.name" };
        assert!(table.check_version(1).is_ok());
        let error = table.check_version(2).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains("layout 2"), "{error}");
        assert!(error.to_string().contains("?table=schema.name"), "{error}");
        assert_eq!(table.ddl_if_missing(), "CREATE TABLE IF NOT EXISTS x ()");
    }
}
