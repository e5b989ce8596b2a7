//! The clusters that are measured, and what their members have done.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use leasehold_tests::servers::{Etcd, EtcdSettings};

use crate::Failure;

/// What a cluster is made of.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) members: usize,
    /// Whether a write is on disk before it is answered. Without it, what clients
    /// add to the time of the cluster shows best.
    pub(crate) fsync: bool,
}

pub(crate) const SETUPS: [Setup; 4] = [
    Setup { members: 1, fsync: false },
    Setup { members: 1, fsync: true },
    Setup { members: 3, fsync: false },
    Setup { members: 3, fsync: true },
];

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = if self.fsync { "with" } else { "without" };
        let s = if self.members == 1 { "" } else { "s" };
        write!(f, "{} member{s} {with} fsync", self.members)
    }
}

/// A cluster, of which every client uses the same member.
pub(crate) struct Rig {
    cluster: Etcd,
    leader: usize,
    members: usize,
}

impl Setup {
    pub(crate) fn start(self) -> Rig {
        let settings = EtcdSettings::default().members(self.members);
        let settings = if self.fsync { settings.fsync() } else { settings };
        let cluster = settings.start();
        // Any other adds a hop, whose time has nothing to do with clients.
        let leader = cluster.leader();
        Rig { cluster, leader, members: self.members }
    }
}

impl Rig {
    /// Of the member that leads.
    pub(crate) fn endpoint(&self) -> String {
        self.cluster.endpoint(self.leader)
    }

    pub(crate) fn url(&self) -> String {
        format!("etcd://{}", self.endpoint())
    }

    pub(crate) fn calls(&self) -> Calls {
        Calls(self.cluster.calls())
    }

    /// Processor time that the members have used since their start.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let mut nanos = 0;
        for member in 0..self.members {
            let tasks = format!("/proc/{}/task", self.cluster.pid(member));
            for task in std::fs::read_dir(tasks)? {
                let times = std::fs::read_to_string(task?.path().join("schedstat"))?;
                let used = times.split(' ').next().ok_or("schedstat says nothing")?;
                nanos += used.parse::<u64>()?;
            }
        }
        Ok(Duration::from_nanos(nanos))
    }
}

/// Messages from clients, by method.
pub(crate) struct Calls(BTreeMap<String, u64>);

impl Calls {
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (name, calls) in &mut self.0 {
            *calls -= before.of(name);
        }
        self
    }

    pub(crate) fn of(&self, method: &str) -> u64 {
        self.0.get(method).copied().unwrap_or_default()
    }

    pub(crate) fn all(&self) -> u64 {
        self.0.values().sum()
    }
}
