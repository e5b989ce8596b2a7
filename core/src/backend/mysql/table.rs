//! The table in which the locks are, and the statements about it.

use super::text::{Values, bytes, fill};
use crate::error::{Error, Kind};

/// The layout of the rows that this version reads and writes.
pub(super) const VERSION: i64 = 1;

/// Microseconds since 1970, the same all through a statement; of no time zone, and beyond 2038.
const NOW: &str = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/// A table, and what is said to it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    schema: String,
    bare: String,
    /// Schema and name, quoted.
    name: String,
    pub(super) sql: Statements,
}

/// All statements, with the name of the table in them.
#[derive(Clone, Debug)]
pub(super) struct Statements {
    pub(super) settings: String,
    pub(super) server: String,
    pub(super) about: String,
    pub(super) writes: String,
    pub(super) read: String,
    pub(super) read_many: String,
    pub(super) read_old: String,
    pub(super) change: String,
    pub(super) insert: String,
    pub(super) claim: String,
    pub(super) release: String,
    pub(super) hand_over: String,
    pub(super) renew: String,
    pub(super) renewed: String,
    pub(super) renew_shares: String,
    pub(super) forget: String,
}

impl Table {
    /// `name` is a table in the database `schema`, or `database.name`. Both are taken as they
    /// are written, as if they were quoted.
    pub(super) fn named(name: &str, schema: &str) -> Result<Self, Error> {
        let (schema, table) = name.split_once('.').unwrap_or((schema, name));
        let is_name = |part: &str| {
            let letters = part.chars().count();
            (1..=64).contains(&letters) && !part.contains(['.', '/', '\\', '\0', '$'])
        };
        if !is_name(schema) || !is_name(table) {
            let message = format!("table={name} in the URL is not a table such as database.name");
            return Err(Error::invalid(message));
        }
        let name = format!("{}.{}", quoted(schema), quoted(table));
        let about = |sql: &str| statement(sql, &name);
        let sql = Statements {
            settings: about(include_str!("sql/settings.sql")),
            server: about(include_str!("sql/server.sql")),
            about: about(include_str!("sql/about.sql")),
            writes: about(include_str!("sql/writes.sql")),
            read: about(include_str!("sql/read.sql")),
            read_many: about(include_str!("sql/read_many.sql")),
            read_old: about(include_str!("sql/read_old.sql")),
            change: about(include_str!("sql/change.sql")),
            insert: about(include_str!("sql/insert.sql")),
            claim: about(include_str!("sql/claim.sql")),
            release: about(include_str!("sql/release.sql")),
            hand_over: about(include_str!("sql/hand_over.sql")),
            renew: about(include_str!("sql/renew.sql")),
            renewed: about(include_str!("sql/renewed.sql")),
            renew_shares: about(include_str!("sql/renew_shares.sql")),
            forget: about(include_str!("sql/forget.sql")),
        };
        Ok(Self { schema: schema.to_owned(), bare: table.to_owned(), name, sql })
    }

    /// As SQL names it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its database and its name, as values.
    pub(super) fn parts(&self) -> [(&'static str, String); 2] {
        let value = |part: &str| super::text::text(part);
        [("schema", value(&self.schema)), ("bare", value(&self.bare))]
    }

    /// How it is made, to be run by whoever may.
    pub(super) fn ddl(&self) -> String {
        statement(include_str!("sql/table.sql"), &self.name).trim_end().to_owned() + ";"
    }

    /// The same unless somebody else was faster.
    pub(super) fn creation(&self) -> String {
        let ddl = self.ddl().replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1);
        format!("{ddl} SELECT $question AS question")
    }

    /// What it says of itself, if it is one of ours.
    pub(super) fn check_version(&self, version: i64) -> Result<(), Error> {
        if version == VERSION {
            return Ok(());
        }
        let message = match version {
            0 => format!(
                "the table {} has no row without a name, which says what it is; name another \
                 table (?table=database.name)",
                self.name
            ),
            _ => format!(
                "the table {} has layout {version}, and this version of Leasehold knows layout \
                 {VERSION}; use the version that made it, or another table (?table=database.name)",
                self.name
            ),
        };
        Err(Error::new(Kind::Refused, message))
    }

    /// There is none, and it could not be made.
    pub(super) fn missing(&self) -> String {
        format!(
            "the table {} is not there and this user may not make it; have somebody run what \
             follows, and GRANT SELECT, INSERT, UPDATE, DELETE on it, or name another table \
             (?table=database.name):\n{}\n",
            self.name,
            self.ddl()
        )
    }
}

/// What is said to a table of this name. Comments stay here.
fn statement(sql: &str, table: &str) -> String {
    let lines = sql.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    let values: Values<'_> = &[("table", table.to_owned()), ("now", NOW.to_owned())];
    fill(&lines, values)
}

/// A name of a lock, as the statements take it.
pub(super) fn named(name: &str) -> String {
    bytes(name.as_bytes())
}

fn quoted(part: &str) -> String {
    format!("`{}`", part.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_stay_inside() {
        let table = Table::named("my schema.a`b", "jobs").unwrap();
        assert_eq!(table.name(), "`my schema`.`a``b`");
        assert_eq!(Table::named("x", "jobs").unwrap().name(), "`jobs`.`x`");
        for name in ["", ".", "a.", ".b", "a.b.c", "a/b", &"x".repeat(65)] {
            assert_eq!(Table::named(name, "jobs").unwrap_err().kind(), Kind::Invalid, "{name:?}");
        }
        assert!(table.sql.claim.starts_with("UPDATE"), "{}", table.sql.claim);
        assert!(table.sql.claim.contains("`my schema`.`a``b`"));
        for said in [&table.sql.claim, &table.sql.read_old, &table.ddl()] {
            assert!(!said.contains("$table") && !said.contains("$now"), "{said}");
        }
    }

    #[test]
    fn a_newer_table_is_refused() {
        let table = Table::named("x", "jobs").unwrap();
        assert!(table.check_version(VERSION).is_ok());
        let error = table.check_version(VERSION + 1).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains("layout 2"), "{error}");
    }
}
