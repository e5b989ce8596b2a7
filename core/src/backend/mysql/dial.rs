//! Opening a session, and what a server has to be.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use mysql_async::{Conn, Opts, OptsBuilder};

use super::address::{Address, Endpoint, Password};
use super::failure::{Is, Trouble, not_connected};
use super::rows::column;
use super::session::Session;
use super::table::Table;
use crate::backend::connection::{self, Driver};
use crate::backend::net::{Patience, Timeouts};
use crate::error::{Error, Kind, Outcome};
use crate::runtime::Runtime;

/// How often the statement that turns the user's limits off may fail by them.
const LIMITED: u32 = 20;

/// The largest answer that is read.
const LARGEST: usize = 64 << 20;

/// How a session is opened.
#[derive(Clone)]
pub(super) struct Dial {
    address: Arc<Address>,
    runtime: Arc<dyn Runtime>,
    known: Arc<Known>,
    /// Whether the table is made if it is missing.
    makes: bool,
}

/// What the first session has found; every later one has to find the same.
#[derive(Default)]
pub(super) struct Known {
    /// The table's id.
    identity: OnceLock<String>,
    /// Whether the server writes to its disk before it answers.
    syncs: OnceLock<bool>,
}

impl Known {
    pub(super) fn syncs(&self) -> bool {
        self.syncs.get().copied().unwrap_or(true)
    }
}

impl Dial {
    pub(super) fn new(address: Address, runtime: Arc<dyn Runtime>) -> Self {
        let (address, known) = (Arc::new(address), Arc::default());
        Self { address, runtime, known, makes: true }
    }

    /// For sessions beside the first.
    pub(super) fn another(&self) -> Self {
        Self { makes: false, ..self.clone() }
    }

    pub(super) fn table(&self) -> &Table {
        &self.address.table
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.address.timeouts
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    pub(super) fn known(&self) -> &Arc<Known> {
        &self.known
    }

    async fn open_and_look(&self, number: u64) -> Result<(Arc<Session>, Driver), Trouble> {
        let conn = Conn::new(self.options()?).await.map_err(not_connected)?;
        let (runtime, limit) = (self.runtime.clone(), self.address.timeouts.response);
        let (session, mut driver) = Session::new(conn, runtime, limit, number);
        tokio::select! {
            biased;
            looked = self.look(&session) => looked?,
            why = &mut driver => return Err(Error::unavailable(why).into()),
        }
        Ok((session, driver))
    }

    /// Make the session one of ours, and see that the server and the table are.
    async fn look(&self, session: &Session) -> Result<(), Trouble> {
        let (table, sql) = (&self.address.table, &self.address.table.sql);
        let seconds = self.address.timeouts.response.as_secs().max(1).to_string();
        let mut limited = 0;
        // What is default for the user may be very short.
        while let Err(trouble) = session.ask(&sql.settings, &[("seconds", seconds.clone())]).await {
            limited += 1;
            if trouble.is != Is::Told || limited == LIMITED {
                return Err(trouble);
            }
        }
        let mut server = session.ask_one(&sql.server, &table.parts()).await?;
        if column::<Option<String>>(&server, "engine")?.is_none() {
            // Or this user does not see it.
            if let Err(trouble) = self.make_table(session).await
                && session.ask(&sql.about, &[]).await.is_err()
            {
                return Err(trouble);
            }
            server = session.ask_one(&sql.server, &table.parts()).await?;
        }
        let engine: Option<String> = column(&server, "engine")?;
        if let Some(engine) = engine.filter(|engine| !engine.eq_ignore_ascii_case("InnoDB")) {
            let message = format!(
                "the table {} is kept by the engine {engine}, which has no transactions; it needs \
                 ENGINE = InnoDB",
                table.name()
            );
            return Err(Error::new(Kind::Refused, message).into());
        }
        let id = self.look_at_table(session).await?;
        self.known.syncs.get_or_init(|| !matches!(column::<i64>(&server, "flushes"), Ok(0 | 2)));
        if *self.known.identity.get_or_init(|| id.clone()) == id {
            return Ok(());
        }
        let message = "another database answers here, or the table was made anew: it knows \
                       nothing of this client's leases. Close this client and connect again to \
                       use it";
        Err(Error::new(Kind::Refused, message).into())
    }

    async fn make_table(&self, session: &Session) -> Result<(), Trouble> {
        let table = &self.address.table;
        if !self.makes || self.known.identity.get().is_some() {
            let message = format!(
                "the table {} is not there any more; close this client and connect again to \
                 have it made",
                table.name()
            );
            return Err(Error::new(Kind::Refused, message).into());
        }
        match session.ask(&table.creation(), &[]).await {
            Ok(_) => Ok(()),
            Err(Trouble { error, is: Is::Forbidden }) => {
                Err(Error::new(Kind::Refused, table.missing()).because(error).into())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// What the table says of itself; answers its id.
    async fn look_at_table(&self, session: &Session) -> Result<String, Trouble> {
        let table = &self.address.table;
        let mut about = session.ask_one(&table.sql.about, &[]).await?;
        if column::<i64>(&about, "version")? == 0 && self.make_table(session).await.is_ok() {
            // Whoever made the table had not come to this row yet, or never did.
            about = session.ask_one(&table.sql.about, &[]).await?;
        }
        table.check_version(column(&about, "version")?)?;
        let id = column::<Option<String>>(&about, "label")?.unwrap_or_default();
        match session.ask(&table.sql.writes, &[]).await {
            Ok(_) => Ok(id),
            Err(Trouble { error, is: Is::Forbidden }) => {
                let message = format!(
                    "the user may not write to the table {0}: GRANT SELECT, INSERT, UPDATE, \
                     DELETE ON {0} TO the user",
                    table.name()
                );
                Err(Error::new(Kind::Refused, message).because(error).into())
            }
            Err(trouble) => Err(trouble),
        }
    }

    fn options(&self) -> Result<Opts, Error> {
        let address = &self.address;
        let mut options = OptsBuilder::default()
            .user(Some(&address.user))
            // Statements name the database; so it is said that it is missing.
            .db_name(Some(&address.database).filter(|name| !name.is_empty()))
            .prefer_socket(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEPALIVE))
            .stmt_cache_size(0)
            .max_allowed_packet(Some(LARGEST))
            .wait_timeout(Some(usize::MAX));
        options = match &address.password {
            Password::None => options,
            Password::Is(word) => options.pass(Some(word)),
            Password::In(file) => options.pass(Some(read_password(file)?)),
        };
        options = match &address.endpoint {
            Endpoint::Unix(path) => options.socket(Some(path.display().to_string())),
            Endpoint::Tcp { host, port, tls } => {
                options = options.ip_or_hostname(host).tcp_port(*port);
                match tls {
                    None => options,
                    #[cfg(feature = "tls")]
                    Some(tls) => options.ssl_opts(super::encryption::options(tls)?),
                    #[cfg(not(feature = "tls"))]
                    Some(_) => return Err(Error::invalid("this build lacks the feature tls")),
                }
            }
        };
        Ok(options.into())
    }
}

/// After so long without a word the other side is asked whether it is there.
const KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(15);

#[async_trait]
impl connection::Dial for Dial {
    type Session = Arc<Session>;

    async fn open(&mut self, number: u64) -> Result<(Arc<Session>, Driver), Error> {
        let limit = self.address.timeouts.connect;
        let opened = tokio::select! {
            biased;
            opened = self.open_and_look(number) => opened.map_err(Error::from),
            () = Patience::of(limit).end(&*self.runtime) => Err(Error::unavailable(format!(
                "it does not answer within {limit:?} (connect_timeout in the URL)"
            ))),
        };
        opened.map_err(|e| {
            let message = format!("cannot use {}", self.address.shown);
            // Nobody has asked for a lock.
            Error::new(e.kind(), message).because(e).with_outcome(Outcome::NotHeld)
        })
    }

    fn reconnected(&self) {}
}

fn read_password(file: &Path) -> Result<String, Error> {
    let read = std::fs::read_to_string(file).map_err(|e| {
        Error::invalid(format!("password_file={} cannot be read", file.display())).because(e)
    })?;
    Ok(read.lines().next().unwrap_or_default().to_owned())
}
