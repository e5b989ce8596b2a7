//! Opening a connection: the socket, encryption, the session, and the login.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::address::Address;
use super::failure::strange;
use super::link::{GoesOn, Link, frame};
use super::news::News;
use super::places::Places;
use super::proof::Proof;
use super::words::{self, Access, Ask, Session};
use crate::backend::connection::{self, Driver};
use crate::backend::net::{Patience, connect_tcp};
#[cfg(feature = "tls")]
use crate::backend::tls::Trust;
use crate::error::{Error, Kind};
use crate::runtime::Runtime;
use crate::time::Instant;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
type Halves = (ReadHalf<Box<dyn Stream>>, WriteHalf<Box<dyn Stream>>);

/// A connection on which a server has answered.
struct Entered {
    stream: Box<dyn Stream>,
    session: Session,
    /// When it was asked for the session.
    sent: Instant,
}

/// The servers, one of which is used at a time.
pub(super) struct Servers {
    pub(super) address: Arc<Address>,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Whose turn it is.
    turn: usize,
    /// Those that did not answer in time when they were asked last.
    hung: Vec<bool>,
}

impl Servers {
    pub(super) fn new(address: Arc<Address>, runtime: Arc<dyn Runtime>) -> Self {
        let turn = runtime.random() as usize % address.cluster.members.len();
        let hung = vec![false; address.cluster.members.len()];
        Self { address, runtime, turn, hung }
    }

    /// The next to be tried is another.
    fn go_on(&mut self) {
        self.turn = (self.turn + 1) % self.address.cluster.members.len();
    }

    /// In which order they are tried: one that hung may do so still.
    fn order(&self) -> Vec<usize> {
        let count = self.address.cluster.members.len();
        let mut order: Vec<_> = (0..count).map(|by| (self.turn + by) % count).collect();
        order.sort_by_key(|at| self.hung[*at]);
        order
    }

    /// Ask for a session, or to go on with one, at the first server that lets us; each is
    /// waited for so long.
    async fn enter(
        &mut self,
        session: &Session,
        seen: i64,
        limit: Duration,
    ) -> Result<Entered, Error> {
        let mut worst: Option<Error> = None;
        for (tried, at) in self.order().into_iter().enumerate() {
            // The others could be there again sooner.
            let limit = if self.hung[at] && tried > 0 { limit / 4 } else { limit };
            let entered = tokio::select! {
                biased;
                entered = self.enter_at(at, session, seen) => {
                    self.hung[at] = false;
                    entered
                }
                () = Patience::of(limit).end(&*self.runtime) => {
                    self.hung[at] = true;
                    let hint = match self.address.cluster.tls {
                        Some(_) => "is it alive, and does this port speak TLS?",
                        None => "is it alive?",
                    };
                    let message =
                        format!("it does not answer within {limit:?} (connect_timeout); {hint}");
                    Err(Error::unavailable(message))
                }
            };
            let error = match entered {
                Ok(entered) => {
                    self.turn = at;
                    return Ok(entered);
                }
                Err(error) => error,
            };
            let (host, port) = &self.address.cluster.members[at];
            let error =
                Error::new(error.kind(), format!("cannot use {host}:{port}")).because(error);
            // What is wrong with one may be a matter of all.
            match &worst {
                Some(before) if before.kind() != Kind::Unavailable => {}
                _ => worst = Some(error),
            }
        }
        Err(worst.unwrap_or_else(|| Error::unavailable("there is no server")))
    }

    async fn enter_at(&self, at: usize, session: &Session, seen: i64) -> Result<Entered, Error> {
        let (host, port) = &self.address.cluster.members[at];
        let broken = |e: std::io::Error| Error::unavailable("the connection broke").because(e);
        let stream = connect_tcp(host, *port).await;
        let stream = stream.map_err(|e| Error::unavailable("no connection").because(e))?;
        let mut stream = self.wrap(stream, host).await?;
        let sent = self.runtime.now();
        stream.write_all(&session.message(seen)).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let message = read_one(&mut stream).await?;
        let odd = |_| Error::unavailable("it does not speak as a ZooKeeper does");
        let (answered, reads_only) = Session::answer(&message).map_err(odd)?;
        if reads_only {
            return Err(Error::unavailable("it has no leader, and only reads"));
        }
        let mut entered = Entered { stream, session: answered, sent };
        if entered.is_over() {
            return Ok(entered);
        }
        if session.id != 0 && entered.session.id != session.id {
            return Err(strange("another session than the one that was to go on"));
        }
        if let Some((user, password)) = &self.address.cluster.login {
            let stream = &mut entered.stream;
            stream.write_all(&words::log_in(user, password)).await.map_err(broken)?;
            stream.flush().await.map_err(broken)?;
            let answer = read_one(stream).await?;
            let is_let_in = words::is_let_in(&answer)
                .map_err(|_| strange("an answer to a login that is none"))?;
            if !is_let_in {
                let message = "the user and password are not accepted";
                return Err(Error::new(Kind::Refused, message));
            }
        }
        Ok(entered)
    }

    #[cfg(feature = "tls")]
    async fn wrap(
        &self,
        stream: tokio::net::TcpStream,
        host: &str,
    ) -> Result<Box<dyn Stream>, Error> {
        let Some(tls) = &self.address.cluster.tls else { return Ok(Box::new(stream)) };
        let identity = tls.identity.as_ref().map(|(cert, key)| (&**cert, &**key));
        let trust = Trust { ca: tls.ca.as_deref(), identity, protocol: None };
        Ok(Box::new(trust.wrap(stream, host).await?))
    }

    #[cfg(not(feature = "tls"))]
    async fn wrap(&self, stream: tokio::net::TcpStream, _: &str) -> Result<Box<dyn Stream>, Error> {
        Ok(Box::new(stream))
    }

    /// The shortest timeout that the servers give a session.
    pub(super) async fn shortest(&mut self) -> Result<Duration, Error> {
        let asked = Session { timeout_ms: 1, ..Session::default() };
        let limit = self.address.cluster.timeouts.connect;
        let entered = self.enter(&asked, 0, limit).await?;
        if entered.is_over() {
            return Err(strange("a new session that is over"));
        }
        let shortest = entered.timeout();
        entered.close().await;
        Ok(shortest)
    }
}

impl Entered {
    /// The session that was to go on is over.
    fn is_over(&self) -> bool {
        self.session.id == 0 || self.session.timeout_ms <= 0
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.session.timeout_ms).unwrap_or(0))
    }

    /// End the session, which nobody needs. If that does not arrive, it ends by itself.
    async fn close(mut self) {
        let message = Ask::Close.message(0, Access::Everybody);
        if self.stream.write_all(&message).await.is_ok() {
            drop(self.stream.flush().await);
        }
    }
}

async fn read_one(stream: &mut Box<dyn Stream>) -> Result<Vec<u8>, Error> {
    // No more than this one: what follows is read by the link.
    const MOST: usize = 4096;
    let broken = |e: std::io::Error| Error::unavailable("the connection broke").because(e);
    let mut message = vec![0; 4];
    stream.read_exact(&mut message).await.map_err(broken)?;
    let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]) as usize;
    if length > MOST {
        return Err(Error::unavailable("it does not speak as a ZooKeeper does"));
    }
    message.resize(4 + length, 0);
    stream.read_exact(&mut message[4..]).await.map_err(broken)?;
    match frame(&message) {
        Ok(Some(whole)) => Ok(whole.to_vec()),
        _ => Err(Error::unavailable("it does not speak as a ZooKeeper does")),
    }
}

/// How long things take in a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The timeout that it is to have.
    pub(super) timeout: Duration,
    /// See [`Proof`].
    pub(super) apart: Duration,
    /// Between two beats.
    pub(super) beat: Duration,
    /// How long a server is waited for,
    pub(super) response: Duration,
    /// and until it can be used.
    pub(super) connect: Duration,
}

/// How a session is opened, and goes on over one connection after the other.
pub(super) struct Dial {
    pub(super) servers: Servers,
    pub(super) pace: Pace,
    /// The longest timeout that the servers give, in ms; 0: not known.
    pub(super) longest: Arc<AtomicI64>,
    session: Session,
    proof: Arc<Proof>,
    goes_on: Arc<GoesOn>,
    places: Weak<Places>,
    news: Arc<News>,
}

impl Dial {
    pub(super) fn new(
        servers: Servers,
        pace: Pace,
        longest: Arc<AtomicI64>,
        places: Weak<Places>,
        news: Arc<News>,
    ) -> Self {
        let (proof, goes_on) = (Arc::new(Proof::new(pace.apart)), Arc::default());
        let session = Session::default();
        Self { servers, pace, longest, session, proof, goes_on, places, news }
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.pace.timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
    }

    /// Whether it has not been proven for so long that nothing is held in it any more. To go
    /// on asking for it could keep it alive unseen, where answers are lost.
    fn is_abandoned(&self) -> bool {
        let timeout = u64::try_from(self.session.timeout_ms).unwrap_or(0);
        let ends = self.proof.since().map(|since| since + Duration::from_millis(timeout));
        self.session.id != 0 && ends.is_none_or(|ends| ends <= self.servers.runtime.now())
    }

    /// It is over, and all that lived with it.
    fn session_over(&mut self) {
        self.proof.over();
        if let Some(places) = self.places.upgrade() {
            places.session_over(self.session.id);
        }
        self.session = Session::default();
        self.proof = Arc::new(Proof::new(self.pace.apart));
    }

    async fn enter(&mut self) -> Result<Entered, Error> {
        let limit = self.pace.connect;
        if self.is_abandoned() {
            self.session_over();
        }
        if self.session.id != 0 {
            let seen = self.goes_on.seen.load(Ordering::Relaxed);
            let entered = self.servers.enter(&self.session, seen, limit).await?;
            if !entered.is_over() {
                if entered.session.timeout_ms < self.session.timeout_ms {
                    // It may end sooner than was believed: nothing is held in it any more.
                    self.session_over();
                    self.news.all();
                    let message = "the server gives a session less time than another one of the \
                                   URL did: maxSessionTimeout must be the same for all of them";
                    return Err(Error::new(Kind::Refused, message));
                }
                return Ok(entered);
            }
            self.session_over();
        }
        let new = Session { timeout_ms: self.timeout_ms(), ..Session::default() };
        let seen = self.goes_on.seen.load(Ordering::Relaxed);
        let entered = self.servers.enter(&new, seen, limit).await?;
        if entered.is_over() {
            return Err(strange("a new session that is over"));
        }
        if entered.session.timeout_ms < new.timeout_ms {
            let given = entered.timeout();
            self.longest.store(entered.session.timeout_ms.into(), Ordering::Relaxed);
            entered.close().await;
            return Err(too_long(self.pace.timeout, given));
        }
        self.session = entered.session.clone();
        Ok(entered)
    }
}

/// The servers give no session so much time.
pub(super) fn too_long(wanted: Duration, given: Duration) -> Error {
    Error::invalid(format!(
        "a lease of this ttl needs a session of {wanted:.1?}, and the servers allow for \
         {given:.1?} at most; ask for a shorter ttl, or raise their maxSessionTimeout"
    ))
}

#[async_trait]
impl connection::Dial for Dial {
    type Session = Arc<Link>;

    /// Connect and log in. Needs a Tokio runtime.
    async fn open(&mut self, _: u64) -> Result<(Arc<Link>, Driver), Error> {
        let Entered { stream, session, sent } = self.enter().await?;
        self.proof.connected(sent);
        let timeout = Duration::from_millis(u64::try_from(session.timeout_ms).unwrap_or(0));
        let access = match self.servers.address.cluster.login {
            Some(_) => Access::LoggedIn,
            None => Access::Everybody,
        };
        let news = self.news.clone();
        let link = Link::new(
            (self.news.number(), session.id),
            (self.proof.clone(), timeout),
            access,
            self.goes_on.clone(),
            Box::new(move |link, path| news.changed(link, path)),
        );
        self.news.listen(&link);
        self.servers.go_on();
        let (runtime, pace) = (self.servers.runtime.clone(), self.pace);
        let driven = Driven(link.clone());
        let halves: Halves = tokio::io::split(stream);
        let driver =
            async move { driven.0.drive(halves, &*runtime, pace.response, pace.beat).await };
        Ok((link, Box::pin(driver)))
    }

    fn reconnected(&self) {
        self.news.all();
    }
}

/// Nobody waits on a link that nobody drives, however that came about.
struct Driven(Arc<Link>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.shut("the connection to the server was closed");
    }
}
