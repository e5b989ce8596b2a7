//! Opening a connection: the socket, encryption, and the words at the start.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::redis::{Cmd, Value};
use async_trait::async_trait;
use tokio::io::AsyncRead;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::address::{Address, Place};
use super::failure::Failure;
use super::inbox::{Inbox, News};
use super::link::Link;
use super::{scripts, strange};
use crate::backend::connection::{self, Driver};
#[cfg(feature = "tls")]
use crate::backend::tls::Trust;
use crate::error::{Error, Kind};
use crate::runtime::Runtime;
use crate::time::Instant;

/// How long it may take in all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A link that is logged in and hears its channel.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) link: Arc<Link>,
    /// Which server it is, where that matters: with a quarantine.
    pub(super) epoch: Option<Arc<Epoch>>,
}

/// Which server it is.
pub(super) struct Epoch {
    pub(super) identity: String,
    /// Rises with every quarantine.
    pub(super) number: u64,
    /// Whether it has no record yet, and so grants nothing.
    pub(super) is_missing: bool,
    /// What its wall clock showed, and when.
    pub(super) micros: u64,
    pub(super) at: Instant,
}

/// What keeps a session going.
pub(super) struct Drivers {
    main: Arc<Link>,
    /// Only where the server has no RESP3: the connection that hears the channel.
    ear: Option<Arc<Link>>,
    is_node: bool,
}

impl Drivers {
    /// Until one of them ends; answers why it did.
    pub(super) async fn run(self, runtime: &dyn Runtime) -> String {
        let ear = async {
            match &self.ear {
                Some(ear) => ear.drive(runtime).await,
                None => std::future::pending().await,
            }
        };
        let remind = async {
            if !self.is_node {
                std::future::pending::<()>().await;
            }
            loop {
                self.main.forgot.notified().await;
                teach(&self.main).await;
            }
        };
        let why = tokio::select! {
            why = self.main.drive(runtime) => why,
            why = ear => why,
            why = remind => why,
        };
        self.main.shut(&why);
        why
    }
}

/// How a session is opened.
pub(super) struct Dial {
    pub(super) address: Arc<Address>,
    pub(super) channel: Arc<str>,
    pub(super) news: mpsc::UnboundedSender<News>,
    pub(super) runtime: Arc<dyn Runtime>,
    /// The largest number of an epoch that was seen there.
    pub(super) number: u64,
}

#[async_trait]
impl connection::Dial for Dial {
    type Session = Session;

    /// Connect and log in. Needs a Tokio runtime.
    async fn open(&mut self, number: u64) -> Result<(Session, Driver), Error> {
        let opened = tokio::select! {
            biased;
            opened = self.main(number) => opened.map_err(Error::from),
            () = self.runtime.sleep(CONNECT_TIMEOUT) => {
                Err(Error::unavailable(format!("it does not answer within {CONNECT_TIMEOUT:?}")))
            }
        };
        let (session, drivers) = opened.map_err(|e| {
            Error::new(e.kind(), format!("cannot use {}", self.address.shown)).because(e)
        })?;
        // A server without a record is about to be given its first.
        let seen = session.epoch.as_ref().map_or(0, |epoch| epoch.number.max(1));
        self.number = self.number.max(seen);
        let runtime = self.runtime.clone();
        Ok((session, Box::pin(async move { drivers.run(&*runtime).await })))
    }

    fn reconnected(&self) {
        drop(self.news.send(News::Reconnected));
    }
}

impl Dial {
    async fn main(&self, number: u64) -> Result<(Session, Drivers), Failure> {
        let link = self.connect(number).await?;
        let greet = async {
            let hears = self.say_hello(&link).await?;
            if hears {
                link.call(&words(&["SUBSCRIBE", &self.channel])).await?;
            }
            let unrecorded = match self.may_be_new() {
                true => Unrecorded::Look,
                false => Unrecorded::Quarantine,
            };
            let epoch =
                enter(&link, &self.address, unrecorded, self.number, &*self.runtime).await?;
            if self.address.is_node {
                teach(&link).await;
            }
            Ok((hears, epoch))
        };
        let (hears, epoch) = link.driven(greet, &*self.runtime).await?;
        let ear = if hears { None } else { Some(self.ear(number).await?) };
        Ok((
            Session { link: link.clone(), epoch: epoch.map(Arc::new) },
            Drivers { main: link, ear, is_node: self.address.is_node },
        ))
    }

    async fn ear(&self, number: u64) -> Result<Arc<Link>, Failure> {
        let link = self.connect(number).await?;
        let listen = async {
            self.log_in(&link).await?;
            link.call(&words(&["SUBSCRIBE", &self.channel])).await
        };
        link.driven(listen, &*self.runtime).await?;
        Ok(link)
    }

    /// Whether the server speaks RESP3, which lets one connection do everything.
    async fn say_hello(&self, link: &Link) -> Result<bool, Failure> {
        let mut hello = words(&["HELLO", "3"]);
        if let Some(password) = self.address.login.password() {
            let user = self.address.login.username().unwrap_or("default");
            hello.arg("AUTH").arg(user).arg(password);
        }
        hello.arg("SETNAME").arg("leasehold");
        match link.call(&hello).await {
            Ok(_) => {}
            Err(e) if e.is_unknown_command() || e.code == "NOPROTO" => {
                self.log_in(link).await?;
                return Ok(false);
            }
            Err(e) => return Err(e),
        }
        self.select_database(link).await?;
        Ok(true)
    }

    async fn log_in(&self, link: &Link) -> Result<(), Failure> {
        if let Some(password) = self.address.login.password() {
            let mut auth = words(&["AUTH"]);
            if let Some(user) = self.address.login.username() {
                auth.arg(user);
            }
            link.call(auth.arg(password)).await?;
        }
        self.select_database(link).await
    }

    async fn select_database(&self, link: &Link) -> Result<(), Failure> {
        if self.address.login.db() != 0 {
            let selected = link.call(words(&["SELECT"]).arg(self.address.login.db())).await;
            selected.map_err(|e| match &*e.code {
                "ERR" => Error::invalid("the server has no such database").because(e.error).into(),
                _ => e,
            })?;
        }
        Ok(())
    }

    async fn connect(&self, number: u64) -> Result<Arc<Link>, Error> {
        let failed = |e: std::io::Error| {
            Error::unavailable("is the server running, and the address right?").because(e)
        };
        match &self.address.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                let (reader, writer) = stream.into_split();
                Ok(Link::over(number, self.runtime.clone(), self.inbox(reader), writer))
            }
            Place::Tcp { host, port } => {
                let stream = connect_tcp(host, *port).await.map_err(failed)?;
                let (reader, writer) = stream.into_split();
                Ok(Link::over(number, self.runtime.clone(), self.inbox(reader), writer))
            }
            #[cfg(feature = "tls")]
            Place::Tls { host, port, ca } => {
                let stream = connect_tcp(host, *port).await.map_err(failed)?;
                let stream =
                    Trust { ca: ca.as_deref(), ..Trust::default() }.wrap(stream, host).await?;
                let (reader, writer) = tokio::io::split(stream);
                Ok(Link::over(number, self.runtime.clone(), self.inbox(reader), writer))
            }
        }
    }

    fn inbox(&self, reader: impl AsyncRead + Send + 'static) -> Inbox {
        Inbox::of(reader, self.news.clone())
    }

    fn may_be_new(&self) -> bool {
        let quarantine = self.address.quarantine.as_ref();
        quarantine.is_some_and(|quarantine| quarantine.founding.load(Ordering::SeqCst))
    }
}

/// Load the scripts of a node: whoever has enough votes does not wait to hear
/// from the others that they do not know one. Where that is not allowed, they
/// learn them in time.
async fn teach(link: &Link) {
    for script in [&scripts::VOTE, &scripts::GIVE_BACK, &scripts::KEEP] {
        drop(link.call(&words(&["SCRIPT", "LOAD", &script.body])).await);
    }
}

/// What to do about a server that has no record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unrecorded {
    /// It may have lost data.
    Quarantine,
    /// Nothing yet.
    Look,
    /// It is new.
    Found,
}

/// Learn which server it is; `None` where that does not matter.
pub(super) async fn enter(
    link: &Link,
    address: &Address,
    unrecorded: Unrecorded,
    number: u64,
    runtime: &dyn Runtime,
) -> Result<Option<Epoch>, Failure> {
    let Some(quarantine) = &address.quarantine else { return Ok(None) };
    let mut epoch = words(&["EVAL", &scripts::EPOCH.body, "1"]);
    epoch.arg(address.epoch_key()).arg(quarantine.span.as_millis() as u64);
    epoch.arg(&quarantine.agreed).arg(number).arg(match unrecorded {
        Unrecorded::Quarantine => "quarantine",
        Unrecorded::Look => "look",
        Unrecorded::Found => "found",
    });
    let answer = link.call(&epoch).await?;
    let at = runtime.now();
    let Value::Array(parts) = &answer else { return Err(strange(&answer).into()) };
    let text = |part: &Value| match part {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    match &parts[..] {
        [_, others] => Err(disagreement(&text(others), &quarantine.agreed, address).into()),
        [what, identity, Value::Int(number), Value::Int(micros)] => Ok(Some(Epoch {
            identity: text(identity),
            number: *number as u64,
            is_missing: text(what) == "missing",
            micros: *micros as u64,
            at,
        })),
        _ => Err(strange(parts).into()),
    }
}

fn disagreement(others: &str, ours: &str, address: &Address) -> Error {
    let message = format!(
        "other clients use this server as {others}, this one as {ours}; give all the same URL. To \
         change what they use, stop them all, then DEL \"{}\" in redis-cli on every server",
        // As redis-cli reads it.
        address.epoch_key().replace('\0', "\\x00")
    );
    Error::new(Kind::Refused, message)
}

fn words(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word);
    }
    command
}

async fn connect_tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
