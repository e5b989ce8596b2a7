//! A server, clients of it, and tests that are written from top to bottom.

use std::ops::Deref;
use std::time::Duration;

use leasehold::{Client, Error, Kind};
use leasehold_tests::own_keys;
use leasehold_tests::patience::{LIMIT, until};
pub(crate) use leasehold_tests::scene::{LONG, SECOND, Scene, Waiter};
use leasehold_tests::servers::{Server, Settings};

pub(crate) mod records;
pub(crate) mod requests;

/// Far below the 600 ms after which a waiter looks again by itself, so that
/// whatever took less came by a message.
pub(crate) const PROMPT: Duration = Duration::from_millis(300);

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

    /// Wait for a lock elsewhere, and return when the server knows of it.
    #[track_caller]
    pub(crate) fn stand_in_line(&self, client: &Client, name: &str) -> Waiter {
        let before = self.line(name);
        let waiter = self.queue(client.lock(name).ttl(LONG));
        self.until_in_line(name, before + 1);
        waiter
    }

    /// Until so many stand in the server's line.
    #[track_caller]
    pub(crate) fn until_in_line(&self, name: &str, many: i64) {
        let stand = until(LIMIT, || (self.line(name) >= many).then_some(()));
        stand.expect("a place in the line");
    }

    /// How many stand in the server's line for a plain name.
    pub(crate) fn line(&self, name: &str) -> i64 {
        own_keys::waiting(&self.server, &format!("leasehold:{name}"))
    }

    /// How many connections clients of ours have now.
    pub(crate) fn connections(&self) -> usize {
        let list = self.server.command(&["CLIENT", "LIST"]);
        list.as_str().unwrap().lines().filter(|line| !line.contains("user=rig")).count()
    }

    /// Every script is known to the server afterwards, so that what comes next
    /// is one command for one request.
    #[track_caller]
    pub(crate) fn warm_up(&self, client: &Client) {
        let lease = self.hold(client, "warm up");
        self.wait(lease.renew()).unwrap();
        // It is cancelled in the line, and so withdrawn.
        let other = self.client();
        self.stand_in_line(&other, "warm up").abort();
        let left = until(LIMIT, || (self.line("warm up") == 0).then_some(()));
        left.expect("withdrawn");
        self.wait(lease.release()).unwrap();
    }
}

/// The error is of this kind, and names these.
#[track_caller]
pub(crate) fn assert_refused(error: &Error, kind: Kind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word} is not in {error}");
    }
}
