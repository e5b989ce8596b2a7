//! What one writes by hand with the drivers that Leasehold uses, and what ShedLock asks of a
//! database. Statements are prepared once.

use std::collections::HashMap;
use std::future::poll_fn;

use mysql_async::prelude::Queryable;
use mysql_async::{Opts, OptsBuilder};
use tokio::sync::{Mutex, mpsc};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::Failure;
use crate::rig::Kind;

/// Whoever takes something here.
const OWNER: &str = "0123456789abcdef0123456789abcdef";

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Statement {
    /// A row is made that says that something is free,
    Insert,
    /// is changed by its key, which is the least that a lock in a database takes,
    Take,
    Give,
    /// or read.
    Select,
    /// Locks of the server itself, which end with the session.
    Lock,
    TryLock,
    Unlock,
    /// What ShedLock says with `usingDbTime`, where each is a transaction of its own; it may
    /// be configured to send `BEGIN` and `COMMIT` around them.
    ShedInsert,
    ShedTake,
    ShedGive,
}

use Statement::{
    Give, Insert, Lock, Select, ShedGive, ShedInsert, ShedTake, Take, TryLock, Unlock,
};

/// The values that stand for `?` in MySQL. Those of PostgreSQL have numbers.
const NAME: &[usize] = &[0];
const NAME_OWNER: &[usize] = &[0, 1];
const OWNER_NAME: &[usize] = &[1, 0];

const POSTGRES: [(Statement, &[usize], &str); 10] = [
    (Insert, NAME, "INSERT INTO bare (name) VALUES ($1)"),
    (
        Take,
        NAME_OWNER,
        "UPDATE bare SET owner = $2, expires = clock_timestamp() + interval '10 s' WHERE name = $1",
    ),
    (Give, NAME_OWNER, "UPDATE bare SET owner = NULL WHERE name = $1 AND owner = $2"),
    (Select, NAME, "SELECT owner, expires, clock_timestamp() FROM bare WHERE name = $1"),
    (Lock, NAME, "SELECT pg_advisory_lock(hashtext($1))"),
    (TryLock, NAME, "SELECT pg_try_advisory_lock(hashtext($1))"),
    (Unlock, NAME, "SELECT pg_advisory_unlock(hashtext($1))"),
    (
        ShedInsert,
        NAME_OWNER,
        "INSERT INTO shedlock(name, lock_until, locked_at, locked_by) VALUES($1, \
         timezone('utc', CURRENT_TIMESTAMP) + make_interval(secs => 10), \
         timezone('utc', CURRENT_TIMESTAMP), $2) ON CONFLICT (name) DO UPDATE SET lock_until = \
         timezone('utc', CURRENT_TIMESTAMP) + make_interval(secs => 10), locked_at = \
         timezone('utc', CURRENT_TIMESTAMP), locked_by = $2 WHERE shedlock.name = $1 AND \
         shedlock.lock_until <= timezone('utc', CURRENT_TIMESTAMP)",
    ),
    (
        ShedTake,
        NAME_OWNER,
        "UPDATE shedlock SET lock_until = timezone('utc', CURRENT_TIMESTAMP) + \
         make_interval(secs => 10), locked_at = timezone('utc', CURRENT_TIMESTAMP), locked_by = $2 \
         WHERE shedlock.name = $1 AND shedlock.lock_until <= timezone('utc', CURRENT_TIMESTAMP)",
    ),
    (
        ShedGive,
        NAME_OWNER,
        "UPDATE shedlock SET lock_until = CASE WHEN locked_at + make_interval(secs => 0) > \
         timezone('utc', CURRENT_TIMESTAMP) THEN locked_at + make_interval(secs => 0) ELSE \
         timezone('utc', CURRENT_TIMESTAMP) END WHERE name = $1 AND locked_by = $2",
    ),
];

const MYSQL: [(Statement, &[usize], &str); 10] = [
    (Insert, NAME, "INSERT INTO bare (name) VALUES (?)"),
    (
        Take,
        OWNER_NAME,
        "UPDATE bare SET owner = ?, expires = UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 + 10000000 \
         WHERE name = ?",
    ),
    (Give, NAME_OWNER, "UPDATE bare SET owner = NULL WHERE name = ? AND owner = ?"),
    (Select, NAME, "SELECT owner, expires, SYSDATE(6) FROM bare WHERE name = ?"),
    (Lock, NAME, "SELECT GET_LOCK(?, 60)"),
    (TryLock, NAME, "SELECT GET_LOCK(?, 0)"),
    (Unlock, NAME, "SELECT RELEASE_LOCK(?)"),
    (
        ShedInsert,
        NAME_OWNER,
        "INSERT IGNORE INTO shedlock(name, lock_until, locked_at, locked_by) VALUES(?, \
         TIMESTAMPADD(MICROSECOND, 10000000, UTC_TIMESTAMP(3)), UTC_TIMESTAMP(3), ?)",
    ),
    (
        ShedTake,
        OWNER_NAME,
        "UPDATE shedlock SET lock_until = TIMESTAMPADD(MICROSECOND, 10000000, UTC_TIMESTAMP(3)), \
         locked_at = UTC_TIMESTAMP(3), locked_by = ? WHERE name = ? AND \
         lock_until <= UTC_TIMESTAMP(3)",
    ),
    (
        ShedGive,
        NAME_OWNER,
        "UPDATE shedlock SET lock_until = IF (TIMESTAMPADD(MICROSECOND, 0, locked_at) > \
         UTC_TIMESTAMP(3) , TIMESTAMPADD(MICROSECOND, 0, locked_at), UTC_TIMESTAMP(3)) \
         WHERE name = ? AND locked_by = ?",
    ),
];

/// As the page of ShedLock has its table. The bare one has room for changes, as Leasehold's.
const POSTGRES_TABLES: &str = "
    CREATE TABLE IF NOT EXISTS bare (name text COLLATE \"C\" PRIMARY KEY, owner text,
        expires timestamptz) WITH (fillfactor = 50);
    CREATE TABLE IF NOT EXISTS shedlock (name VARCHAR(64) NOT NULL, lock_until TIMESTAMP NOT NULL,
        locked_at TIMESTAMP NOT NULL, locked_by VARCHAR(255) NOT NULL, PRIMARY KEY (name));";
const MYSQL_TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS bare (name VARBINARY(1024) NOT NULL PRIMARY KEY,
        owner CHAR(32) CHARACTER SET ascii, expires BIGINT) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS shedlock (name VARCHAR(64) NOT NULL,
        lock_until TIMESTAMP(3) NOT NULL, locked_at TIMESTAMP(3) NOT NULL DEFAULT
        CURRENT_TIMESTAMP(3), locked_by VARCHAR(255) NOT NULL, PRIMARY KEY (name))",
];

/// One connection.
pub(crate) enum Plain {
    Postgres(Box<Session>),
    /// It does one thing after the other.
    Mysql(Mutex<mysql_async::Conn>),
}

pub(crate) struct Session {
    client: tokio_postgres::Client,
    prepared: HashMap<Statement, tokio_postgres::Statement>,
    /// What others notify it of.
    heard: Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Plain {
    /// With the tables there.
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        match Kind::of(url) {
            Kind::Postgres => Self::postgres(url).await,
            Kind::Mysql => {
                let bare = url.split('?').next().unwrap_or(url);
                let options = OptsBuilder::from_opts(Opts::from_url(bare)?);
                // As Leasehold does; by a socket it takes half the time.
                let options = options.prefer_socket(false);
                let mut connection = mysql_async::Conn::new(options).await?;
                for table in MYSQL_TABLES {
                    connection.query_drop(table).await?;
                }
                Ok(Self::Mysql(Mutex::new(connection)))
            }
        }
    }

    #[allow(clippy::disallowed_methods)] // where its requests are made, and for as long
    async fn postgres(url: &str) -> Result<Self, Failure> {
        let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(said)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(said) = said {
                    drop(tell.send(said.payload().to_owned()));
                }
            }
        });
        // Several at once would make it twice.
        client.batch_execute("SELECT pg_advisory_lock(1)").await?;
        client.batch_execute("SET client_min_messages = warning").await?;
        client.batch_execute(POSTGRES_TABLES).await?;
        client.batch_execute("SELECT pg_advisory_unlock(1)").await?;
        let mut prepared = HashMap::new();
        for (which, _, sql) in POSTGRES {
            prepared.insert(which, client.prepare(sql).await?);
        }
        Ok(Self::Postgres(Box::new(Session { client, prepared, heard: Mutex::new(heard) })))
    }

    /// Change something. Answers how many rows.
    pub(crate) async fn execute(&self, what: Statement, name: &str) -> Result<u64, Failure> {
        let values = [name, OWNER];
        match self {
            Self::Postgres(session) => {
                let (_, which, _) = find(&POSTGRES, what);
                let values = which.iter().map(|at| &values[*at] as &(dyn ToSql + Sync));
                let values: Vec<_> = values.collect();
                Ok(session.client.execute(&session.prepared[&what], &values).await?)
            }
            Self::Mysql(connection) => {
                let (_, which, sql) = find(&MYSQL, what);
                let values: Vec<mysql_async::Value> =
                    which.iter().map(|at| values[*at].into()).collect();
                let mut connection = connection.lock().await;
                connection.exec_drop(*sql, values).await?;
                Ok(connection.affected_rows())
            }
        }
    }

    /// Let another one go on.
    pub(crate) async fn notify(&self, channel: &str) -> Result<(), Failure> {
        let session = self.hearing()?;
        Ok(session.client.batch_execute(&format!("NOTIFY {channel}")).await?)
    }

    pub(crate) async fn listen(&self, channel: &str) -> Result<(), Failure> {
        let session = self.hearing()?;
        Ok(session.client.batch_execute(&format!("LISTEN {channel}")).await?)
    }

    /// Wait for a notification.
    pub(crate) async fn hear(&self) -> Result<(), Failure> {
        let said = self.hearing()?.heard.lock().await.recv().await;
        said.map(drop).ok_or_else(|| "the connection is over".into())
    }

    fn hearing(&self) -> Result<&Session, Failure> {
        match self {
            Self::Postgres(session) => Ok(session),
            Self::Mysql(_) => Err("MySQL has no notifications".into()),
        }
    }
}

fn find<'a>(
    all: &'a [(Statement, &'a [usize], &'a str)],
    what: Statement,
) -> &'a (Statement, &'a [usize], &'a str) {
    all.iter().find(|(which, ..)| *which == what).unwrap_or(&all[0])
}
