//! A network between clients and one server that fails as it is told to.
//!
//! It knows whole commands and whole replies, so a fault never tears one apart.
//! It does not know TLS, `CLIENT REPLY` and `MONITOR`. In front of a server that is
//! no Redis it knows nothing of what passes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::patience::{LIMIT, until};

mod controls;
mod fault;
mod link;
mod pending;

use controls::{Direction, Shared};
pub use fault::{Applied, Fault, Gate};
use link::{BYTES, Protocol, RESP};

/// Ends all its connections when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// In front of a Redis server on a port of this machine, whether it runs or not.
    pub fn before(server: u16) -> Self {
        Self::speaking(&RESP, server)
    }

    /// In front of a server that speaks anything. What comes at once counts as a
    /// command or a reply, and there is no [`Fault`] for one.
    pub fn of_bytes(server: u16) -> Self {
        Self::speaking(&BYTES, server)
    }

    fn speaking(protocol: &'static Protocol, server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let shared = Arc::new(Shared::new(server, protocol));
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Self { port, shared, acceptor: Some(acceptor) }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Lead new connections to another server, as a name does that resolves anew.
    pub fn lead_to(&self, server: u16) {
        self.shared.change(|controls| controls.server = server);
    }

    /// How long a new connection waits, from now on, for a server that does not listen yet.
    /// A client that would connect again to a server can take what the proxy does at once, to
    /// accept and to close, for a broken server.
    pub fn wait_for_server(&self, patience: Duration) {
        self.shared.change(|controls| controls.patience = patience);
    }

    /// How long every command is on its way from now on. Order is kept.
    pub fn delay_commands(&self, delay: Duration) {
        self.shared.change(|controls| controls.delay[Direction::Up as usize] = delay);
    }

    /// How long every reply and push is on its way from now on. Order is kept.
    pub fn delay_replies(&self, delay: Duration) {
        self.shared.change(|controls| controls.delay[Direction::Down as usize] = delay);
    }

    /// Apply a fault to the next command that matches, whose name is in upper case.
    /// The match is called with what arrives from any client, and must be quick.
    pub fn next(
        &self,
        matching: impl Fn(&[Vec<u8>]) -> bool + Send + 'static,
        fault: Fault,
    ) -> Applied {
        assert!(std::ptr::eq(self.shared.protocol, &RESP), "it sees no commands");
        let applied = Applied::default();
        self.shared.plan(Box::new(matching), fault, applied.clone());
        applied
    }

    /// Cut all connections that are counted in [`Proxy::connections`] by now.
    /// What is on its way is lost, except what a gate holds.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuse: bool) {
        self.shared.change(|controls| controls.refuse = refuse);
    }

    /// Whether nothing more gets to the server; it arrives in order afterwards.
    pub fn stall_upstream(&self, stall: bool) {
        self.shared.change(|controls| controls.stalled[Direction::Up as usize] = stall);
    }

    /// Whether nothing more gets to clients; it arrives in order afterwards.
    pub fn stall_downstream(&self, stall: bool) {
        self.shared.change(|controls| controls.stalled[Direction::Down as usize] = stall);
    }

    /// Whether messages of channels are lost. What confirms a subscription is not.
    pub fn drop_pushes(&self, drop: bool) {
        self.shared.change(|controls| controls.drop_pushes = drop);
    }

    /// How many connections were accepted so far, refused ones included.
    pub fn connections(&self) -> usize {
        self.shared.look(|controls| controls.connections)
    }

    /// How many commands, or pieces, came from clients so far.
    pub fn commands(&self) -> u64 {
        self.shared.look(|controls| controls.commands)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.close();
        // It is woken by a last connection.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.look(|controls| controls.closed) {
            return;
        }
        let refused = shared.look(|controls| controls.refuse);
        let linked = match (refused, client) {
            (false, Ok(client)) => connect(shared).and_then(|server| {
                client.set_nodelay(true)?;
                link::Link::new(client, server)
            }),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        };
        // A server that is down cannot be told from one that refuses.
        match linked {
            Ok(link) => link::run(link, shared),
            Err(_) => shared.change(|controls| controls.connections += 1),
        }
    }
}

fn connect(shared: &Shared) -> io::Result<TcpStream> {
    let (server, patience) = shared.look(|controls| (controls.server, controls.patience));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
    let try_once = || TcpStream::connect_timeout(&address, LIMIT);
    let socket = match until(patience, || try_once().ok()) {
        Some(socket) => socket,
        None => try_once()?,
    };
    socket.set_nodelay(true)?;
    Ok(socket)
}
