//! Opening a connection: the socket, encryption, and the words at the start.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, Value};
use tokio::io::AsyncRead;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::address::{Address, Place};
use super::failure::Failure;
use super::inbox::{Inbox, News};
use super::link::Link;
use super::scripts;
use crate::error::{Error, Kind};
use crate::runtime::Runtime;

/// How long it may take in all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A link that is logged in and hears its channel.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) link: Arc<Link>,
    /// Which server it is, where that matters: with `quarantine=on`.
    pub(super) identity: Option<Arc<str>>,
}

/// What keeps a session going.
pub(super) struct Drivers {
    main: Arc<Link>,
    /// Only where the server has no RESP3: the connection that hears the channel.
    ear: Option<Arc<Link>>,
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
        let why = tokio::select! {
            why = self.main.drive(runtime) => why,
            why = ear => why,
        };
        self.main.shut(&why);
        why
    }
}

/// How a session is opened.
pub(super) struct Dial<'a> {
    pub(super) address: &'a Address,
    pub(super) channel: &'a str,
    pub(super) news: &'a mpsc::UnboundedSender<News>,
    pub(super) runtime: &'a dyn Runtime,
}

impl Dial<'_> {
    /// Connect and log in. Needs a Tokio runtime.
    pub(super) async fn open(&self, number: u64) -> Result<(Session, Drivers), Error> {
        let opened = tokio::select! {
            biased;
            opened = self.main(number) => opened.map_err(Error::from),
            () = self.runtime.sleep(CONNECT_TIMEOUT) => {
                Err(Error::unavailable(format!("it does not answer within {CONNECT_TIMEOUT:?}")))
            }
        };
        opened.map_err(|e| {
            Error::new(e.kind(), format!("cannot use {}", self.address.shown)).because(e)
        })
    }

    async fn main(&self, number: u64) -> Result<(Session, Drivers), Failure> {
        let link = self.connect(number).await?;
        let greet = async {
            let hears = self.say_hello(&link).await?;
            if hears {
                link.call(&words(&["SUBSCRIBE", self.channel])).await?;
            }
            Ok((hears, self.identity(&link).await?))
        };
        let (hears, identity) = link.driven(greet, self.runtime).await?;
        let ear = if hears { None } else { Some(self.ear(number).await?) };
        Ok((Session { link: link.clone(), identity }, Drivers { main: link, ear }))
    }

    async fn ear(&self, number: u64) -> Result<Arc<Link>, Failure> {
        let link = self.connect(number).await?;
        let listen = async {
            self.log_in(&link).await?;
            link.call(&words(&["SUBSCRIBE", self.channel])).await
        };
        link.driven(listen, self.runtime).await?;
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
                Ok(Link::over(number, self.inbox(reader), writer))
            }
            Place::Tcp { host, port } => {
                let stream = connect_tcp(host, *port).await.map_err(failed)?;
                let (reader, writer) = stream.into_split();
                Ok(Link::over(number, self.inbox(reader), writer))
            }
            #[cfg(feature = "tls")]
            Place::Tls { host, port, ca } => {
                let stream = connect_tcp(host, *port).await.map_err(failed)?;
                let stream = super::tls::wrap(stream, host, ca.as_deref()).await?;
                let (reader, writer) = tokio::io::split(stream);
                Ok(Link::over(number, self.inbox(reader), writer))
            }
        }
    }

    fn inbox(&self, reader: impl AsyncRead + Send + 'static) -> Inbox {
        Inbox::of(reader, self.news.clone())
    }

    async fn identity(&self, link: &Link) -> Result<Option<Arc<str>>, Failure> {
        let Some(quarantine) = self.address.quarantine else { return Ok(None) };
        let mut epoch = words(&["EVAL", &scripts::EPOCH.body, "1"]);
        epoch.arg(self.address.epoch_key()).arg(quarantine.span().as_millis() as u64);
        match link.call(&epoch).await? {
            Value::BulkString(identity) => Ok(Some(String::from_utf8_lossy(&identity).into())),
            other => Err(Error::new(Kind::Internal, format!("an identity is no {other:?}")).into()),
        }
    }
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
