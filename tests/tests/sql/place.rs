//! A server, and clients of it.

use std::ops::Deref;

use leasehold::Client;
use leasehold_tests::patience::{LIMIT, until};
pub(crate) use leasehold_tests::scene::{LONG, SECOND, Scene, Waiter};

use crate::dialect::{self, Server, Settings};

/// Far below every ttl of these tests, and the time after which who waits asks again.
pub(crate) const PROMPT: std::time::Duration = std::time::Duration::from_millis(500);

pub(crate) struct Place {
    pub(crate) server: Server,
    scene: Scene,
}

impl Deref for Place {
    type Target = Scene;
    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::on(Settings::default())
    }

    pub(crate) fn on(settings: Settings) -> Self {
        Self { server: settings.start(), scene: Scene::new() }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_of(&self.server.url())
    }

    /// What is in a column of a lock's row.
    pub(crate) fn column(&self, name: &str, column: &str) -> String {
        self.server.sql(&format!("SELECT {column} FROM leasehold WHERE name = '{name}'"))
    }

    /// Whether this is true of a lock's row.
    pub(crate) fn is(&self, name: &str, condition: &str) -> bool {
        self.column(name, &format!("CASE WHEN {condition} THEN 'yes' ELSE 'no' END")) == "yes"
    }

    /// A user who may read and write the table, and no more.
    pub(crate) fn plain_user(&self, name: &str) -> String {
        self.client();
        self.server.sql(&dialect::make_user(name));
        self.server.sql(&dialect::grant("SELECT, INSERT, UPDATE, DELETE", name));
        self.server.url_as(name)
    }

    /// End the sessions of all clients, as an administrator may.
    pub(crate) fn end_sessions(&self) {
        dialect::end_sessions(&self.server);
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
