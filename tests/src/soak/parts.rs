//! The parts of the run, each with servers, weather and promises of its own.

use super::Ground;
use super::etcd::Cluster;
use super::redis::{Climate, Nodes};
use super::sql::Database;
use super::zookeeper::Ensemble;

/// A part of the run.
pub(super) struct Part {
    /// By whose words it is chosen.
    pub(super) name: &'static str,
    pub(super) servers: Servers,
    /// In the URL.
    pub(super) options: &'static str,
    /// Whether one holder at a time is promised.
    pub(super) exclusive: bool,
}

/// What keeps the locks.
#[derive(Clone, Copy)]
pub(super) enum Servers {
    /// So many: one, or a quorum.
    Redis(usize, Climate),
    /// A cluster of three.
    Etcd {
        leaders_freeze: bool,
    },
    /// One, which a part of the workers may reach by a pooler.
    Postgres {
        is_pooled: bool,
    },
    Mysql,
    /// An ensemble of three.
    Zookeeper,
}

impl Servers {
    /// Whether they keep a rest, which is a record, and count it right.
    pub(super) fn keep_rests(self) -> bool {
        match self {
            Self::Redis(_, climate) => !climate.loses_data && !climate.jumps,
            Self::Etcd { leaders_freeze } => !leaders_freeze,
            Self::Postgres { .. } | Self::Mysql | Self::Zookeeper => true,
        }
    }

    pub(super) fn start(self) -> Box<dyn Ground> {
        match self {
            Self::Redis(count, climate) => Box::new(Nodes::start(count, climate)),
            Self::Etcd { leaders_freeze } => Box::new(Cluster::start(leaders_freeze)),
            Self::Postgres { is_pooled } => Box::new(Database::postgres(is_pooled)),
            Self::Mysql => Box::new(Database::mysql()),
            Self::Zookeeper => Box::new(Ensemble::start()),
        }
    }
}

pub(super) const PARTS: [Part; 12] = [
    Part {
        name: "redis that keeps its data",
        servers: Servers::Redis(1, Climate { loses_data: false, skew: 0.0, jumps: false }),
        options: "",
        exclusive: true,
    },
    Part {
        name: "redis that loses its data",
        servers: Servers::Redis(1, Climate { loses_data: true, skew: 0.0, jumps: false }),
        options: "?quarantine=on&max_ttl=1s",
        exclusive: true,
    },
    Part {
        name: "redis whose clock jumps",
        servers: Servers::Redis(1, Climate { loses_data: false, skew: 1.5, jumps: true }),
        options: "",
        exclusive: false,
    },
    Part {
        name: "redlock of 3 that keep their data",
        servers: Servers::Redis(3, Climate { loses_data: false, skew: 0.3, jumps: false }),
        options: "?max_ttl=1s",
        exclusive: true,
    },
    Part {
        name: "redlock of 5 that lose their data",
        servers: Servers::Redis(5, Climate { loses_data: true, skew: 0.3, jumps: false }),
        options: "?max_ttl=1s",
        exclusive: true,
    },
    Part {
        name: "redlock of 3 whose clocks jump",
        servers: Servers::Redis(3, Climate { loses_data: false, skew: 2.5, jumps: true }),
        options: "?max_ttl=1s",
        exclusive: false,
    },
    Part {
        name: "etcd of 3",
        servers: Servers::Etcd { leaders_freeze: false },
        options: "",
        exclusive: true,
    },
    Part {
        name: "etcd whose leaders freeze",
        servers: Servers::Etcd { leaders_freeze: true },
        options: "",
        exclusive: false,
    },
    Part {
        name: "postgres",
        servers: Servers::Postgres { is_pooled: false },
        options: "",
        exclusive: true,
    },
    Part {
        name: "postgres by a pooler",
        servers: Servers::Postgres { is_pooled: true },
        options: "",
        exclusive: true,
    },
    Part { name: "mysql", servers: Servers::Mysql, options: "", exclusive: true },
    Part { name: "zookeeper", servers: Servers::Zookeeper, options: "", exclusive: true },
];
