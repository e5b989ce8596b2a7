//! Some servers, and clients of all of them.

use std::ops::Deref;

use leasehold::{Client, Lease};
use leasehold_tests::own_keys;
use leasehold_tests::patience::{LIMIT, until};
pub(crate) use leasehold_tests::scene::{LONG, SECOND, Scene, Waiter};
use leasehold_tests::servers::{Server, Settings};

pub(crate) struct Place {
    pub(crate) servers: Vec<Server>,
    scene: Scene,
}

impl Deref for Place {
    type Target = Scene;
    fn deref(&self) -> &Scene {
        &self.scene
    }
}

/// The URL of servers that listen on these ports.
pub(crate) fn url_of(ports: &[u16], options: &str) -> String {
    let nodes: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redlock://{}?{options}", nodes.join(","))
}

impl Place {
    pub(crate) fn of(servers: usize) -> Self {
        Self::on(vec![Settings::default(); servers])
    }

    pub(crate) fn on(settings: Vec<Settings>) -> Self {
        let servers = settings.into_iter().map(Settings::start).collect();
        Self { servers, scene: Scene::new() }
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(Server::port).collect()
    }

    /// For ttls of up to two minutes.
    pub(crate) fn url(&self) -> String {
        url_of(&self.ports(), "max_ttl=2m")
    }

    /// For ttls of up to a second, so that a quarantine is short.
    pub(crate) fn short_url(&self) -> String {
        url_of(&self.ports(), "max_ttl=1s&ttl=900ms")
    }

    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        self.client_of(&self.url())
    }

    /// Who holds a plain name on each server: an owner, or nothing.
    pub(crate) fn votes(&self, name: &str) -> Vec<Option<String>> {
        self.votes_on(name, &(0..self.servers.len()).collect::<Vec<_>>())
    }

    /// The same on these, those that run.
    pub(crate) fn votes_on(&self, name: &str, nodes: &[usize]) -> Vec<Option<String>> {
        let key = format!("leasehold:{name}");
        let vote = |node: &usize| {
            let reply = self.servers[*node].command(&["GET", &key]);
            reply.as_str().map(str::to_owned)
        };
        nodes.iter().map(vote).collect()
    }

    /// Wait until so many servers, those that run, have the same holder.
    #[track_caller]
    pub(crate) fn held_by(&self, name: &str, nodes: &[usize]) {
        let key = format!("leasehold:{name}");
        let holder = |node: &usize| {
            let reply = self.servers[*node].command(&["GET", &key]);
            reply.as_str().map(str::to_owned)
        };
        let all_agree = || {
            let holders: Vec<_> = nodes.iter().map(holder).collect();
            (holders[0].is_some() && holders.windows(2).all(|w| w[0] == w[1])).then_some(())
        };
        until(LIMIT, all_agree).expect("one holder on these nodes");
    }

    /// How many wait for a plain name, on whichever server the line is.
    pub(crate) fn line(&self, name: &str) -> i64 {
        let key = format!("leasehold:{name}");
        let runs = |server: &&Server| server.try_command(&["PING"], LIMIT).is_ok();
        let running = self.servers.iter().filter(runs);
        running.map(|server| own_keys::waiting(server, &key)).max().unwrap()
    }

    /// The server that keeps the line for a name, found by queueing for it.
    #[track_caller]
    pub(crate) fn arbiter(&self, client: &Client, name: &str) -> usize {
        let lease = self.hold(client, name);
        let waiter = self.stand_in_line(&self.client(), name);
        let key = format!("leasehold:{name}");
        let keeps = |server: &Server| own_keys::line(server, &key).is_some();
        let arbiter = self.servers.iter().position(keeps).unwrap();
        waiter.abort();
        self.wait(lease.release()).unwrap();
        until(LIMIT, || self.is_free(name).then_some(())).expect("left");
        arbiter
    }

    fn is_free(&self, name: &str) -> bool {
        self.line(name) == 0 && self.votes(name).iter().all(Option::is_none)
    }

    /// Wait for a lock elsewhere, and return when a server knows of it.
    #[track_caller]
    pub(crate) fn stand_in_line(&self, client: &Client, name: &str) -> Waiter {
        let before = self.line(name);
        let waiter = self.queue(client.lock(name).ttl(LONG));
        let stands = until(LIMIT, || (self.line(name) > before).then_some(()));
        stands.expect("a place in the line");
        waiter
    }

    /// Until when a server grants nothing, in µs by its clock, and that clock.
    pub(crate) fn quarantine(&self, node: usize) -> (u64, u64) {
        let server = &self.servers[node];
        let ends = server.command(&["HGET", own_keys::EPOCH, "until"]);
        let time = server.command(&["TIME"]);
        let number = |text: &str| text.parse::<u64>().unwrap();
        let [seconds, micros] = time.as_list().unwrap() else { panic!("{time:?}") };
        let now = number(seconds.as_str().unwrap()) * 1_000_000 + number(micros.as_str().unwrap());
        (ends.as_str().map_or(0, number), now)
    }

    #[track_caller]
    pub(crate) fn in_quarantine(&self, node: usize) -> bool {
        let (ends, now) = self.quarantine(node);
        ends > now
    }

    /// Take a lock and give it back, as one who has time.
    #[track_caller]
    pub(crate) fn turn(&self, client: &Client, name: &str) -> u64 {
        let lease: Lease = self.wait(client.lock(name).acquire()).unwrap();
        self.wait(lease.release()).unwrap();
        lease.fence()
    }
}
