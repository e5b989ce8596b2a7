//! Opening a session, and what a server has to be.

use std::future::poll_fn;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Config, NoTls};

use super::address::{Address, Endpoint, Password};
use super::failure::{Is, Trouble, whole};
use super::rows::column;
use super::session::Session;
use super::table::Table;
use crate::backend::connection::{self, Driver};
use crate::backend::net::{Patience, Timeouts, connect_tcp};
use crate::error::{Error, Kind, Outcome};
use crate::runtime::Runtime;

/// How often the server may end the statement that turns its own limit off.
const CANCELLED: u32 = 20;

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
    /// The database system, and the table in it.
    identity: OnceLock<(i64, String)>,
    /// Whether it writes to its disk before it answers.
    syncs: OnceLock<bool>,
}

impl Known {
    pub(super) fn syncs(&self) -> bool {
        self.syncs.get().copied().unwrap_or(true)
    }
}

/// What the server has told on a session: the payload of a notification.
pub(super) type Heard = mpsc::UnboundedReceiver<String>;

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

    /// A session that is ready, and what it hears.
    pub(super) async fn enter(&self, number: u64) -> Result<(Arc<Session>, Driver, Heard), Error> {
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

    async fn open_and_look(&self, number: u64) -> Result<(Arc<Session>, Driver, Heard), Trouble> {
        let (session, mut driver, heard) = self.connect(number).await?;
        tokio::select! {
            biased;
            looked = self.look(&session) => looked?,
            why = &mut driver => return Err(Error::unavailable(why).into()),
        }
        Ok((session, driver, heard))
    }

    /// Make the session one of ours, and see that the server and the table are.
    async fn look(&self, session: &Session) -> Result<(), Trouble> {
        let limit = self.address.statement_timeout().as_millis().max(1).to_string();
        // First, and quickly: what is default for the user may be very short.
        let mut cancelled = 0;
        while let Err(trouble) = session.run("SET statement_timeout = 0").await {
            cancelled += 1;
            if trouble.is != Is::Cancelled || cancelled == CANCELLED {
                return Err(trouble);
            }
        }
        let (table, sql) = (self.address.table.name(), &self.address.table.sql);
        session.ask(&sql.settings, &[(&limit, Type::TEXT)]).await?;
        let rows = session.ask(&sql.server, &[(&table, Type::TEXT)]).await?;
        let server = rows.first().ok_or_else(|| Trouble::strange("nothing"))?;
        if let Some(port) = column::<Option<i32>>(server, "port")? {
            session.is_spoken_to_from(port);
        }
        if column::<&str>(server, "encoding")? != "UTF8" {
            let message = "the database cannot store every name: it needs the encoding UTF8";
            return Err(Error::new(Kind::Refused, message).into());
        }
        if column::<&str>(server, "read_only")? == "on" {
            return Err(read_only(column(server, "in_recovery")?));
        }
        if !column::<bool>(server, "has_table")? {
            self.make_table(session).await?;
        }
        let id = self.look_at_table(session).await?;
        self.known.syncs.get_or_init(|| !matches!(column(server, "fsync"), Ok("off")));
        let found = (column(server, "system")?, id);
        if *self.known.identity.get_or_init(|| found.clone()) == found {
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
        match session.run(&table.creation()).await {
            Ok(()) => Ok(()),
            // Somebody else was faster.
            Err(Trouble { is: Is::Duplicate, .. }) => Ok(()),
            Err(Trouble { error, .. }) if error.kind() == Kind::Refused => {
                Err(Error::new(Kind::Refused, table.missing()).because(error).into())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// What the table says of itself; answers its id.
    async fn look_at_table(&self, session: &Session) -> Result<String, Trouble> {
        let table = &self.address.table;
        let rows = session.ask(&table.sql.about, &[(&table.name(), Type::TEXT)]).await?;
        let Some(about) = rows.first() else {
            let message = format!(
                "the table {} has no row without a name, which says what it is; name another \
                 table (?table=schema.name)",
                table.name()
            );
            return Err(Error::new(Kind::Refused, message).into());
        };
        table.check_version(column(about, "version")?)?;
        if !column::<bool>(about, "writes")? {
            let message = format!(
                "the user may not write to the table {0}: GRANT SELECT, INSERT, UPDATE, DELETE \
                 ON {0} TO the user",
                table.name()
            );
            return Err(Error::new(Kind::Refused, message).into());
        }
        Ok(column::<Option<String>>(about, "label")?.unwrap_or_default())
    }

    async fn connect(&self, number: u64) -> Result<(Arc<Session>, Driver, Heard), Trouble> {
        let failed = |e: std::io::Error| {
            Error::unavailable("is the server running, and the address right?").because(e)
        };
        let config = self.config()?;
        match &self.address.endpoint {
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                let opened = config.connect_raw(stream, NoTls).await;
                self.session(opened, number, None)
            }
            Endpoint::Tcp { host, port, tls: None } => {
                let stream = connect_tcp(host, *port).await.map_err(failed)?;
                let from = stream.local_addr().map_err(failed)?.port();
                let opened = config.connect_raw(stream, NoTls).await;
                self.session(opened, number, Some(from))
            }
            #[cfg(feature = "tls")]
            Endpoint::Tcp { host, port, tls: Some(tls) } => {
                let stream = connect_tcp(host, *port).await.map_err(failed)?;
                let from = stream.local_addr().map_err(failed)?.port();
                let wrap = super::encryption::Wrap { host: host.clone(), tls: tls.clone() };
                let opened = config.connect_raw(stream, wrap).await;
                self.session(opened, number, Some(from))
            }
            #[cfg(not(feature = "tls"))]
            Endpoint::Tcp { tls: Some(_), .. } => {
                Err(Error::invalid("this build lacks the feature tls").into())
            }
        }
    }

    fn config(&self) -> Result<Config, Error> {
        let address = &self.address;
        let mut config = Config::new();
        config
            .user(&address.user)
            .dbname(&address.database)
            .application_name(&address.application_name)
            .ssl_mode(match &address.endpoint {
                Endpoint::Tcp { tls: Some(_), .. } => SslMode::Require,
                _ => SslMode::Disable,
            });
        match &address.password {
            Password::None => {}
            Password::Is(word) => drop(config.password(word)),
            Password::In(file) => drop(config.password(read_password(file)?)),
        }
        Ok(config)
    }

    fn session<S, T>(
        &self,
        opened: Result<
            (tokio_postgres::Client, tokio_postgres::Connection<S, T>),
            tokio_postgres::Error,
        >,
        number: u64,
        from: Option<u16>,
    ) -> Result<(Arc<Session>, Driver, Heard), Trouble>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (client, mut connection) = opened.map_err(not_connected)?;
        let (runtime, limit) = (self.runtime.clone(), self.address.timeouts.response);
        let session = Arc::new(Session::new(client, runtime, limit, number, from));
        let (tell, heard) = mpsc::unbounded_channel();
        let ended = session.clone();
        let driver = async move {
            let read = async {
                loop {
                    match poll_fn(|cx| connection.poll_message(cx)).await {
                        Some(Ok(AsyncMessage::Notification(said))) => {
                            drop(tell.send(said.payload().to_owned()));
                        }
                        // What it warns of is no matter of ours.
                        Some(Ok(_)) => {}
                        Some(Err(e)) => return Trouble::of(e).error.to_string(),
                        None => return "the server closed the connection".to_owned(),
                    }
                }
            };
            tokio::select! {
                biased;
                why = read => why,
                why = ended.ended() => why,
            }
        };
        Ok((session, Box::pin(driver), heard))
    }
}

#[async_trait]
impl connection::Dial for Dial {
    type Session = Arc<Session>;

    async fn open(&mut self, number: u64) -> Result<(Arc<Session>, Driver), Error> {
        let (session, driver, _) = self.enter(number).await?;
        Ok((session, driver))
    }

    fn reconnected(&self) {}
}

fn read_only(in_recovery: bool) -> Trouble {
    let message = match in_recovery {
        true => "the server is a replica, which nobody can write to; name the primary",
        false => {
            "default_transaction_read_only is on for this user, this database or this server; \
             turn it off for the user: ALTER ROLE … SET default_transaction_read_only = off"
        }
    };
    Error::unavailable(message).into()
}

/// Why there is no session at all.
fn not_connected(e: tokio_postgres::Error) -> Trouble {
    use std::error::Error as _;
    // Of what has gone wrong with the encryption our own error knows more.
    let cause = e.source().and_then(|cause| cause.downcast_ref::<Error>());
    if let Some(cause) = cause {
        return cause.again().into();
    }
    let said = whole(&e);
    let mut trouble = Trouble::of(e);
    if said.contains("TLS") {
        let message = "the server offers no encryption; have it do so (ssl = on), or connect \
                       without by ?sslmode=disable where nobody else is on the network";
        trouble.error = Error::new(Kind::Refused, message).because(trouble.error);
    } else if said.contains("password missing") {
        let message = "the server wants a password: postgres://USER:PASSWORD@HOST/DATABASE, or \
                       ?password_file=FILE";
        trouble.error = Error::new(Kind::Refused, message).because(trouble.error);
    }
    trouble
}

fn read_password(file: &Path) -> Result<String, Error> {
    let read = std::fs::read_to_string(file).map_err(|e| {
        Error::invalid(format!("password_file={} cannot be read", file.display())).because(e)
    })?;
    Ok(read.lines().next().unwrap_or_default().to_owned())
}
