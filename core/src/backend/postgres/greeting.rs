//! Who greeted us: the number of the process that said it would serve us. A pooler says
//! something else than what the server's process says of itself later.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Client;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// A request to cancel begins with its length, what it is, and the process.
const PROCESS: std::ops::Range<usize> = 8..12;
const CANCEL: usize = 16;

/// The driver keeps it for requests to cancel, so it is asked to write one.
pub(super) async fn greeted_by(client: &Client) -> Option<i32> {
    let mut written = Vec::new();
    client.cancel_token().cancel_query_raw(Paper(&mut written), Paperclip).await.ok()?;
    let request = &written[written.len().checked_sub(CANCEL)?..];
    request[PROCESS].try_into().ok().map(i32::from_be_bytes)
}

/// What is written stays there. Who asks it for encryption is told to go on.
struct Paper<'a>(&'a mut Vec<u8>);

struct Paperclip;

impl<'a> TlsConnect<Paper<'a>> for Paperclip {
    type Stream = Paper<'a>;
    type Error = Infallible;
    type Future = Ready<Result<Paper<'a>, Infallible>>;

    fn connect(self, paper: Paper<'a>) -> Self::Future {
        ready(Ok(paper))
    }
}

impl TlsStream for Paper<'_> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Paper<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        into.put_slice(b"S");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Paper<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
