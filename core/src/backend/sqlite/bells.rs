//! The directory of all clients' sockets, beside the database.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use super::access::Access;
use super::disk::{BELLS, beside};
use super::file::{Failure, refused};
use crate::backend::record::Address;
use crate::error::Error;
use crate::name::LockName;

/// Elsewhere than on Linux a client that is too busy to accept refuses too.
const REFUSAL_PROVES_DEATH: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The file in the directory that says which world it belongs to.
const WORLD: &str = "world";

#[derive(Clone)]
pub(super) struct Bells {
    dir: PathBuf,
    // Everything is reached through it, so that another directory under the
    // same name is never taken for this one.
    open: Arc<File>,
    access: Access,
}

/// What a connection to a client's socket showed.
pub(super) enum Pulse {
    Alive(UnixStream),
    /// Nobody listens there any more.
    Dead,
    /// Too busy to answer, or the socket's file was removed: no proof of anything.
    Unknown,
}

/// Keeps all others from entering, until it is dropped.
pub(super) struct Alone(File);

impl Drop for Alone {
    fn drop(&mut self) {
        // Closing is not enough if a child was forked meanwhile.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl Bells {
    /// The directory beside the database, made if it is missing.
    pub(super) fn beside(database: &Path, access: Access) -> Result<Self, Failure> {
        let dir = beside(database, BELLS);
        let failed = |e| failed(&dir, e);
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        Self::existing(database, access)?
            .ok_or_else(|| failed(std::io::Error::from(ErrorKind::NotFound)))
    }

    /// The directory if it is there, and nobody's who may not write the database.
    pub(super) fn existing(database: &Path, access: Access) -> Result<Option<Self>, Failure> {
        let dir = beside(database, BELLS);
        let failed = |e| failed(&dir, e);
        match std::fs::symlink_metadata(&dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
            Ok(found) if found.is_dir() => {}
            Ok(found) => {
                let what = match found.file_type().is_symlink() {
                    true => "is a symbolic link and may lead to another database's sockets",
                    false => "is no directory",
                };
                return Err(refused(format!("{dir:?} {what}; remove it")));
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open: File =
            rustix::fs::open(&dir, flags, Mode::empty()).map_err(|e| failed(e.into()))?.into();
        let found = open.metadata().map_err(failed)?;
        access.refuse_foreign(&dir, &found)?;
        let (mode, wanted) = (found.mode() & 0o777, access.of_directory());
        access.share(&open, Path::new("."), &found);
        if mode != wanted {
            let changed = open.set_permissions(PermissionsExt::from_mode(wanted));
            if changed.is_err() && mode & !wanted & 0o022 != 0 {
                return Err(refused(format!(
                    "others than those who may write the database can write to {dir:?} (mode \
                     {mode:o}, not {wanted:o}), and could take every lock; change its mode or \
                     remove it"
                )));
            }
        }
        Ok(Some(Self { dir, open: Arc::new(open), access }))
    }

    /// Device and inode.
    pub(super) fn id(&self) -> std::io::Result<(u64, u64)> {
        self.open.metadata().map(|found| (found.dev(), found.ino()))
    }

    /// Keep all others from entering meanwhile.
    pub(super) fn alone(&self) -> Result<Alone, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A description of its own: a lock belongs to that.
        let dir: File = rustix::fs::openat(&self.open, ".", flags, Mode::empty())
            .map_err(|e| failed(&self.dir, e.into()))?
            .into();
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Alone(dir)),
            Err(Errno::WOULDBLOCK) => Err(Failure::Busy),
            Err(e) => Err(failed(&self.dir, e.into())),
        }
    }

    /// What the directory says about its world, if anything yet.
    pub(super) fn world(&self) -> Result<Option<String>, Failure> {
        let read = || -> std::io::Result<String> {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file: File =
                rustix::fs::openat(&self.open, WORLD, flags, Mode::empty())?.into();
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some).map_err(|e| failed(&self.dir, e)),
        }
    }

    pub(super) fn set_world(&self, text: &str) -> Result<(), Failure> {
        const NEW: &str = "world.new";
        let write = || -> std::io::Result<()> {
            let _ = rustix::fs::unlinkat(&self.open, NEW, AtFlags::empty());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o600);
            let mut file: File = rustix::fs::openat(&self.open, NEW, flags, mode)?.into();
            file.set_permissions(PermissionsExt::from_mode(self.access.of_socket()))?;
            self.access.share(&self.open, Path::new(NEW), &file.metadata()?);
            file.write_all(text.as_bytes())?;
            Ok(rustix::fs::renameat(&self.open, NEW, &self.open, WORLD)?)
        };
        write().map_err(|e| failed(&self.dir, e))
    }

    /// Where a socket of this name is, on Linux short enough for a socket address.
    fn socket(&self, name: &str) -> PathBuf {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            format!("/proc/self/fd/{}/{name}", self.open.as_raw_fd()).into()
        }
        #[cfg(not(target_os = "linux"))]
        self.path(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn file(client: Address) -> String {
        format!("{client:016x}")
    }

    /// Listen for a client, as long as the value lives. Only while
    /// [alone](Self::alone): until it listens it looks dead.
    pub(super) fn hang(&self, client: Address) -> Result<(UnixListener, PathBuf), Failure> {
        let name = Self::file(client);
        let path = self.path(&name);
        let hang = || -> std::io::Result<UnixListener> {
            let listener = UnixListener::bind(self.socket(&name))?;
            listener.set_nonblocking(true)?;
            let mode = Mode::from_raw_mode(self.access.of_socket() as rustix::fs::RawMode);
            rustix::fs::chmodat(&self.open, &*name, mode, AtFlags::empty())?;
            let found = std::fs::symlink_metadata(&path)?;
            self.access.share(&self.open, Path::new(&name), &found);
            Ok(listener)
        };
        match hang() {
            Ok(listener) => Ok((listener, path)),
            Err(e) => {
                self.remove(client);
                let message = format!("cannot listen on the socket {path:?}");
                Err(Failure::Broken(Error::unavailable(message).because(e)))
            }
        }
    }

    /// Wake a client for a lock. False when it is dead.
    pub(super) fn ring(&self, client: Address, lock: &LockName) -> bool {
        match self.feel(client) {
            // A fresh socket's buffer holds more than the longest name.
            Pulse::Alive(mut stream) => drop(stream.write_all(lock.as_str().as_bytes())),
            Pulse::Dead => return false,
            Pulse::Unknown => {}
        }
        true
    }

    pub(super) fn feel(&self, client: Address) -> Pulse {
        match self.connect(&Self::file(client)) {
            Ok(stream) => Pulse::Alive(stream),
            Err(Errno::CONNREFUSED) if REFUSAL_PROVES_DEATH => Pulse::Dead,
            Err(_) => Pulse::Unknown,
        }
    }

    fn connect(&self, file: &str) -> rustix::io::Result<UnixStream> {
        let socket = nonblocking_socket()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(self.socket(file))?)?;
        Ok(UnixStream::from(socket))
    }

    /// All there are: one that is not seen would count as dead.
    fn sockets(&self) -> Result<Vec<String>, Failure> {
        let read = || -> rustix::io::Result<Vec<_>> {
            rustix::fs::Dir::read_from(self.open.as_fd())?.collect()
        };
        let entries = read().map_err(|e| failed(&self.dir, e.into()))?;
        let names = entries.iter().filter_map(|entry| entry.file_name().to_str().ok());
        let names = names.filter(|name| !name.starts_with('.') && !name.starts_with(WORLD));
        Ok(names.map(str::to_owned).collect())
    }

    /// Whether a client may be alive. Whoever is asked by this looks around.
    pub(super) fn anyone_answers(&self) -> Result<bool, Failure> {
        // Removed meanwhile by a client that ended, or by nobody listening.
        let gone = [Errno::CONNREFUSED, Errno::NOENT];
        let answers = |name: &String| self.connect(name).err().is_none_or(|e| !gone.contains(&e));
        // All of them, so that all look around.
        Ok(self.sockets()?.iter().filter(|name| answers(name)).count() > 0)
    }

    /// Remove the sockets of the dead that are not `needed`, of at most `most` that
    /// are looked at from a place on that is chosen by `seed`.
    pub(super) fn sweep<E>(
        &self,
        seed: usize,
        most: usize,
        needed: impl FnOnce() -> Result<HashSet<Address>, E>,
    ) {
        let dead = self.dead(seed, most);
        // Asked only now: who is dead already takes no further lock.
        let Ok(needed) = needed() else { return };
        for name in dead {
            let client = Address::from_str_radix(&name, 16).ok();
            if !client.is_some_and(|client| needed.contains(&client)) {
                let _ = rustix::fs::unlinkat(&self.open, &*name, AtFlags::empty());
            }
        }
    }

    fn dead(&self, seed: usize, most: usize) -> Vec<String> {
        // Whoever is about to listen looks dead too.
        let Ok(_alone) = self.alone() else { return Vec::new() };
        let Ok(mut sockets) = self.sockets() else { return Vec::new() };
        let start = seed % sockets.len().max(1);
        sockets.rotate_left(start);
        sockets.truncate(most);
        sockets.retain(|name| self.connect(name).err() == Some(Errno::CONNREFUSED));
        sockets
    }

    /// Remove a client's socket.
    pub(super) fn remove(&self, client: Address) {
        let _ = rustix::fs::unlinkat(&self.open, Self::file(client), AtFlags::empty());
    }
}

fn failed(dir: &Path, e: std::io::Error) -> Failure {
    let message = format!("cannot use the directory {dir:?}");
    Failure::Broken(Error::unavailable(message).because(e))
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

#[cfg(test)]
mod tests {
    use super::super::world::Entry;
    use super::*;

    #[test]
    fn a_client_that_dies_while_others_sweep_remains_known_dead() {
        let dir = tempfile::tempdir().unwrap();
        let (sweeper, other) = (Entry::of(&dir, 1), Entry::of(&dir, 2));
        let bells = sweeper.world.bells();
        // It took a lock that this look at the records has just missed, and died.
        bells.sweep(0, 64, || {
            drop(other.listener);
            Ok::<_, Error>(HashSet::new())
        });
        assert!(matches!(bells.feel(2), Pulse::Dead));
    }
}
