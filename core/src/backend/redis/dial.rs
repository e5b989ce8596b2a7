//! Opening a connection: the socket, encryption, and the words at the start.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::redis::Value;
use async_trait::async_trait;
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;

use super::address::{Address, Endpoint};
use super::command::Command;
use super::epoch::{self, Epoch, Unrecorded};
use super::failure::Failure;
use super::inbox::{Ears, Inbox, News};
use super::link::Link;
use super::queue::Expected;
use super::servers::Servers;
use super::socket::Socket;
#[cfg(feature = "tls")]
use super::socket::Wire;
use super::{cluster, eviction, scripts, unheard};
use crate::backend::connection::{self, Driver};
use crate::backend::net::{Patience, connect_tcp};
#[cfg(feature = "tls")]
use crate::backend::tls::Trust;
use crate::error::{Error, Kind};
use crate::runtime::Runtime;

/// A link that is logged in and hears its channel.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) link: Arc<Link>,
    /// Which server it is, where that matters: with a quarantine.
    pub(super) epoch: Option<Arc<Epoch>>,
    /// What it promises less as it is configured.
    pub(super) caveat: Option<Arc<str>>,
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

impl Drop for Drivers {
    /// Nobody waits on a link that nobody drives, however that came about.
    fn drop(&mut self) {
        self.main.shut("the connection to the server was closed");
    }
}

/// How a session is opened.
pub(super) struct Dial {
    pub(super) address: Arc<Address>,
    pub(super) channel: Arc<str>,
    pub(super) ears: Arc<Ears>,
    pub(super) runtime: Arc<dyn Runtime>,
    /// The largest number of an epoch that was seen there.
    pub(super) number: u64,
    /// Which servers the nodes of a quorum are, and this one of them.
    pub(super) servers: Option<Arc<Servers>>,
}

#[async_trait]
impl connection::Dial for Dial {
    type Session = Session;

    /// Connect and log in. Needs a Tokio runtime.
    async fn open(&mut self, number: u64) -> Result<(Session, Driver), Error> {
        let opened = tokio::select! {
            biased;
            opened = self.main(number) => opened.map_err(Error::from),
            () = Patience::of(self.address.timeouts.connect).end(&*self.runtime) => {
                let limit = self.address.timeouts.connect;
                let hint = match self.address.endpoint {
                    #[cfg(feature = "tls")]
                    Endpoint::Tls { .. } => "is it alive, and does this port speak TLS?",
                    _ => "is it alive?",
                };
                let message =
                    format!("it does not answer within {limit:?} (connect_timeout); {hint}");
                Err(Error::unavailable(message))
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
        self.ears.tell(News::Reconnected);
    }
}

impl Dial {
    async fn main(&self, number: u64) -> Result<(Session, Drivers), Failure> {
        let link = self.connect(number, false).await?;
        let greet = async {
            let hears = self.say_hello(&link, number).await?;
            // No answer to it is waited for alone.
            let memory = link.send(Command::of(&["INFO", "memory"]), Expected::Word, None)?;
            if hears {
                self.subscribe(&link).await?;
            }
            let unrecorded = match self.may_be_new() {
                true => Unrecorded::Look,
                false => Unrecorded::Quarantine,
            };
            let (servers, number) = (self.servers.as_deref(), self.number);
            let epoch =
                epoch::enter(&link, &self.address, unrecorded, number, servers, &*self.runtime)
                    .await?;
            if self.address.is_node {
                teach(&link).await;
            }
            let caveat = eviction::caveat(&memory.wait(&link).await);
            Ok((hears, epoch, caveat.map(Into::into)))
        };
        let (hears, epoch, caveat) = match link.driven(greet).await {
            // Later ones are known to be what they should be.
            Err(e) if number == 1 && !link.has_answered() => {
                return Err(unheard::explain(&self.address.endpoint, e.error, &*self.runtime).await);
            }
            greeted => greeted?,
        };
        let ear = if hears { None } else { Some(self.ear(number).await?) };
        Ok((
            Session { link: link.clone(), epoch: epoch.map(Arc::new), caveat },
            Drivers { main: link, ear, is_node: self.address.is_node },
        ))
    }

    async fn ear(&self, number: u64) -> Result<Arc<Link>, Failure> {
        let link = self.connect(number, true).await?;
        let listen = async {
            self.log_in(&link).await?;
            self.subscribe(&link).await
        };
        link.driven(listen).await?;
        Ok(link)
    }

    /// Whether the server speaks RESP3, which lets one connection do everything.
    async fn say_hello(&self, link: &Arc<Link>, number: u64) -> Result<bool, Failure> {
        let mut hello = Command::of(&["HELLO", "3"]);
        if let Some(password) = self.address.login.password() {
            let user = self.address.login.username().unwrap_or("default");
            ["AUTH", user, password].into_iter().for_each(|word| hello.add(word));
        }
        ["SETNAME", "leasehold"].into_iter().for_each(|word| hello.add(word));
        match link.call(hello).await {
            Ok(Value::Map(about)) if is_mode(&about, b"sentinel") => {
                let message = "this is a sentinel, which has no locks; the URL must lead to the \
                               primary that it watches";
                return Err(Error::new(Kind::Unsupported, message).into());
            }
            // Not at a later one: a cluster that grows meanwhile must not end leases that
            // this node still has.
            Ok(Value::Map(about)) if number == 1 && is_mode(&about, b"cluster") => {
                cluster::refuse_several(link).await?;
            }
            Ok(Value::Map(_)) => {}
            Ok(other) => return Err(no_redis("HELLO", &other)),
            Err(e) if e.is_unknown_command() || e.code == "NOPROTO" => {
                self.log_in(link).await?;
                return Ok(false);
            }
            Err(e) => return Err(e),
        }
        self.select_database(link).await?;
        Ok(true)
    }

    async fn log_in(&self, link: &Arc<Link>) -> Result<(), Failure> {
        if let Some(password) = self.address.login.password() {
            let mut auth = Command::of(&["AUTH"]);
            auth.add(self.address.login.username());
            auth.add(password);
            let answer = link.call(auth).await?;
            is_ok("AUTH", &answer)?;
        }
        self.select_database(link).await
    }

    async fn select_database(&self, link: &Arc<Link>) -> Result<(), Failure> {
        if self.address.login.db() != 0 {
            let select = Command::of(&["SELECT", &self.address.login.db().to_string()]);
            let selected = link.call(select).await;
            let answer = selected.map_err(|e| match &*e.code {
                "ERR" => Error::invalid("the server has no such database").because(e.error).into(),
                _ => e,
            })?;
            is_ok("SELECT", &answer)?;
        }
        Ok(())
    }

    async fn subscribe(&self, link: &Arc<Link>) -> Result<(), Failure> {
        let subscribe = Command::of(&["SUBSCRIBE", &self.channel]);
        link.ask(subscribe, Expected::Subscription, None).await.map(drop)
    }

    /// `hears_lists`: to be subscribed without RESP3.
    async fn connect(&self, number: u64, hears_lists: bool) -> Result<Arc<Link>, Error> {
        let failed = |e: std::io::Error| {
            Error::unavailable("is the server running, and the address right?").because(e)
        };
        match &self.address.endpoint {
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                let socket = Socket::unix(stream).map_err(failed)?;
                Ok(self.plain_link(number, hears_lists, socket))
            }
            Endpoint::Tcp { host, port } => {
                let stream = connect_tcp(host, *port).await.map_err(failed)?;
                let socket = Socket::tcp(stream).map_err(failed)?;
                Ok(self.plain_link(number, hears_lists, socket))
            }
            #[cfg(feature = "tls")]
            Endpoint::Tls { host, port, ca } => {
                let stream = connect_tcp(host, *port).await.map_err(failed)?;
                let trust = Trust { ca: ca.as_deref(), ..Trust::default() };
                let mut stream = trust.wrap(Wire::Awaited(stream), host).await?;
                let socket = stream.get_mut().0.free().map_err(failed)?;
                let (reader, writer) = tokio::io::split(stream);
                let inbox = Inbox::of(reader, self.channel.clone(), hears_lists, false);
                Ok(self.link(number, inbox, writer, socket))
            }
        }
    }

    fn plain_link(&self, number: u64, hears_lists: bool, socket: Socket) -> Arc<Link> {
        let inbox = Inbox::of(socket.clone(), self.channel.clone(), hears_lists, true);
        self.link(number, inbox, socket.clone(), socket)
    }

    fn link(
        &self,
        number: u64,
        inbox: Inbox,
        writer: impl AsyncWrite + Send + 'static,
        socket: Socket,
    ) -> Arc<Link> {
        let times = (self.runtime.clone(), self.address.timeouts.response);
        Link::over(number, times, (inbox, self.ears.clone()), writer, socket)
    }

    fn may_be_new(&self) -> bool {
        let quarantine = self.address.quarantine.as_ref();
        quarantine.is_some_and(|quarantine| quarantine.founding.load(Ordering::SeqCst))
    }
}

/// Load the scripts of a node: whoever has enough votes does not wait to hear
/// from the others that they do not know one. Where that is not allowed, they
/// learn them in time.
async fn teach(link: &Arc<Link>) {
    for script in [&scripts::VOTE, &scripts::GIVE_BACK, &scripts::KEEP] {
        let loaded = link.call(Command::of(&["SCRIPT", "LOAD", &script.body])).await;
        if let Ok(other) = loaded
            && !matches!(&other, Value::BulkString(hash) if hash == script.hash.as_bytes())
        {
            link.shut("the server did not load a script that it was given");
        }
    }
}

fn is_mode(about: &[(Value, Value)], mode: &[u8]) -> bool {
    let is = |value: &Value, word: &[u8]| matches!(value, Value::BulkString(text) if text == word);
    about.iter().any(|(what, how)| is(what, b"mode") && is(how, mode))
}

fn is_ok(command: &str, answer: &Value) -> Result<(), Failure> {
    match answer {
        Value::Okay => Ok(()),
        other => Err(no_redis(command, other)),
    }
}

fn no_redis(command: &str, answer: &Value) -> Failure {
    let message = format!("is this a Redis server? It answers {command} by {answer:?}");
    Error::unavailable(message).into()
}
