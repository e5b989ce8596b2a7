//! Encryption, as the driver of the protocol wants to have it.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::backend::sql::Tls;
use crate::backend::tls::Trust;
use crate::error::Error;

/// With the server of this name.
pub(super) struct Wrap {
    pub(super) host: String,
    pub(super) tls: Tls,
}

impl TlsConnect<TcpStream> for Wrap {
    type Stream = Wrapped;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Wrapped, Error>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let identity = self.tls.identity.as_ref();
            let trust = Trust {
                ca: self.tls.ca.as_deref(),
                identity: identity.map(|(certificate, key)| (&**certificate, &**key)),
                protocol: Some("postgresql"),
            };
            trust.wrap(stream, &self.host).await.map(Wrapped)
        })
    }
}

/// An encrypted connection.
pub(super) struct Wrapped(tokio_rustls::client::TlsStream<TcpStream>);

impl TlsStream for Wrapped {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Wrapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
