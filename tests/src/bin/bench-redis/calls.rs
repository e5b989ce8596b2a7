//! What a server has been asked.

use std::collections::BTreeMap;

use leasehold_tests::servers::Server;

/// What only clients send; all else may be called by scripts as well.
const REQUESTS: [&str; 10] = [
    "evalsha",
    "eval",
    "script|load",
    "hello",
    "subscribe",
    "client|setinfo",
    "client|setname",
    "ping",
    "blpop",
    "rpush",
];

/// Commands since the start of servers, by name.
pub(crate) struct Calls(BTreeMap<String, u64>);

impl Calls {
    pub(crate) fn of(server: &Server) -> Self {
        Self::of_all(std::slice::from_ref(server))
    }

    /// On all of them together.
    pub(crate) fn of_all(servers: &[Server]) -> Self {
        let mut all = BTreeMap::new();
        for (name, calls) in servers.iter().flat_map(Server::calls_by_command) {
            *all.entry(name).or_default() += calls;
        }
        Self(all)
    }

    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (name, calls) in &mut self.0 {
            *calls -= before.0.get(name).copied().unwrap_or_default();
        }
        self
    }

    /// Those that clients sent.
    pub(crate) fn requests(&self) -> u64 {
        REQUESTS.iter().filter_map(|name| self.0.get(*name)).sum()
    }

    /// Those inside scripts too.
    pub(crate) fn all(&self) -> u64 {
        self.0.values().sum()
    }
}
