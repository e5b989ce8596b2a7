//! A blocking connection to a server, for assertions.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::patience::{LIMIT, now};
use crate::resp::{Reply, encode, parse_reply};

/// One connection, on which commands may be pipelined and pushes may come.
pub struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
    limit: Duration,
}

impl Connection {
    /// Connect to a port of this machine.
    pub fn open(port: u16) -> io::Result<Self> {
        Self::open_limited(port, LIMIT)
    }

    /// Connect; neither that nor any single reply may take longer than the limit.
    pub fn open_limited(port: u16, limit: Duration) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let socket = TcpStream::connect_timeout(&address, limit)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, received: Vec::new(), limit })
    }

    /// Send a command and do not wait for anything.
    pub fn send(&mut self, arguments: &[&str]) -> io::Result<()> {
        self.socket.write_all(&encode(arguments))
    }

    /// The next thing that the server says.
    pub fn receive(&mut self) -> io::Result<Reply> {
        self.receive_limited(self.limit)
    }

    /// The next thing that the server says within the limit; `TimedOut` otherwise.
    pub fn receive_limited(&mut self, limit: Duration) -> io::Result<Reply> {
        let end = now() + limit;
        loop {
            if let Some((reply, length)) = parse_reply(&self.received)? {
                self.received.drain(..length);
                return Ok(reply);
            }
            self.read_until(end)?;
        }
    }

    /// Send a command and wait for what the server says next.
    pub fn ask(&mut self, arguments: &[&str]) -> io::Result<Reply> {
        self.send(arguments)?;
        self.receive()
    }

    fn read_until(&mut self, end: Instant) -> io::Result<()> {
        let left = end.saturating_duration_since(now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        let mut some = [0; 4096];
        match self.socket.read(&mut some) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.received.extend_from_slice(&some[..length]);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e),
        }
    }
}
