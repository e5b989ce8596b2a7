//! The table in which the locks are, and the statements about it.

use super::text::{Values, bytes, fill};
use crate::backend::sql::Named;
use crate::error::Error;

/// The layout of the rows that this version reads and writes.
const LAYOUT: i64 = 1;

/// Microseconds since 1970, the same all through a statement; of no time zone, and beyond 2038.
const NOW: &str = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/// A table, and what is said to it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    schema: String,
    bare: String,
    pub(super) named: Named,
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
    pub(super) around: String,
    pub(super) change: String,
    pub(super) insert: String,
    pub(super) claim: String,
    pub(super) release: String,
    pub(super) release_share: String,
    pub(super) hand_over: String,
    pub(super) renew: String,
    pub(super) renewed: String,
    pub(super) renew_share: String,
    pub(super) unlocked: String,
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
            around: about(include_str!("sql/around.sql")),
            change: about(include_str!("sql/change.sql")),
            insert: about(include_str!("sql/insert.sql")),
            claim: about(include_str!("sql/claim.sql")),
            release: about(include_str!("sql/release.sql")),
            release_share: about(include_str!("sql/release_share.sql")),
            hand_over: about(include_str!("sql/hand_over.sql")),
            renew: about(include_str!("sql/renew.sql")),
            renewed: about(include_str!("sql/renewed.sql")),
            renew_share: about(include_str!("sql/renew_share.sql")),
            unlocked: about(include_str!("sql/unlocked.sql")),
            forget: about(include_str!("sql/forget.sql")),
        };
        let ddl = about(include_str!("sql/table.sql")).trim_end().to_owned() + ";";
        let named = Named { name, ddl, layout: LAYOUT, example: "database.name" };
        Ok(Self { schema: schema.to_owned(), bare: table.to_owned(), named, sql })
    }

    /// As SQL names it.
    pub(super) fn name(&self) -> &str {
        &self.named.name
    }

    /// Its database and its name, as values.
    pub(super) fn parts(&self) -> [(&'static str, String); 2] {
        let value = |part: &str| super::text::text(part);
        [("schema", value(&self.schema)), ("bare", value(&self.bare))]
    }

    /// How it is made unless somebody else was faster.
    pub(super) fn creation(&self) -> String {
        format!("{}; SELECT $question AS question", self.named.ddl_if_missing())
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
    use crate::error::Kind;

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
        for said in [&table.sql.claim, &table.sql.read_old, &table.named.ddl] {
            assert!(!said.contains("$table") && !said.contains("$now"), "{said}");
        }
    }
}
