//! Real servers on loopback, each in a process of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

mod child;
mod clock;
mod connection;
mod database;
mod etcd;
mod members;
mod mysql;
mod pgbouncer;
mod postgres;
mod redis;
mod settings;
mod tls;
mod zookeeper;

pub use connection::Connection;
pub use database::Talk;
pub use etcd::{ClientFiles, Etcd, EtcdSettings, EtcdVersion};
pub use mysql::{Mysql, MysqlSettings};
pub use pgbouncer::PgBouncer;
pub use postgres::{Postgres, PostgresSettings};
pub use redis::Server;
pub use settings::{Flavor, Settings};
pub use zookeeper::{Node, ZkClient, ZkError, ZooKeeper, ZooKeeperSettings};

/// Below the ports that the kernel gives to clients. A client that keeps
/// connecting to a server that is down would in time be given the server's
/// port, be connected to itself, and keep the server from coming back.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How often another port is tried when somebody else was faster.
const PORTS_TRIED: usize = 10;

/// Why a server does not answer.
enum Failure {
    PortTaken,
    Other(String),
}

/// A port that nobody listens on now; somebody may before you do.
fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(fastrand::u16(..)));
    let ports =
        PORTS.map(|_| PORTS.start + next.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u16);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.into_iter().find(is_free).expect("a free port")
}

/// A program on PATH.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The workspace, into whose `target/servers` xtask unpacks servers.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace")
}

/// Run a tool of the machine to its end.
fn run(command: &mut Command, cure: &str) {
    let output = match command.output() {
        Ok(output) => output,
        Err(e) => panic!("{command:?} could not be started: {e}; install it with `{cure}`"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}
