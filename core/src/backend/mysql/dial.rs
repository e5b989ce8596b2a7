//! Opening a session, and what a server has to be.

use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::{Conn, Opts, OptsBuilder, Row};

use super::address::Address;
use super::failure::not_connected;
use super::rows::column;
use super::session::Session;
use crate::backend::connection::{self, Driver};
use crate::backend::sql::{self, Endpoint, Is, Trouble, entered};
use crate::error::{Error, Kind};
use crate::runtime::Runtime;

/// How often the statement that turns the user's limits off may fail by them.
const LIMITED: u32 = 20;

/// The largest answer that is read.
const LARGEST: usize = 64 << 20;

/// How a session is opened.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) address: Arc<Address>,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) known: Arc<Known>,
    /// Whether the table is made if it is missing.
    makes: bool,
}

/// The table's id, as the first session has found it.
pub(super) type Known = sql::Known<String>;

impl Dial {
    pub(super) fn new(address: Address, runtime: Arc<dyn Runtime>) -> Self {
        let (address, known) = (Arc::new(address), Arc::default());
        Self { address, runtime, known, makes: true }
    }

    /// For sessions beside the first.
    pub(super) fn another(&self) -> Self {
        Self { makes: false, ..self.clone() }
    }

    async fn open_and_look(&self, number: u64) -> Result<(Arc<Session>, Driver), Trouble> {
        let conn = Conn::new(self.options()?).await.map_err(not_connected)?;
        let (runtime, limit) = (self.runtime.clone(), self.address.place.timeouts.response);
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
        let seconds = self.address.place.timeouts.response.as_secs().max(1).to_string();
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
        check_engine(table.name(), &server)?;
        let id = self.look_at_table(session).await?;
        check_key(table.name(), &server)?;
        let syncs = !matches!(column::<i64>(&server, "flushes"), Ok(0 | 2));
        Ok(self.known.compare(id, syncs)?)
    }

    async fn make_table(&self, session: &Session) -> Result<(), Trouble> {
        let table = &self.address.table;
        if !self.makes || self.known.is_some() {
            return Err(table.named.gone().into());
        }
        match session.ask(&table.creation(), &[]).await {
            Ok(_) => Ok(()),
            Err(Trouble { error, is: Is::Forbidden }) => {
                Err(table.named.missing().because(error).into())
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
        match column(&about, "version")? {
            0 => return Err(table.named.says_nothing().into()),
            version => table.named.check_version(version)?,
        }
        let id = column::<Option<String>>(&about, "label")?.unwrap_or_default();
        match session.ask(&table.sql.writes, &[]).await {
            Ok(_) => Ok(id),
            Err(Trouble { error, is: Is::Forbidden }) => {
                Err(table.named.not_writable().because(error).into())
            }
            Err(trouble) => Err(trouble),
        }
    }

    fn options(&self) -> Result<Opts, Error> {
        let place = &self.address.place;
        let mut options = OptsBuilder::default()
            .user(Some(&place.user))
            // Statements name the database; so it is said that it is missing.
            .db_name(Some(&place.database).filter(|name| !name.is_empty()))
            .prefer_socket(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEPALIVE))
            .stmt_cache_size(0)
            .max_allowed_packet(Some(LARGEST))
            .wait_timeout(Some(usize::MAX))
            .pass(place.password.read()?);
        options = match &place.endpoint {
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

/// What a user does not see of the table is not checked, as they cannot have made it.
fn check_engine(name: &str, server: &Row) -> Result<(), Trouble> {
    let engine: Option<String> = column(server, "engine")?;
    match engine.filter(|engine| !engine.eq_ignore_ascii_case("InnoDB")) {
        None => Ok(()),
        Some(engine) => {
            let message = format!(
                "the table {name} is kept by the engine {engine}, which has no transactions; it \
                 needs ENGINE = InnoDB"
            );
            Err(Error::new(Kind::Refused, message).into())
        }
    }
}

/// Without its key two may make a row for one lock, and hold it.
fn check_key(name: &str, server: &Row) -> Result<(), Trouble> {
    let is_seen = column::<Option<String>>(server, "engine")?.is_some();
    if !is_seen || column::<Option<i64>>(server, "by_name")? == Some(1) {
        return Ok(());
    }
    let message = format!(
        "the table {name} may have several rows for one lock, as its primary key is not (name); \
         close all clients and: ALTER TABLE {name} ADD PRIMARY KEY (name)"
    );
    Err(Error::new(Kind::Refused, message).into())
}

/// After so long without a word the other side is asked whether it is there.
const KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(15);

#[async_trait]
impl connection::Dial for Dial {
    type Session = Arc<Session>;

    async fn open(&mut self, number: u64) -> Result<(Arc<Session>, Driver), Error> {
        entered(&self.address.place, &self.runtime, self.open_and_look(number)).await
    }

    fn reconnected(&self) {}
}
