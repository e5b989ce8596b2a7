//! One process of an ensemble.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::process::Command;
use std::time::Duration;

use super::client::{ZkClient, ZkError};
use crate::servers::Failure;
use crate::servers::members::{self, Process};

/// How long it may take to say how it is. It is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

pub struct Member {
    pub(super) port: u16,
    pub(super) secure_port: u16,
    pub(super) quorum_port: u16,
    pub(super) election_port: u16,
    pub(super) process: Process,
}

impl Deref for Member {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl members::Member for Member {
    fn port(&self) -> u16 {
        self.port
    }

    fn leads(&self) -> bool {
        // One that has been frozen believes itself to be what it was, until it hears from
        // the others, without which it opens no session.
        matches!(self.mode().as_deref(), Some("leader" | "standalone"))
            && self.client().and_then(|mut client| client.close()).is_ok()
    }

    /// It leads, follows, or is alone.
    fn is_ready(&self) -> bool {
        self.mode().is_some()
    }
}

impl Member {
    pub(super) fn start(&self, command: Command) -> Result<(), Failure> {
        self.process.start(command, || self.ask("ruok").as_deref() == Some("imok"))
    }

    pub(super) fn client(&self) -> Result<ZkClient, ZkError> {
        if self.is_asleep() {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
        ZkClient::connect_limited(self.port, ANSWER_LIMIT)
    }

    /// As what it serves, while it does.
    fn mode(&self) -> Option<String> {
        let said = self.ask("srvr")?;
        said.lines().find_map(|line| line.strip_prefix("Mode: ").map(str::to_owned))
    }

    /// What it says to one of its words of four letters.
    pub(super) fn ask(&self, word: &str) -> Option<String> {
        if self.is_asleep() {
            return None;
        }
        let ask = || {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            let mut socket = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
            socket.set_read_timeout(Some(ANSWER_LIMIT))?;
            socket.write_all(word.as_bytes())?;
            let mut said = String::new();
            socket.read_to_string(&mut said)?;
            Ok::<_, io::Error>(said)
        };
        ask().ok()
    }
}
