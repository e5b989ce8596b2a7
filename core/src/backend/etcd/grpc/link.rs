//! One connection to one member: HTTP/2, and gRPC over it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use super::messages::{AuthenticateRequest, AuthenticateResponse};
use crate::backend::connection::Driver;
use crate::error::{Error, Outcome};
use crate::runtime::Runtime;

/// A member that has not answered a request for this long is given up.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection, which works while its driver does.
pub(super) struct Link {
    grpc: Grpc<Channel>,
    runtime: Arc<dyn Runtime>,
    login: Option<AuthenticateRequest>,
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
        origin: Uri,
        login: Option<AuthenticateRequest>,
        runtime: Arc<dyn Runtime>,
    ) -> Result<(Arc<Self>, Driver), Error> {
        let spawner = Spawner(runtime.clone());
        let opened = http2::Builder::new(spawner).handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            opened.map_err(|e| Error::unavailable("it does not speak HTTP/2").because(e))?;
        let link = Arc::new(Self {
            grpc: Grpc::with_origin(Channel(sender), origin),
            runtime,
            login,
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
        A: prost::Message + Default + 'static,
    {
        self.logged_in(|| self.call_once(method, message.clone())).await
    }

    /// One request, and the first of its answers.
    pub(super) async fn call_for_one<Q, A>(&self, method: Method, message: Q) -> Result<A, Trouble>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        self.logged_in(|| {
            let (mut grpc, request) = (self.grpc.clone(), self.request(message.clone()));
            self.in_time(async move {
                grpc.ready().await.map_err(not_sent)?;
                let path = PathAndQuery::from_static(method);
                let mut answers = grpc.server_streaming(request, path, codec()).await?.into_inner();
                let answer: Option<A> = answers.message().await?;
                answer.ok_or_else(|| Error::unavailable("the member answered nothing").into())
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
        A: prost::Message + Default + 'static,
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

    /// A member that does not answer, or says that it cannot, is given up.
    async fn in_time<T>(
        &self,
        answered: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let answer = tokio::select! {
            biased;
            answer = answered => answer,
            () = self.runtime.sleep(RESPONSE_TIMEOUT) => {
                let message = format!("the member has not answered for {RESPONSE_TIMEOUT:?}");
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
