//! What a server is started with.

use std::path::{Path, PathBuf};

use super::redis::Server;
use super::{on_path, root, tls};

/// The user as whom the rig looks into a server, whatever the test does to others.
pub(super) const RIG: &str = "rig";

/// In the directory of a server: what it stores, and its socket.
pub(super) const DATA: &str = "data";
pub(super) const SOCKET: &str = "socket";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// `redis-server` on PATH.
    Redis,
    /// `valkey-server` as xtask unpacked it, or on PATH.
    Valkey,
}

impl Flavor {
    pub(super) fn binary(self) -> PathBuf {
        let unpacked = root().join("target/servers/valkey/usr/bin/valkey-server");
        let found = match self {
            Self::Redis => on_path("redis-server"),
            Self::Valkey if unpacked.is_file() => Some(unpacked),
            Self::Valkey => on_path("valkey-server"),
        };
        found.unwrap_or_else(|| {
            panic!("{self:?} is not here; install it with `cargo xtask servers`")
        })
    }
}

/// A server to be started.
#[derive(Clone, Debug)]
#[must_use]
pub struct Settings {
    pub(super) flavor: Flavor,
    pub(super) lines: Vec<String>,
    pub(super) unix_socket: bool,
    pub(super) tls: bool,
    pub(super) shifted_clock: bool,
    pub(super) sentinel: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flavor: Flavor::Redis,
            lines: Vec::new(),
            unix_socket: false,
            tls: false,
            shifted_clock: false,
            sentinel: false,
        }
    }
}

impl Settings {
    /// Redis is what starts otherwise.
    pub fn flavor(mut self, flavor: Flavor) -> Self {
        self.flavor = flavor;
        self
    }

    /// Every write is on disk before it is answered. Otherwise nothing ever is.
    pub fn appendonly(self) -> Self {
        self.config("appendonly", "yes").config("appendfsync", "always")
    }

    /// The password of the default user.
    pub fn password(self, password: &str) -> Self {
        self.config("requirepass", password)
    }

    /// A user, as `user alice on >secret ~* &* +@all`.
    pub fn acl(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Listen on a Unix socket as well.
    pub fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// Listen for TLS on a port as well, with a certificate for `localhost` and `127.0.0.1`.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Any line of the configuration file; quote a value that is to be one word.
    pub fn config(mut self, name: &str, value: &str) -> Self {
        let value = if value.is_empty() { "\"\"" } else { value };
        self.lines.push(format!("{name} {value}"));
        self
    }

    /// Have a wall clock that [`Server::shift_clock`] moves.
    pub fn shifted_clock(mut self) -> Self {
        self.shifted_clock = true;
        self
    }

    /// Be a sentinel; say what it watches by `.config("sentinel monitor", …)`.
    pub fn sentinel(mut self) -> Self {
        self.sentinel = true;
        self
    }

    /// Start it and wait until it answers.
    pub fn start(self) -> Server {
        Server::start_with(self)
    }

    /// The configuration file of a server that lives in a directory.
    pub(super) fn file(&self, dir: &Path, port: u16, tls_port: Option<u16>) -> String {
        let at = |name| dir.join(name).display().to_string();
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            format!("port {port}"),
            format!("dir {}", at(DATA)),
            "save \"\"".to_owned(),
            "enable-debug-command local".to_owned(),
            format!("user {RIG} on >{RIG} ~* &* +@all"),
        ];
        if self.unix_socket {
            lines.push(format!("unixsocket {}", at(SOCKET)));
        }
        if let Some(port) = tls_port {
            lines.push(format!("tls-port {port}\ntls-auth-clients no"));
            lines.push(format!("tls-ca-cert-file {}", at(tls::AUTHORITY)));
            lines.push(format!("tls-cert-file {}", at(tls::CERTIFICATE)));
            lines.push(format!("tls-key-file {}", at(tls::KEY)));
        }
        // Last, so that the test has the last word.
        lines.extend(self.lines.iter().cloned());
        lines.join("\n") + "\n"
    }
}
