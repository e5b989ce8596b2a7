//! One process of a cluster.

use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use super::settings::METRICS;
use crate::servers::Failure;
use crate::servers::members::{self, Process};

/// How long it may take to say how it is. One that has lost its quorum takes long,
/// and is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

pub struct Member {
    pub(super) port: u16,
    pub(super) peer_port: u16,
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
        // One that has been frozen believes itself to be what it was, until it hears
        // from the others, without which it is not healthy.
        members::Member::is_ready(self) && self.metric("etcd_server_is_leader") == Some(1)
    }

    fn is_ready(&self) -> bool {
        self.get("/health").is_ok_and(|said| said.contains(r#""health":"true""#))
    }
}

impl Member {
    pub(super) fn start(&self, command: Command) -> Result<(), Failure> {
        self.process.start(command, || self.get("/metrics").is_ok())
    }

    /// Everything that it counts, as Prometheus has it, while it can be asked.
    pub(super) fn metrics(&self) -> Option<String> {
        self.get("/metrics").ok()
    }

    fn metric(&self, name: &str) -> Option<u64> {
        let metrics = self.metrics()?;
        let mut lines = metrics.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Ask it by HTTP how it is.
    fn get(&self, path: &str) -> io::Result<String> {
        if self.is_asleep() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let mut socket = UnixStream::connect(self.dir().join(METRICS))?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(socket, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut said = String::new();
        socket.read_to_string(&mut said)?;
        Ok(said)
    }
}
