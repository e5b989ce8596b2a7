//! A server or an ensemble, a part of its tree, and clients of that.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use leasehold::Client;
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::proxy::Proxy;
pub(crate) use leasehold_tests::scene::{LONG, SECOND, Scene, Waiter};
use leasehold_tests::servers::{ZkClient, ZooKeeper, ZooKeeperSettings};

/// Far below every ttl of these tests, and below the time after which a waiter asks again.
pub(crate) const PROMPT: std::time::Duration = std::time::Duration::from_millis(500);

pub(crate) struct Place {
    pub(crate) ensemble: Arc<ZooKeeper>,
    /// Below it are the locks of this test alone.
    pub(crate) chroot: String,
    scene: Scene,
}

impl Deref for Place {
    type Target = Scene;
    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl Place {
    /// A server that others use as well, at the same time.
    pub(crate) fn new() -> Self {
        static SERVER: OnceLock<Arc<ZooKeeper>> = OnceLock::new();
        Self::of(SERVER.get_or_init(|| Arc::new(ZooKeeper::start())).clone())
    }

    /// A server of its own, to be killed, counted, or set up otherwise.
    pub(crate) fn on(settings: ZooKeeperSettings) -> Self {
        Self::of(Arc::new(settings.start()))
    }

    /// Three members, of which one that hangs is given up soon.
    pub(crate) fn of_three() -> Self {
        Self::on(ZooKeeperSettings::default().members(3).sync_limit(7))
    }

    fn of(ensemble: Arc<ZooKeeper>) -> Self {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let chroot = format!("/place{}", PLACES.fetch_add(1, Ordering::Relaxed));
        ensemble.client().put(&chroot, b"").unwrap();
        Self { ensemble, chroot, scene: Scene::new() }
    }

    /// Where its clients are led to by these endpoints.
    pub(crate) fn url_by(&self, endpoints: &str) -> String {
        format!("zookeeper://{endpoints}{}", self.chroot)
    }

    /// Where its clients connect.
    pub(crate) fn url(&self) -> String {
        self.url_by(&self.ensemble.endpoints())
    }

    pub(crate) fn client(&self) -> Client {
        self.client_of(&self.url())
    }

    /// A client that knows one member only.
    pub(crate) fn client_at(&self, member: usize) -> Client {
        self.client_of(&self.url_by(&self.ensemble.endpoint(member)))
    }

    /// A client that goes through a proxy to one member.
    pub(crate) fn client_by(&self, proxy: &Proxy) -> Client {
        self.client_of(&self.url_by(&format!("127.0.0.1:{}", proxy.port())))
    }

    /// The node of a lock whose name needs no escape.
    pub(crate) fn lock_node(&self, name: &str) -> String {
        format!("{}/{name}", self.chroot)
    }

    /// The paths of those who hold a lock or wait for it, in their order.
    pub(crate) fn line(&self, name: &str) -> Vec<String> {
        let node = self.lock_node(name);
        let mut children = self.rig().children(&node).unwrap();
        children.sort_by_key(|child| child[child.len() - 10..].to_owned());
        children.iter().map(|child| format!("{node}/{child}")).collect()
    }

    /// A client of the rig's own.
    pub(crate) fn rig(&self) -> ZkClient {
        self.ensemble.client()
    }

    /// The path of the one node that a lock has.
    #[track_caller]
    pub(crate) fn only_node(&self, name: &str) -> String {
        let line = self.line(name);
        assert_eq!(line.len(), 1, "{line:?}");
        line[0].clone()
    }

    /// The session that a node lives with.
    #[track_caller]
    pub(crate) fn session_of(&self, path: &str) -> i64 {
        let node = self.rig().get(path).unwrap();
        node.unwrap_or_else(|| panic!("{path} is not there")).owner
    }

    /// End a session, as it ends when its time is over.
    pub(crate) fn end_session(&self, session: i64) {
        let port = self.ensemble.port(self.ensemble.leader());
        ZkClient::take_over(port, session).unwrap().close().unwrap();
    }

    /// Wait until there are so many who hold a lock or wait for it.
    #[track_caller]
    pub(crate) fn await_line(&self, name: &str, length: usize) {
        let is_so = until(LIMIT, || (self.line(name).len() == length).then_some(()));
        assert!(is_so.is_some(), "not {length}: {:?}", self.line(name));
    }

    /// Wait until nobody holds or waits for anything.
    #[track_caller]
    pub(crate) fn await_empty(&self) {
        let mut rig = self.rig();
        let mut left = || {
            let mut all = rig.below(&self.chroot).unwrap();
            all.retain(|path| path.contains("lock-"));
            all
        };
        let empty = until(LIMIT, || left().is_empty().then_some(()));
        assert!(empty.is_some(), "{:?}", left());
    }

    /// Wait for a lock elsewhere; when this returns, it stands in line.
    #[track_caller]
    pub(crate) fn stand_in_line(&self, client: &Client, name: &str) -> Waiter {
        let before = self.line(name).len();
        let waiter = self.queue(client.lock(name).ttl(LONG));
        self.await_line(name, before + 1);
        waiter
    }
}
