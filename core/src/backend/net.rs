//! What connections to servers have in common: how long a server is waited for,
//! and sockets that notice when the other side is gone.

// The driver of MySQL opens and encrypts its connections itself.
#![cfg_attr(
    not(any(feature = "redis", feature = "etcd", feature = "postgres", feature = "zookeeper")),
    allow(dead_code)
)]

use std::time::Duration;

use tokio::net::TcpStream;

use crate::error::Error;
use crate::runtime::Runtime;

/// How long a server is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeouts {
    /// Until a connection can be used.
    pub(super) connect: Duration,
    /// Without an answer, while one is due.
    pub(super) response: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), response: Duration::from_secs(3) }
    }
}

impl Timeouts {
    /// The `response_timeout` if it is longer than the default, else zero.
    pub(super) fn longer_response(self) -> Duration {
        let is_longer = self.response > Self::default().response;
        if is_longer { self.response } else { Duration::ZERO }
    }

    /// Take an option of a URL, if it is one of these.
    pub(super) fn set(&mut self, option: &str, value: &str) -> Option<Result<(), Error>> {
        let timeout = match option {
            "connect_timeout" => &mut self.connect,
            "response_timeout" => &mut self.response,
            _ => return None,
        };
        Some(span(option, value).and_then(|span| match span.is_zero() {
            true => Err(Error::invalid(format!("{option}={value} in the URL leaves no time"))),
            false => {
                *timeout = span;
                Ok(())
            }
        }))
    }
}

/// A span of time in a URL.
pub(super) fn span(option: &str, value: &str) -> Result<Duration, Error> {
    humantime::parse_duration(value).map_err(|e| {
        let message = format!("{option}={value} in the URL is not a time such as 30s");
        Error::invalid(message).because(e)
    })
}

/// How long somebody is waited for, counted in slices of time.
///
/// A client that did not run for a while, because its process was stopped or the
/// machine was busy, must first read what has come meanwhile before it blames the
/// other side. So a slice counts as one however long it took, and there is a look
/// at the socket after each.
pub(super) struct Patience {
    slice: Duration,
    left: u32,
}

impl Patience {
    const SLICES: u32 = 8;

    pub(super) fn of(span: Duration) -> Self {
        // One more than fits, as the last may be one in which we did not run.
        Self { slice: span / Self::SLICES, left: Self::SLICES + 1 }
    }

    /// Let a slice pass; answers whether it was the last.
    pub(super) async fn slice(&mut self, runtime: &dyn Runtime) -> bool {
        runtime.sleep(self.slice).await;
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    /// Let all of them pass.
    pub(super) async fn end(mut self, runtime: &dyn Runtime) {
        while !self.slice(runtime).await {}
    }
}

/// After so long without a word the other side is asked whether it is there,
const KEEPALIVE: Duration = Duration::from_secs(15);
/// so often,
const PROBES: u32 = 3;
/// at this distance.
const BETWEEN_PROBES: Duration = Duration::from_secs(5);

/// A connection that small requests do not wait in, and that ends within half a
/// minute when the other side is gone without a word.
pub(super) async fn connect_tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    use rustix::net::sockopt;
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(&stream, BETWEEN_PROBES)?;
    sockopt::set_tcp_keepcnt(&stream, PROBES)?;
    Ok(stream)
}
