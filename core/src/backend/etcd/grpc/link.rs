//! One connection to one member: HTTP/2, and gRPC over it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use super::failure::{Is, Trouble};
use super::messages::{Answer, AuthenticateRequest, AuthenticateResponse, ResponseHeader};
use crate::backend::connection::Driver;
use crate::backend::net::Patience;
use crate::error::{Error, Kind, Outcome};
use crate::runtime::Runtime;

/// So long may what stands before an answer be.
const MOST_HEADERS: u32 = 16 << 10;

/// How a member is spoken to.
pub(super) struct Manner {
    pub(super) origin: Uri,
    pub(super) login: Option<AuthenticateRequest>,
    /// One that has not answered a request for this long is given up.
    pub(super) response_timeout: Duration,
    pub(super) identity: Arc<Identity>,
}

/// Which cluster a client uses: the first that it came to, for ever. Another one
/// knows nothing of its leases.
#[derive(Default)]
pub(super) struct Identity(OnceLock<u64>);

impl Identity {
    fn check(&self, header: Option<&ResponseHeader>) -> Result<(), Trouble> {
        let id = header.map_or(0, |header| header.cluster_id);
        if id == 0 {
            return Err(Trouble::strange("an answer that names no cluster"));
        }
        let ours = *self.0.get_or_init(|| id);
        if ours == id {
            return Ok(());
        }
        let message = format!(
            "another cluster answers here, {id:x} instead of {ours:x}: are the members that the \
             URL names all of one cluster? Close this client and connect again to use another"
        );
        let error = Error::new(Kind::Refused, message).with_outcome(Outcome::Unknown);
        Err(Trouble { error, is: Is::TheMember })
    }
}

/// A connection, which works while its driver does.
pub(super) struct Link {
    grpc: Grpc<Channel>,
    runtime: Arc<dyn Runtime>,
    login: Option<AuthenticateRequest>,
    response_timeout: Duration,
    identity: Arc<Identity>,
    token: Mutex<Option<MetadataValue<Ascii>>>,
    /// Why it has to end.
    broken: Mutex<Option<String>>,
    end: Notify,
}

/// A method of etcd's API.
pub(super) type Method = &'static str;

impl Link {
    /// Speak HTTP/2 over a stream.
    pub(super) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        manner: Manner,
        runtime: Arc<dyn Runtime>,
    ) -> Result<(Arc<Self>, Driver), Error> {
        let mut http = http2::Builder::new(Spawner(runtime.clone()));
        http.max_header_list_size(MOST_HEADERS);
        let opened = http.handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            opened.map_err(|e| Error::unavailable("it does not speak HTTP/2").because(e))?;
        let link = Arc::new(Self {
            grpc: Grpc::with_origin(Channel(sender), manner.origin),
            runtime,
            login: manner.login,
            response_timeout: manner.response_timeout,
            identity: manner.identity,
            token: Mutex::default(),
            broken: Mutex::default(),
            end: Notify::new(),
        });
        let driven = link.clone();
        let driver = async move {
            tokio::select! {
                ended = connection => match ended {
                    Ok(()) => "the member closed the connection".to_owned(),
                    Err(e) => format!("the connection broke: {e}"),
                },
                () = driven.end.notified() => {
                    lock(&driven.broken).clone().unwrap_or_default()
                }
            }
        };
        Ok((link, Box::pin(driver)))
    }

    /// End the connection: another member may do better.
    pub(super) fn shut(&self, why: &str) {
        lock(&self.broken).get_or_insert_with(|| why.to_owned());
        self.end.notify_one();
    }

    /// One request and its answer.
    pub(super) async fn call<Q, A>(&self, method: Method, message: Q) -> Result<A, Trouble>
    where
        Q: prost::Message + Clone + 'static,
        A: Answer,
    {
        self.logged_in(|| self.call_once(method, message.clone())).await
    }

    /// One request, and the first of its answers.
    pub(super) async fn call_for_one<Q, A>(&self, method: Method, message: Q) -> Result<A, Trouble>
    where
        Q: prost::Message + Clone + 'static,
        A: Answer,
    {
        self.logged_in(|| {
            let (mut grpc, request) = (self.grpc.clone(), self.request(message.clone()));
            self.in_time(async move {
                grpc.ready().await.map_err(not_sent)?;
                let path = PathAndQuery::from_static(method);
                let mut answers = grpc.server_streaming(request, path, codec()).await?.into_inner();
                let answer: Option<A> = answers.message().await?;
                answer.ok_or_else(|| Trouble::strange("nothing"))
            })
        })
        .await
    }

    /// Log in again if that is what is missing; then nothing was done before.
    async fn logged_in<T, F>(&self, ask: impl Fn() -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        match ask().await {
            Err(trouble) if trouble.is == Is::LoggedOut && self.login.is_some() => {
                self.log_in().await?;
                ask().await
            }
            answer => answer,
        }
    }

    async fn call_once<Q, A>(&self, method: Method, message: Q) -> Result<A, Trouble>
    where
        Q: prost::Message + 'static,
        A: Answer,
    {
        let (mut grpc, request) = (self.grpc.clone(), self.request(message));
        let answered = async move {
            grpc.ready().await.map_err(not_sent)?;
            let answer = grpc.unary(request, PathAndQuery::from_static(method), codec()).await;
            Ok(answer?.into_inner())
        };
        self.in_time(answered).await
    }

    /// Many requests, and many answers. It is open when the first answer comes.
    pub(super) async fn stream<Q, A>(
        &self,
        method: Method,
        requests: impl tokio_stream::Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<A>, Trouble>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let (mut grpc, mut request) = (self.grpc.clone(), self.request(requests));
        // Else a member that is cut off from the others would stay silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        grpc.ready().await.map_err(not_sent)?;
        let path = PathAndQuery::from_static(method);
        Ok(grpc.streaming(request, path, codec()).await?.into_inner())
    }

    /// Get a token for the user, if there is one.
    pub(super) async fn log_in(&self) -> Result<(), Trouble> {
        let Some(login) = &self.login else { return Ok(()) };
        *lock(&self.token) = None;
        let answer = self.call_once("/etcdserverpb.Auth/Authenticate", login.clone()).await;
        let answer: AuthenticateResponse = answer?;
        let token = answer.token.parse();
        let token = token.map_err(|_| Error::unavailable("etcd gave a token that is no text"))?;
        *lock(&self.token) = Some(token);
        Ok(())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = lock(&self.token).clone() {
            request.metadata_mut().insert("token", token);
        }
        request
    }

    /// Whether an answer comes from the cluster that this client uses.
    pub(super) fn check(&self, header: Option<&ResponseHeader>) -> Result<(), Trouble> {
        self.identity.check(header)
    }

    /// A member that does not answer, or says that it cannot, is given up.
    async fn in_time<A: Answer>(
        &self,
        answered: impl Future<Output = Result<A, Trouble>>,
    ) -> Result<A, Trouble> {
        let limit = self.response_timeout;
        let answer = tokio::select! {
            biased;
            answer = answered => {
                answer.and_then(|answer| self.check(answer.header()).map(|()| answer))
            }
            () = Patience::of(limit).end(&*self.runtime) => {
                let message = format!(
                    "the member has not answered for {limit:?} (response_timeout in the URL)"
                );
                let error = Error::unavailable(message).with_outcome(Outcome::Unknown);
                Err(Trouble { error, is: Is::TheMember })
            }
        };
        if let Err(Trouble { error, is: Is::TheMember | Is::Broken }) = &answer {
            self.shut(&error.to_string());
        }
        answer
    }
}

fn codec<Q, A>() -> ProstCodec<Q, A>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    ProstCodec::default()
}

fn not_sent(e: hyper::Error) -> Trouble {
    Trouble { error: Error::unavailable("the connection is over").because(e), is: Is::Broken }
}

/// What tonic asks of a connection.
#[derive(Clone)]
struct Channel(SendRequest<Body>);

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// What hyper runs beside the connection.
#[derive(Clone)]
struct Spawner(Arc<dyn Runtime>);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, task: F) {
        self.0.spawn(Box::pin(async move { drop(task.await) }));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
