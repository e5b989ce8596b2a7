//! How processes on one machine wake each other, and know each other dead.
//!
//! Every client listens on a socket of its own, in a directory beside the
//! database, under a random name that is never used twice. To ring it is to
//! connect and send the name of a lock. To watch it is to connect and wait for
//! the end: the kernel closes the connection when the last process that has
//! the socket open is gone. On Linux a refused connection therefore proves that
//! the client is dead, without trusting a process id, and without a file lock.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::bells::Pulse;
use super::world::World;
use crate::backend::Wake;
use crate::backend::record::Address;
use crate::name::LockName;

/// A client's own socket, and the clients it watches.
pub(super) struct Bell {
    world: Arc<World>,
    // Open as long as this value: while it is, the client counts as alive.
    listener: StdListener,
    watched: Arc<Mutex<Watched>>,
    watches: mpsc::UnboundedSender<Address>,
    incoming: tokio::sync::Mutex<Incoming>,
}

type Watched = HashMap<Address, Watch>;

/// A connection that ends with a client.
enum Watch {
    /// Until [`Bell::heard`] sees to it, which alone is sure to run on Tokio.
    New(StdStream),
    Heard(Arc<UnixStream>),
}

struct Incoming {
    listener: Option<UnixListener>,
    watches: mpsc::UnboundedReceiver<Address>,
    connections: JoinSet<Option<Wake>>,
}

impl Bell {
    pub(super) fn of(world: Arc<World>, listener: StdListener) -> Self {
        let (watches, new_watches) = mpsc::unbounded_channel();
        let incoming =
            Incoming { listener: None, watches: new_watches, connections: JoinSet::new() };
        Self {
            world,
            listener,
            watched: Arc::default(),
            watches,
            incoming: tokio::sync::Mutex::new(incoming),
        }
    }

    /// While any process has it open, others cannot tell that this one is dead.
    pub(super) fn proof_of_life(&self) -> Option<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned().ok()
    }

    /// Whether a client is proven dead. If it is not, its death will be a wake.
    pub(super) fn is_dead(&self, client: Address) -> bool {
        if client == self.world.address() {
            return false;
        }
        let mut watched = lock(&self.watched);
        // Its end may not have been heard yet.
        if watched.get(&client).is_some_and(|watch| !watch.has_ended()) {
            return false;
        }
        match self.world.bells().feel(client) {
            Pulse::Dead => true,
            Pulse::Unknown => false,
            Pulse::Alive(stream) => {
                watched.insert(client, Watch::New(stream));
                let _ = self.watches.send(client);
                false
            }
        }
    }

    /// The next ring, or the next death of a watched client, or the end of the world.
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
                Ok((stream, _)) = listener.accept() => {
                    // Somebody new may have come because this world is over.
                    drop(self.world.check());
                    connections.spawn(rung(stream));
                }
                () = self.world.ended() => return Wake::All,
                Some(client) = watches.recv() => {
                    if let Some(stream) = self.hear(client) {
                        connections.spawn(ended(client, stream, self.watched.clone()));
                    }
                }
                Some(done) = connections.join_next(), if !connections.is_empty() => {
                    if let Ok(Some(wake)) = done {
                        return wake;
                    }
                }
            }
        }
    }

    fn hear(&self, client: Address) -> Option<Arc<UnixStream>> {
        let mut watched = lock(&self.watched);
        match watched.remove(&client)? {
            Watch::New(stream) => {
                let stream = Arc::new(UnixStream::from_std(stream).ok()?);
                watched.insert(client, Watch::Heard(stream.clone()));
                Some(stream)
            }
            heard => {
                watched.insert(client, heard);
                None
            }
        }
    }
}

impl Watch {
    /// Whether the other end was closed; nothing is ever sent to this one.
    fn has_ended(&self) -> bool {
        let fd: BorrowedFd<'_> = match self {
            Self::New(stream) => stream.as_fd(),
            Self::Heard(stream) => stream.as_fd(),
        };
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        rustix::net::recv(fd, &mut [0_u8; 1], flags) != Err(Errno::WOULDBLOCK)
    }

    fn is(&self, other: &Arc<UnixStream>) -> bool {
        matches!(self, Self::Heard(stream) if Arc::ptr_eq(stream, other))
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.world.leave();
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
async fn ended(
    client: Address,
    stream: Arc<UnixStream>,
    watched: Arc<Mutex<Watched>>,
) -> Option<Wake> {
    drop(stream.readable().await);
    let mut watched = lock(&watched);
    // Another may have taken its place.
    if watched.get(&client).is_some_and(|watch| watch.is(&stream)) {
        watched.remove(&client);
    }
    Some(Wake::All)
}

#[cfg(test)]
mod tests {
    use super::super::world::Entry;
    use super::*;

    #[test]
    fn a_watched_client_is_dead_before_its_end_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (Entry::of(&dir, 1), Entry::of(&dir, 2));
        let bell = Bell::of(Arc::new(own.world), own.listener);
        assert!(!bell.is_dead(2));
        assert!(!bell.is_dead(2));
        // As the kernel does when a process ends. Nobody polls `heard`.
        drop(other.listener);
        assert!(bell.is_dead(2));
    }
}
