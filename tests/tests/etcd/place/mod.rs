//! A cluster, and clients of it.

use std::ops::Deref;

use leasehold::Client;
use leasehold_tests::patience::{LIMIT, until};
pub(crate) use leasehold_tests::scene::{LONG, SECOND, Scene, Waiter};
use leasehold_tests::servers::{Etcd, EtcdSettings};

/// Far below every ttl of these tests.
pub(crate) const PROMPT: std::time::Duration = std::time::Duration::from_millis(700);

pub(crate) struct Place {
    pub(crate) cluster: Etcd,
    scene: Scene,
}

impl Deref for Place {
    type Target = Scene;
    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl Place {
    /// One member, whose shortest ttl is a second.
    pub(crate) fn new() -> Self {
        Self::on(EtcdSettings::default().fast_elections())
    }

    /// Three members, with elections as they are by default.
    pub(crate) fn of_three() -> Self {
        Self::on(EtcdSettings::default().members(3))
    }

    pub(crate) fn on(settings: EtcdSettings) -> Self {
        Self { cluster: settings.start(), scene: Scene::new() }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_of(&self.cluster.url())
    }

    /// What stands in the cluster: key and value.
    pub(crate) fn keys(&self) -> Vec<(String, String)> {
        let said = self.cluster.ctl(&["get", "--prefix", "leasehold/"]);
        let lines: Vec<&str> = said.lines().collect();
        lines.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
    }

    /// The key of the holder.
    #[track_caller]
    pub(crate) fn only_key(&self) -> String {
        let keys = self.keys();
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys[0].0.clone()
    }

    /// Wait until nobody holds or waits for anything.
    #[track_caller]
    pub(crate) fn await_empty(&self) {
        let empty = until(LIMIT, || self.keys().is_empty().then_some(()));
        assert!(empty.is_some(), "{:?}", self.keys());
    }

    /// Wait for a lock elsewhere; when this returns, it stands in line.
    #[track_caller]
    pub(crate) fn stand_in_line(&self, client: &Client, name: &str) -> Waiter {
        let waiting = |client: &Client| {
            let status = self.wait(client.status(name)).unwrap();
            status.map_or(0, |status| status.waiters.len())
        };
        let before = waiting(client);
        let waiter = self.queue(client.lock(name).ttl(LONG));
        let stands = until(LIMIT, || (waiting(client) > before).then_some(()));
        assert!(stands.is_some(), "it does not stand in line");
        waiter
    }
}
