//! Opening a session, and what a server has to be.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, CancelToken, Config, NoTls};

use super::address::{Address, Ear};
use super::failure::strange;
use super::greeting::greeted_by;
use super::rows::column;
use super::session::Session;
use crate::backend::connection::{self, Driver};
use crate::backend::net::{Patience, connect_tcp};
use crate::backend::sql::{self, Endpoint, Is, Trouble, entered, whole};
use crate::error::{Error, Kind};
use crate::runtime::Runtime;

/// What warns that a commit is not waited for any more, which is told as done all the same.
const SYNC_WAIT: &str = "SyncRepWaitForLSN";

/// How a session is opened.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) address: Arc<Address>,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) known: Arc<Known>,
    /// The newest that was seen: each promotion of a replica begins another.
    timeline: Arc<AtomicI32>,
    /// Whether the table is made if it is missing.
    makes: bool,
}

/// The database system, and the table in it, as the first session has found them.
pub(super) type Known = sql::Known<(i64, String)>;

/// What the server has told on a session: the payload of a notification.
pub(super) type Heard = mpsc::UnboundedReceiver<String>;

impl Dial {
    pub(super) fn new(address: Address, runtime: Arc<dyn Runtime>) -> Self {
        let (address, known) = (Arc::new(address), Arc::default());
        Self { address, runtime, known, timeline: Arc::default(), makes: true }
    }

    /// For the session that hears.
    pub(super) fn another(&self) -> Self {
        let address = match &self.address.ear {
            Ear::At(there) => Arc::new((**there).clone()),
            Ear::Off | Ear::Here => self.address.clone(),
        };
        Self { makes: false, address, ..self.clone() }
    }

    /// A session that is ready, and what it hears.
    pub(super) async fn enter(&self, number: u64) -> Result<(Arc<Session>, Driver, Heard), Error> {
        entered(&self.address.place, &self.runtime, self.open_and_look(number)).await
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
        let limit = self.address.place.timeouts.response.as_millis().max(1).to_string();
        session.take_over(&limit).await?;
        let (table, sql) = (self.address.table.name(), &self.address.table.sql);
        let rows = session.ask_again(&sql.server, &[(&table, Type::TEXT)]).await?;
        let server = rows.first().ok_or_else(|| strange("nothing"))?;
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
        let syncs = !matches!(column(server, "fsync"), Ok("off"));
        self.known.compare((column(server, "system")?, id), syncs)?;
        self.check_timeline(column(server, "timeline")?)
    }

    /// A former primary that comes back does not know what was decided without it.
    fn check_timeline(&self, timeline: i32) -> Result<(), Trouble> {
        let newest = self.timeline.fetch_max(timeline, Ordering::Relaxed);
        if timeline >= newest {
            return Ok(());
        }
        let message = format!(
            "a former primary answers here: it is on timeline {timeline}, and this client has \
             used timeline {newest}. Lead the address to the server that was promoted"
        );
        Err(Error::unavailable(message).into())
    }

    async fn make_table(&self, session: &Session) -> Result<(), Trouble> {
        let table = &self.address.table;
        if !self.makes || self.known.is_some() {
            return Err(table.named.gone().into());
        }
        match session.run(&table.creation()).await {
            Ok(()) => Ok(()),
            // Somebody else was faster.
            Err(Trouble { is: Is::Duplicate, .. }) => Ok(()),
            Err(Trouble { error, .. }) if error.kind() == Kind::Refused => {
                Err(table.named.missing().because(error).into())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// What the table says of itself; answers its id.
    async fn look_at_table(&self, session: &Session) -> Result<String, Trouble> {
        let table = &self.address.table;
        let rows = session.ask_again(&table.sql.about, &[(&table.name(), Type::TEXT)]).await?;
        let about = rows.first().ok_or_else(|| table.named.says_nothing())?;
        table.named.check_version(column(about, "version")?)?;
        self.known.set_unlogged(column::<Option<bool>>(about, "unlogged")? == Some(true));
        if !column::<bool>(about, "writes")? {
            return Err(table.named.not_writable().into());
        }
        Ok(column::<Option<String>>(about, "label")?.unwrap_or_default())
    }

    async fn connect(&self, number: u64) -> Result<(Arc<Session>, Driver, Heard), Trouble> {
        let failed = |e: std::io::Error| {
            Error::unavailable("is the server running, and the address right?").because(e)
        };
        let config = self.config()?;
        match &self.address.place.endpoint {
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                let opened = config.connect_raw(stream, NoTls).await;
                self.session(opened, number).await
            }
            Endpoint::Tcp { host, port, tls: None } => {
                let stream = connect_tcp(host, *port).await.map_err(failed)?;
                let opened = config.connect_raw(stream, NoTls).await;
                self.session(opened, number).await
            }
            #[cfg(feature = "tls")]
            Endpoint::Tcp { host, port, tls: Some(tls) } => {
                let stream = connect_tcp(host, *port).await.map_err(failed)?;
                let wrap = super::encryption::Wrap { host: host.clone(), tls: tls.clone() };
                let opened = config.connect_raw(stream, wrap).await;
                self.session(opened, number).await
            }
            #[cfg(not(feature = "tls"))]
            Endpoint::Tcp { tls: Some(_), .. } => {
                Err(Error::invalid("this build lacks the feature tls").into())
            }
        }
    }

    fn config(&self) -> Result<Config, Error> {
        let place = &self.address.place;
        let mut config = Config::new();
        config
            .user(&place.user)
            .dbname(&place.database)
            .application_name(&self.address.application_name)
            .ssl_mode(match &place.endpoint {
                Endpoint::Tcp { tls: Some(_), .. } => SslMode::Require,
                _ => SslMode::Disable,
            });
        if let Some(password) = place.password.read()? {
            config.password(password);
        }
        Ok(config)
    }

    async fn session<S, T>(
        &self,
        opened: Result<
            (tokio_postgres::Client, tokio_postgres::Connection<S, T>),
            tokio_postgres::Error,
        >,
        number: u64,
    ) -> Result<(Arc<Session>, Driver, Heard), Trouble>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (client, mut connection) = opened.map_err(not_connected)?;
        let (runtime, limit) = (self.runtime.clone(), self.address.place.timeouts.response);
        let (dial, cancel) = (self.clone(), client.cancel_token());
        let process = greeted_by(&client).await;
        let session = Arc::new(Session::new(client, runtime, limit, number, process));
        let (tell, heard) = mpsc::unbounded_channel();
        let ended = session.clone();
        let driver = async move {
            let read = async {
                loop {
                    match poll_fn(|cx| connection.poll_message(cx)).await {
                        Some(Ok(AsyncMessage::Notification(said))) => {
                            drop(tell.send(said.payload().to_owned()));
                        }
                        Some(Ok(AsyncMessage::Notice(said)))
                            if said.routine() == Some(SYNC_WAIT) =>
                        {
                            let why = "somebody cancelled the wait for the replica: what \
                                       was committed may be lost by a failover";
                            // Before the answer comes, which tells it as done.
                            ended.shut(why);
                            return why.to_owned();
                        }
                        // What else it warns of is no matter of ours.
                        Some(Ok(_)) => {}
                        Some(Err(e)) => return Trouble::from(e).error.to_string(),
                        None => return "the server closed the connection".to_owned(),
                    }
                }
            };
            tokio::select! {
                biased;
                why = read => why,
                why = ended.ended() => {
                    let runtime = dial.runtime.clone();
                    runtime.spawn(Box::pin(async move { dial.cancel(cancel).await }));
                    why
                }
            }
        };
        Ok((session, Box::pin(driver), heard))
    }

    /// End what a session still does that nobody hears of any more. The server does not notice
    /// that while it waits for a standby to have it, too: every session that is given up would
    /// stay there until the standby is back.
    async fn cancel(&self, cancel: CancelToken) {
        let place = &self.address.place;
        // It may be too late, and nothing can be done about a failure.
        let cancelled = async {
            match &place.endpoint {
                Endpoint::Unix(path) => {
                    let stream = UnixStream::connect(path).await.ok()?;
                    cancel.cancel_query_raw(stream, NoTls).await.ok()
                }
                Endpoint::Tcp { host, port, tls: None } => {
                    let stream = connect_tcp(host, *port).await.ok()?;
                    cancel.cancel_query_raw(stream, NoTls).await.ok()
                }
                #[cfg(feature = "tls")]
                Endpoint::Tcp { host, port, tls: Some(tls) } => {
                    let stream = connect_tcp(host, *port).await.ok()?;
                    let wrap = super::encryption::Wrap { host: host.clone(), tls: tls.clone() };
                    cancel.cancel_query_raw(stream, wrap).await.ok()
                }
                #[cfg(not(feature = "tls"))]
                Endpoint::Tcp { tls: Some(_), .. } => None,
            }
        };
        tokio::select! {
            biased;
            _ = cancelled => {}
            () = Patience::of(place.timeouts.connect).end(&*self.runtime) => {}
        }
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
    let mut trouble = Trouble::from(e);
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
