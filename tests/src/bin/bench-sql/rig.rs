//! The servers that are measured, and what they say they have done.

use std::fmt;

use leasehold_tests::servers::{Mysql, MysqlSettings, Postgres, PostgresSettings};

use crate::Failure;

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    /// MariaDB, as the tests have it.
    Mysql,
}

/// Whether a commit is on disk before it is answered. Without it, what clients add to the time
/// of the server shows best.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) kind: Kind,
    pub(crate) fsync: bool,
}

impl Kind {
    pub(crate) fn of(url: &str) -> Self {
        if url.starts_with("postgres:") { Self::Postgres } else { Self::Mysql }
    }

    pub(crate) fn setups(self) -> [Setup; 2] {
        [false, true].map(|fsync| Setup { kind: self, fsync })
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match self.kind {
            Kind::Postgres => "PostgreSQL",
            Kind::Mysql => "MariaDB",
        };
        write!(f, "{server} {} fsync", if self.fsync { "with" } else { "without" })
    }
}

/// A server of its own.
pub(crate) enum Rig {
    Postgres(Postgres),
    Mysql(Mysql),
}

impl Setup {
    pub(crate) fn start(self) -> Rig {
        match self.kind {
            Kind::Postgres => Rig::Postgres(self.postgres().start()),
            Kind::Mysql if self.fsync => {
                let settings = MysqlSettings::default();
                Rig::Mysql(settings.option("--innodb-flush-method=fsync").start())
            }
            Kind::Mysql => Rig::Mysql(MysqlSettings::default().start()),
        }
    }

    /// The same, which counts the statements of clients. That costs a little.
    pub(crate) fn counting(self) -> Rig {
        match self.kind {
            Kind::Mysql => self.start(),
            Kind::Postgres => {
                let settings = self.postgres();
                let server =
                    settings.config("shared_preload_libraries", "pg_stat_statements").start();
                server.sql("CREATE EXTENSION pg_stat_statements");
                Rig::Postgres(server)
            }
        }
    }

    fn postgres(self) -> PostgresSettings {
        PostgresSettings::default().config("fsync", if self.fsync { "on" } else { "off" })
    }
}

impl Rig {
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres(server) => server.url(),
            Self::Mysql(server) => server.url(),
        }
    }

    /// Statements that clients have sent, of a rig that counts them. Looking does not count.
    pub(crate) fn statements(&self) -> Result<u64, Failure> {
        match self {
            Self::Postgres(server) => number(&server.sql(
                "SELECT sum(calls) FROM pg_stat_statements \
                 WHERE query NOT LIKE '%pg_stat_statements%' AND query NOT LIKE '%wal_insert%'",
            )),
            Self::Mysql(_) => self.status("'Com_select', 'Com_update', 'Com_insert', 'Com_delete'"),
        }
    }

    /// Bytes that were written to the log from which the server recovers.
    pub(crate) fn logged(&self) -> Result<u64, Failure> {
        match self {
            Self::Postgres(server) => {
                number(&server.sql("SELECT pg_current_wal_insert_lsn() - '0/0'"))
            }
            Self::Mysql(_) => self.status("'Innodb_lsn_current'"),
        }
    }

    /// How often the server has ended a statement because several waited for each other.
    pub(crate) fn deadlocks(&self) -> Result<u64, Failure> {
        match self {
            Self::Postgres(server) => Ok(server.logged("ERROR:  deadlock detected") as u64),
            Self::Mysql(_) => self.status("'Innodb_deadlocks'"),
        }
    }

    /// Which part of the changed rows needed no new entry in an index. Only PostgreSQL has that.
    pub(crate) fn hot_share(&self) -> Result<Option<f64>, Failure> {
        let Self::Postgres(server) = self else { return Ok(None) };
        let said = server.sql(
            "SELECT n_tup_hot_upd::float / n_tup_upd FROM pg_stat_user_tables \
             WHERE relname = 'leasehold'",
        );
        Ok(Some(said.parse()?))
    }

    /// The sum of counters.
    fn status(&self, names: &str) -> Result<u64, Failure> {
        let Self::Mysql(server) = self else { return Err("only MariaDB has a status".into()) };
        let said = server.sql(&format!("SHOW GLOBAL STATUS WHERE Variable_name IN ({names})"));
        let counters = said.lines().filter_map(|line| line.split_once('\t'));
        let counters: Vec<u64> =
            counters.map(|(_, value)| number(value)).collect::<Result<_, _>>()?;
        match counters.len() == names.split(',').count() {
            true => Ok(counters.iter().sum()),
            false => Err(format!("not all of {names} are in {said:?}").into()),
        }
    }
}

fn number(said: &str) -> Result<u64, Failure> {
    said.parse().map_err(|_| format!("{said:?} is no number").into())
}
