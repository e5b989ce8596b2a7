//! A blocking client of ZooKeeper, for assertions and for what others do.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::wire::{Reader, Writer, password};
use crate::patience::{LIMIT, pause};

const NO_NODE: i32 = -101;
const NODE_EXISTS: i32 = -110;

/// How long an end is waited for that nobody has asked for.
const PARTING: Duration = Duration::from_millis(300);

/// Anybody may do anything.
const OPEN: (i32, &str, &str) = (31, "world", "anyone");

/// One connection with a session of its own, which ends with it.
pub struct ZkClient {
    socket: TcpStream,
    xid: i32,
    session: i64,
    timeout: Duration,
    forgotten: bool,
}

/// Why something was not done.
#[derive(Debug)]
pub enum ZkError {
    /// The connection is gone, or the session.
    Io(io::Error),
    /// A server has said so, by its number.
    Code(i32),
}

impl From<io::Error> for ZkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ZkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A node, as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What stands in it.
    pub data: Vec<u8>,
    /// The number of the write that created it.
    pub czxid: u64,
    /// The session with which it ends, or 0.
    pub owner: i64,
}

impl ZkClient {
    /// A client of the server on this port of this machine.
    pub fn connect(port: u16) -> Result<Self, ZkError> {
        Self::connect_limited(port, LIMIT)
    }

    /// Nothing may take longer than the limit.
    pub fn connect_limited(port: u16, limit: Duration) -> Result<Self, ZkError> {
        Self::open(port, limit, Duration::from_secs(10), 0)
    }

    /// A client with a session of this timeout, which the server may change.
    pub fn connect_for(port: u16, timeout: Duration) -> Result<Self, ZkError> {
        Self::open(port, LIMIT, timeout, 0)
    }

    /// Take a session over, from whoever has it, to the server on this port.
    pub fn take_over(port: u16, session: i64) -> Result<Self, ZkError> {
        Self::open(port, LIMIT, Duration::from_secs(10), session)
    }

    fn open(port: u16, limit: Duration, timeout: Duration, session: i64) -> Result<Self, ZkError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut socket = TcpStream::connect_timeout(&address, limit)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(limit))?;
        let secret = if session == 0 { [0; 16] } else { password(session) };
        let hello = Writer::default().int(0).long(0).int(timeout.as_millis() as i32);
        let hello = hello.long(session).bytes(&secret).bool(false);
        socket.write_all(&hello.framed())?;
        let answer = receive(&mut socket)?;
        let mut answer = Reader(&answer);
        let (_, timeout, session) = (answer.int()?, answer.int()?, answer.long()?);
        if session == 0 {
            return Err(io::Error::other("the session is over").into());
        }
        let timeout = Duration::from_millis(timeout as u64);
        Ok(Self { socket, xid: 0, session, timeout, forgotten: false })
    }

    /// The number of its session.
    pub fn session(&self) -> i64 {
        self.session
    }

    /// How long its session lasts without a word.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Be somebody, by name and password.
    pub fn login(&mut self, user: &str, password: &str) -> Result<(), ZkError> {
        let login = Writer::default().int(-4).int(100).int(0);
        let login = login.text("digest").text(&format!("{user}:{password}"));
        self.socket.write_all(&login.framed())?;
        self.answer(-4).map(drop)
    }

    /// A node that stays, and is there already perhaps, with its parents.
    pub fn put(&mut self, path: &str, data: &[u8]) -> Result<(), ZkError> {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for end in ends.collect::<Vec<_>>() {
            match self.create(&path[..end], data, 0) {
                Ok(_) | Err(ZkError::Code(NODE_EXISTS)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Create a node that ends with this session, with a number after its name, and
    /// answer its path.
    pub fn stand(&mut self, path: &str, data: &[u8]) -> Result<String, ZkError> {
        self.create(path, data, 3)
    }

    /// Create a node with these flags: 1 ends with its session, 2 is numbered.
    pub fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Result<String, ZkError> {
        let (rights, scheme, who) = OPEN;
        let acl = |writer: Writer| writer.int(1).int(rights).text(scheme).text(who);
        let said = self.ask(1, |writer| acl(writer.text(path).bytes(data)).int(flags))?;
        Ok(Reader(&said).text()?)
    }

    /// Delete a node, whatever its version.
    pub fn delete(&mut self, path: &str) -> Result<(), ZkError> {
        self.ask(2, |writer| writer.text(path).int(-1)).map(drop)
    }

    /// Put something else into a node.
    pub fn set(&mut self, path: &str, data: &[u8]) -> Result<(), ZkError> {
        self.ask(5, |writer| writer.text(path).bytes(data).int(-1)).map(drop)
    }

    /// Allow the user with this name and password everything, and others nothing.
    pub fn restrict(&mut self, path: &str, digest: &str) -> Result<(), ZkError> {
        let acl = |writer: Writer| writer.int(1).int(31).text("digest").text(digest);
        self.ask(7, |writer| acl(writer.text(path)).int(-1)).map(drop)
    }

    /// A node, if it is there.
    pub fn get(&mut self, path: &str) -> Result<Option<Node>, ZkError> {
        let said = match self.ask(4, |writer| writer.text(path).bool(false)) {
            Err(ZkError::Code(NO_NODE)) => return Ok(None),
            said => said?,
        };
        let mut said = Reader(&said);
        let data = said.bytes()?.to_vec();
        let czxid = said.long()? as u64;
        let (_mzxid, _ctime, _mtime) = (said.long()?, said.long()?, said.long()?);
        let (_version, _cversion, _aversion) = (said.int()?, said.int()?, said.int()?);
        Ok(Some(Node { data, czxid, owner: said.long()? }))
    }

    /// The names below a node, in no order; none if it is not there.
    pub fn children(&mut self, path: &str) -> Result<Vec<String>, ZkError> {
        match self.ask(8, |writer| writer.text(path).bool(false)) {
            Err(ZkError::Code(NO_NODE)) => Ok(Vec::new()),
            said => Ok(Reader(&said?).texts()?),
        }
    }

    /// The paths of all nodes below a path, sorted.
    pub fn below(&mut self, path: &str) -> Result<Vec<String>, ZkError> {
        let mut all = Vec::new();
        let mut left = vec![path.to_owned()];
        while let Some(parent) = left.pop() {
            for child in self.children(if parent.is_empty() { "/" } else { &parent })? {
                let path = format!("{parent}/{child}");
                all.push(path.clone());
                left.push(path);
            }
        }
        all.retain(|path| !path.starts_with("/zookeeper"));
        all.sort();
        Ok(all)
    }

    /// Know all that was done by now.
    pub fn sync(&mut self) -> Result<(), ZkError> {
        self.ask(9, |writer| writer.text("/")).map(drop)
    }

    /// Say that it is still there, and hear it from the server.
    pub fn ping(&mut self) -> Result<(), ZkError> {
        self.socket.write_all(&Writer::default().int(-2).int(11).framed())?;
        self.answer(-2).map(drop)
    }

    /// Keep the session alive for so long.
    pub fn idle(&mut self, span: Duration) -> Result<(), ZkError> {
        let step = self.timeout / 4;
        let mut left = span;
        while !left.is_zero() {
            self.ping()?;
            pause(left.min(step));
            left = left.saturating_sub(step);
        }
        self.ping()
    }

    /// End the session, and all nodes that end with it.
    pub fn close(&mut self) -> Result<(), ZkError> {
        self.ask(-11, |writer| writer).map(drop)
    }

    /// Leave the session to whoever takes it back, or to its end, and say nothing.
    pub fn forget(mut self) {
        self.forgotten = true;
    }

    fn ask(&mut self, kind: i32, body: impl FnOnce(Writer) -> Writer) -> Result<Vec<u8>, ZkError> {
        self.xid += 1;
        let question = body(Writer::default().int(self.xid).int(kind));
        self.socket.write_all(&question.framed())?;
        self.answer(self.xid)
    }

    fn answer(&mut self, xid: i32) -> Result<Vec<u8>, ZkError> {
        let said = receive(&mut self.socket)?;
        let mut head = Reader(&said);
        let (said_xid, _zxid, code) = (head.int()?, head.long()?, head.int()?);
        if said_xid != xid {
            return Err(io::Error::other(format!("an answer to {said_xid} for {xid}")).into());
        }
        match code {
            0 => Ok(head.0.to_vec()),
            code => Err(ZkError::Code(code)),
        }
    }
}

impl Drop for ZkClient {
    fn drop(&mut self) {
        if self.forgotten {
            return;
        }
        // It may be closed already, or have no server any more.
        drop(self.socket.set_read_timeout(Some(PARTING)));
        drop(self.close());
    }
}

fn receive(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut said = vec![0; i32::from_be_bytes(length) as usize];
    socket.read_exact(&mut said)?;
    Ok(said)
}
