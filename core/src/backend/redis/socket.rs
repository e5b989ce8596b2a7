//! The socket of a connection. Nothing here waits: whoever tends the link does.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A socket that never blocks.
#[derive(Clone)]
pub(super) enum Socket {
    Tcp(Arc<TcpStream>),
    Unix(Arc<UnixStream>),
}

impl Socket {
    pub(super) fn tcp(stream: tokio::net::TcpStream) -> io::Result<Self> {
        Ok(Self::Tcp(Arc::new(stream.into_std()?)))
    }

    pub(super) fn unix(stream: tokio::net::UnixStream) -> io::Result<Self> {
        Ok(Self::Unix(Arc::new(stream.into_std()?)))
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }

    /// The other side sees the end, and whoever waits for this side does.
    pub(super) fn shut_down(&self) {
        // It may have ended by itself.
        drop(match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        });
    }

    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&**stream).read(into),
            Self::Unix(stream) => (&**stream).read(into),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&**stream).write(bytes),
            Self::Unix(stream) => (&**stream).write(bytes),
        }
    }
}

impl Socket {
    /// The same once more, to wait for it somewhere.
    pub(super) fn twin(&self) -> io::Result<Twin> {
        Ok(match self {
            Self::Tcp(stream) => Twin::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Twin::Unix(stream.try_clone()?),
        })
    }
}

/// A second descriptor of a socket. Nothing is read or written by it.
pub(super) enum Twin {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// It is waited for in a runtime.
pub(super) enum Watch {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Twin {
    /// Panics where the runtime has no I/O.
    pub(super) fn watch(self) -> io::Result<Watch> {
        Ok(match self {
            Self::Tcp(stream) => Watch::Tcp(tokio::net::TcpStream::from_std(stream)?),
            Self::Unix(stream) => Watch::Unix(tokio::net::UnixStream::from_std(stream)?),
        })
    }
}

impl Watch {
    pub(super) async fn ready(&self, to: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.ready(to).await,
            Self::Unix(stream) => stream.ready(to).await,
        }
        .map(drop)
    }

    /// Look, and count what was seen as done with: it is ready again when there is more.
    pub(super) fn done<T>(&self, with: Interest, look: impl FnOnce() -> T) -> Option<T> {
        let mut seen = None;
        let look = || {
            seen = Some(look());
            io::Result::<()>::Err(io::ErrorKind::WouldBlock.into())
        };
        // It answers what the look does.
        drop(match self {
            Self::Tcp(stream) => stream.try_io(with, look),
            Self::Unix(stream) => stream.try_io(with, look),
        });
        seen
    }

    /// Wait for it no more.
    pub(super) fn end(self) -> io::Result<Twin> {
        Ok(match self {
            Self::Tcp(stream) => Twin::Tcp(stream.into_std()?),
            Self::Unix(stream) => Twin::Unix(stream.into_std()?),
        })
    }
}

/// What an attempt came to; pending wakes nobody.
fn tried(mut attempt: impl FnMut() -> io::Result<usize>) -> Poll<io::Result<usize>> {
    loop {
        match attempt() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = into.initialize_unfilled();
        tried(|| self.receive(room)).map_ok(|length| into.advance(length))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        tried(|| self.send(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut_down();
        Poll::Ready(Ok(()))
    }
}

/// What is encrypted: the client's thread waits for it until all is agreed.
#[cfg(feature = "tls")]
pub(super) enum Wire {
    Awaited(tokio::net::TcpStream),
    Free(Socket),
    /// While it becomes the other.
    Between,
}

#[cfg(feature = "tls")]
impl Wire {
    /// From now on nobody waits for it here.
    pub(super) fn free(&mut self) -> io::Result<Socket> {
        let socket = match std::mem::replace(self, Self::Between) {
            Self::Awaited(stream) => Socket::tcp(stream)?,
            Self::Free(socket) => socket,
            Self::Between => return Err(io::ErrorKind::NotConnected.into()),
        };
        *self = Self::Free(socket.clone());
        Ok(socket)
    }
}

#[cfg(feature = "tls")]
impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Awaited(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Free(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Between => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

#[cfg(feature = "tls")]
impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Awaited(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Free(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Between => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Awaited(stream) => Pin::new(stream).poll_flush(cx),
            Self::Free(_) | Self::Between => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Awaited(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Free(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Between => Poll::Ready(Ok(())),
        }
    }
}
