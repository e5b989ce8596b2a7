//! The table in which the locks are, and the statements about it.

use crate::backend::sql::Named;
use crate::error::Error;

/// The layout of the rows that this version reads and writes.
const LAYOUT: i64 = 1;

/// A table, and what is said to it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) named: Named,
    pub(super) sql: Statements,
}

/// All statements, with the name of the table in them.
#[derive(Clone, Debug)]
pub(super) struct Statements {
    pub(super) server: String,
    pub(super) about: String,
    pub(super) read: String,
    pub(super) read_many: String,
    pub(super) read_old: String,
    pub(super) around: String,
    pub(super) change: String,
    pub(super) insert: String,
    pub(super) claim: String,
    pub(super) take: String,
    pub(super) release: String,
    pub(super) release_share: String,
    pub(super) hand_over: String,
    pub(super) renew: String,
    pub(super) renew_waiting: String,
    pub(super) renew_shares: String,
    pub(super) renew_shares_waiting: String,
    pub(super) forget: String,
}

impl Table {
    /// `name` is a table in the schema `public`, or `schema.name`. Both are taken as they are
    /// written, as if they were quoted.
    pub(super) fn named(name: &str) -> Result<Self, Error> {
        let (schema, table) = name.split_once('.').unwrap_or(("public", name));
        let is_name =
            |part: &str| !part.is_empty() && part.len() < 64 && !part.contains(['.', '\0']);
        if !is_name(schema) || !is_name(table) {
            let message = format!("table={name} in the URL is not a table such as schema.name");
            return Err(Error::invalid(message));
        }
        let name = format!("{}.{}", quoted(schema), quoted(table));
        let about = |sql: &str| statement(sql, &name);
        let sql = Statements {
            server: about(include_str!("sql/server.sql")),
            about: about(include_str!("sql/about.sql")),
            read: about(include_str!("sql/read.sql")),
            read_many: about(include_str!("sql/read_many.sql")),
            read_old: about(include_str!("sql/read_old.sql")),
            around: about(include_str!("sql/around.sql")),
            change: about(include_str!("sql/change.sql")),
            insert: about(include_str!("sql/insert.sql")),
            claim: about(include_str!("sql/claim.sql")),
            take: about(include_str!("sql/take.sql")),
            release: about(include_str!("sql/release.sql")),
            release_share: about(include_str!("sql/release_share.sql")),
            hand_over: about(include_str!("sql/hand_over.sql")),
            renew: about(include_str!("sql/renew.sql")),
            renew_waiting: about(&waiting(include_str!("sql/renew.sql"))),
            renew_shares: about(include_str!("sql/renew_shares.sql")),
            renew_shares_waiting: about(&waiting(include_str!("sql/renew_shares.sql"))),
            forget: about(include_str!("sql/forget.sql")),
        };
        let ddl = about(include_str!("sql/table.sql")).trim_end().to_owned() + ";";
        let named = Named { name, ddl, layout: LAYOUT, example: "schema.name" };
        Ok(Self { named, sql })
    }

    /// As SQL names it.
    pub(super) fn name(&self) -> &str {
        &self.named.name
    }

    /// How it is made unless somebody else was faster, in one transaction.
    pub(super) fn creation(&self) -> String {
        let lock = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('leasehold'), \
                    pg_catalog.hashtext";
        let (name, ddl) = (literal(self.name()), self.named.ddl_if_missing());
        // Many may come first, each after the other.
        format!(
            "SET LOCAL lock_timeout = 0;\n{lock}({name}));\n{ddl}\nON CONFLICT (name) DO NOTHING;"
        )
    }
}

/// What a session of ours is told before any table is known.
pub(super) fn settings() -> String {
    statement(include_str!("sql/settings.sql"), "")
}

/// What is said to a table of this name.
fn statement(sql: &str, table: &str) -> String {
    sql.replace("$table", table)
}

/// The same for a row that is waited for.
fn waiting(sql: &str) -> String {
    sql.replace(" SKIP LOCKED", "")
}

fn quoted(part: &str) -> String {
    format!("\"{}\"", part.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    // As an escape string, whatever standard_conforming_strings is.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_stay_inside() {
        let table = Table::named("my schema.a\"b").unwrap();
        assert_eq!(table.name(), "\"my schema\".\"a\"\"b\"");
        assert_eq!(Table::named("x").unwrap().name(), "\"public\".\"x\"");
        assert!(table.sql.read.contains("\"my schema\".\"a\"\"b\" AS t"));
        assert_eq!(literal("a'b\\c"), "E'a''b\\\\c'");
        assert!(!table.creation().contains("$table"));
    }
}
