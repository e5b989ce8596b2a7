//! A server, and clients of it.

use std::ops::Deref;

use leasehold::Client;
use leasehold_tests::patience::{LIMIT, until};
pub(crate) use leasehold_tests::scene::{LONG, SECOND, Scene, Waiter};
use leasehold_tests::servers::{Mysql, MysqlSettings};

pub(crate) struct Place {
    pub(crate) server: Mysql,
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
        Self::on(MysqlSettings::default())
    }

    pub(crate) fn on(settings: MysqlSettings) -> Self {
        Self { server: settings.start(), scene: Scene::new() }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_of(&self.server.url())
    }

    /// What is in a column of a lock's row.
    pub(crate) fn column(&self, name: &str, column: &str) -> String {
        self.server.sql(&format!("SELECT {column} FROM leasehold WHERE name = '{name}'"))
    }

    /// A user who may read and write the table, and no more.
    pub(crate) fn plain_user(&self, name: &str) -> String {
        self.client();
        self.server.sql(&format!(
            "CREATE USER {name}@'%'; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON jobs.leasehold TO {name}@'%'"
        ));
        self.server.url_as(name)
    }

    /// End the sessions of all clients, as an administrator may.
    pub(crate) fn end_sessions(&self) {
        let ours = "SELECT id FROM information_schema.processlist \
                    WHERE user IN ('rig', 'ann') AND db = 'jobs' AND id <> CONNECTION_ID()";
        for id in self.server.sql(ours).lines() {
            // It may have ended by itself.
            drop(self.server.try_sql(&format!("KILL CONNECTION {id}")));
        }
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
