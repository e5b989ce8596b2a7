//! What servers tell unasked: what was watched, and that a lock was taken from its holder.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::mpsc;

use super::link::Link;
use super::names::{Tree, owner_of};
use super::places::Places;
use super::words::{Ask, Said};
use crate::backend::Wake;
use crate::name::LockName;

/// Passes it on to the client.
pub(super) struct News {
    tree: Tree,
    places: Weak<Places>,
    tell: mpsc::UnboundedSender<Wake>,
    /// How many connections there have been.
    connections: AtomicU64,
    /// How often the node of evictions was written, as far as this client has heard.
    version: Mutex<Option<i32>>,
}

impl News {
    pub(super) fn new(
        tree: Tree,
        places: Weak<Places>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Wake>) {
        let (tell, news) = mpsc::unbounded_channel();
        let (connections, version) = Default::default();
        (Arc::new(Self { tree, places, tell, connections, version }), news)
    }

    /// The number of a new connection.
    pub(super) fn number(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Any lock may be free, any lease gone.
    pub(super) fn all(&self) {
        self.tell(Wake::All);
    }

    fn tell(&self, wake: Wake) {
        // Nobody listens to a client that is closed.
        drop(self.tell.send(wake));
    }

    /// Hear of evictions over a new connection.
    pub(super) fn listen(self: &Arc<Self>, link: &Link) {
        let news = self.clone();
        let look = Ask::Exists { path: self.tree.evicted(), watch: true };
        let heard = move |said| {
            // Before the first it is not there, and a watch says when it is.
            if let Ok(Said::Stat(stat)) = said {
                news.see(stat.version, None);
            }
        };
        link.send_all([(look, Box::new(heard) as _)]);
    }

    /// What was watched has changed, or is gone.
    pub(super) fn changed(self: &Arc<Self>, link: &Arc<Link>, path: &str) {
        if path != self.tree.evicted() {
            if let Some(places) = self.places.upgrade() {
                places.call(path);
                // A watch tells once.
                owner_of(path).into_iter().for_each(|owner| places.told(owner));
            }
            if let Some(name) = self.tree.lock_of(path) {
                self.tell(Wake::Name(name));
            }
            return;
        }
        let (news, again) = (self.clone(), link.clone());
        let look = Ask::Data { path: path.to_owned(), watch: true };
        let heard = move |said| match said {
            Ok(Said::Data { data, stat }) => {
                let name = String::from_utf8(data).ok();
                news.see(stat.version, name.and_then(|name| LockName::new(&name).ok()));
            }
            // Whoever deletes it has everybody look.
            _ => {
                news.all();
                if !again.is_shut() {
                    news.listen(&again);
                }
            }
        };
        link.send_all([(look, Box::new(heard) as _)]);
    }

    /// It was written so often, the last time for this lock.
    fn see(&self, version: i32, evicted: Option<LockName>) {
        let mut known = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.replace(version);
        drop(known);
        match (before, evicted) {
            (Some(before), _) if before == version => {}
            // The last is the only one that was missed.
            (before, Some(name))
                if before.map_or(0, |before| before.wrapping_add(1)) == version =>
            {
                self.tell(Wake::Name(name));
            }
            (None, None) => {}
            _ => self.all(),
        }
    }
}
