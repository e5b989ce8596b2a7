//! How processes on one machine wake each other, and know each other dead.
//!
//! Every client listens on a socket of its own, in a directory beside the
//! database, under a random name that is never used twice. To ring it is to
//! connect and send the name of a lock. To watch it is to connect and wait for
//! the end: the kernel closes the connection when the last process that has
//! the socket open is gone. On Linux a refused connection therefore proves that
//! the client is dead, without trusting a process id, and without a file lock.

use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::backend::Wake;
use crate::backend::record::Address;
use crate::error::Error;
use crate::name::LockName;

/// The longest path that fits into a socket address everywhere.
const MAX_SOCKET_PATH: usize = 100;

/// The directory of all clients' sockets.
#[derive(Clone)]
pub(super) struct Bells {
    dir: PathBuf,
    // Reaches the directory by a short path when its own is too long.
    #[cfg(target_os = "linux")]
    open: Arc<std::fs::File>,
}

/// Elsewhere than on Linux a client that is too busy to accept refuses too.
const REFUSAL_PROVES_DEATH: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What a connection to a client's socket showed.
enum Pulse {
    Alive(StdStream),
    Refused,
    /// Too busy to answer, or the socket's file was removed: no proof of anything.
    Unknown,
}

impl Bells {
    pub(super) fn beside(database: &Path) -> Result<Self, Error> {
        let mut dir = database.as_os_str().to_owned();
        dir.push("-bells");
        let dir = PathBuf::from(dir);
        let failed = |e| Error::unavailable(format!("cannot use the directory {dir:?}")).because(e);
        match std::fs::create_dir(&dir) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        #[cfg(target_os = "linux")]
        let open = Arc::new(std::fs::File::open(&dir).map_err(failed)?);
        Ok(Self {
            dir,
            #[cfg(target_os = "linux")]
            open,
        })
    }

    /// Where a socket of this name is, short enough for a socket address.
    fn socket(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        #[cfg(target_os = "linux")]
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            use std::os::fd::AsRawFd;
            return format!("/proc/self/fd/{}/{name}", self.open.as_raw_fd()).into();
        }
        path
    }

    fn file(client: Address) -> String {
        format!("{client:016x}")
    }

    /// Wake a client for a lock. False when it is dead.
    pub(super) fn ring(&self, client: Address, lock: &LockName) -> bool {
        match self.connect(&Self::file(client)) {
            // A fresh socket's buffer holds more than the longest name.
            Pulse::Alive(mut stream) => drop(stream.write_all(lock.as_str().as_bytes())),
            Pulse::Refused => return !REFUSAL_PROVES_DEATH,
            Pulse::Unknown => {}
        }
        true
    }

    fn connect(&self, file: &str) -> Pulse {
        let attempt = || {
            let socket = nonblocking_socket()?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(self.socket(file))?)?;
            Ok(StdStream::from(socket))
        };
        match attempt() {
            Ok(stream) => Pulse::Alive(stream),
            Err(Errno::CONNREFUSED) => Pulse::Refused,
            Err(_) => Pulse::Unknown,
        }
    }

    /// The clients that died and left their sockets.
    pub(super) fn dead(&self) -> Vec<Address> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        // A name with an extension is a socket that may not listen yet.
        let clients = names.filter_map(|name| Address::from_str_radix(&name, 16).ok());
        clients.filter(|c| matches!(self.connect(&Self::file(*c)), Pulse::Refused)).collect()
    }

    /// Remove the socket of a client of which nothing is left. It is all that proves
    /// it dead.
    pub(super) fn remove(&self, client: Address) {
        drop(std::fs::remove_file(self.dir.join(Self::file(client))));
    }
}

fn nonblocking_socket() -> rustix::io::Result<std::os::fd::OwnedFd> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(socket)
    }
}

/// A client's own socket, and the clients it watches.
pub(super) struct Bell {
    bells: Bells,
    address: Address,
    // Open as long as this value: while it is, the client counts as alive.
    listener: StdListener,
    watched: Arc<Mutex<HashSet<Address>>>,
    watches: mpsc::UnboundedSender<(Address, StdStream)>,
    incoming: tokio::sync::Mutex<Incoming>,
}

struct Incoming {
    listener: Option<UnixListener>,
    watches: mpsc::UnboundedReceiver<(Address, StdStream)>,
    connections: JoinSet<Option<Wake>>,
}

impl Bell {
    pub(super) fn hang(bells: &Bells, address: Address) -> Result<Self, Error> {
        let name = Bells::file(address);
        let failed = |e| {
            let at = bells.dir.join(&name);
            Error::unavailable(format!("cannot listen on the socket {at:?}")).because(e)
        };
        // Under its name only once it listens: before, a connection is refused
        // and the sweep of another client would take it for dead.
        let unready = bells.socket(&format!("{name}.new"));
        let listener = StdListener::bind(&unready).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        std::fs::rename(&unready, bells.socket(&name)).map_err(failed)?;
        let (watches, new_watches) = mpsc::unbounded_channel();
        let incoming =
            Incoming { listener: None, watches: new_watches, connections: JoinSet::new() };
        Ok(Self {
            bells: bells.clone(),
            address,
            listener,
            watched: Arc::default(),
            watches,
            incoming: tokio::sync::Mutex::new(incoming),
        })
    }

    pub(super) fn address(&self) -> Address {
        self.address
    }

    /// Whether a client is proven dead. If it is not, its death will be a wake.
    pub(super) fn is_dead(&self, client: Address) -> bool {
        if client == self.address || self.watched().contains(&client) {
            return false;
        }
        match self.bells.connect(&Bells::file(client)) {
            Pulse::Refused => REFUSAL_PROVES_DEATH,
            Pulse::Unknown => false,
            Pulse::Alive(stream) => {
                self.watched().insert(client);
                drop(self.watches.send((client, stream)));
                false
            }
        }
    }

    /// The next ring, or the next death of a watched client.
    pub(super) async fn heard(&self) -> Wake {
        let mut incoming = self.incoming.lock().await;
        let Incoming { listener, watches, connections } = &mut *incoming;
        let listener = loop {
            match listener {
                Some(listener) => break listener,
                None => match self.listener.try_clone().and_then(UnixListener::from_std) {
                    Ok(own) => *listener = Some(own),
                    // Out of descriptors: waiters still ask again by the clock.
                    Err(_) => std::future::pending().await,
                },
            }
        };
        loop {
            tokio::select! {
                // Out of descriptors: the connection waits, and those who sent it
                // also ask again by the clock.
                Ok((stream, _)) = listener.accept() => drop(connections.spawn(rung(stream))),
                Some((client, stream)) = watches.recv() => {
                    let watched = self.watched.clone();
                    connections.spawn(async move {
                        let end = ended(stream).await;
                        lock(&watched).remove(&client);
                        end
                    });
                }
                Some(done) = connections.join_next(), if !connections.is_empty() => {
                    if let Ok(Some(wake)) = done {
                        return wake;
                    }
                }
            }
        }
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashSet<Address>> {
        lock(&self.watched)
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        drop(std::fs::remove_file(self.bells.socket(&Bells::file(self.address))));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client that watches us sends nothing; one that rings sends a lock's name.
async fn rung(stream: UnixStream) -> Option<Wake> {
    let mut name = String::new();
    stream.take(LockName::MAX_BYTES as u64).read_to_string(&mut name).await.ok()?;
    LockName::new(&name).ok().map(Wake::Name)
}

/// Every lock that the dead client held may be free.
async fn ended(stream: StdStream) -> Option<Wake> {
    let mut stream = UnixStream::from_std(stream).ok()?;
    let mut nothing = [0; 1];
    drop(stream.read(&mut nothing).await);
    Some(Wake::All)
}
