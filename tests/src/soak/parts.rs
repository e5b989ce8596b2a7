//! The parts of the run, each with servers, weather and promises of its own.

use super::weather::Climate;

/// A part of the run.
pub(super) struct Part {
    /// By whose words it is chosen.
    pub(super) name: &'static str,
    /// How many servers keep the locks: one, or a quorum.
    pub(super) servers: usize,
    /// In the URL.
    pub(super) options: &'static str,
    pub(super) climate: Climate,
    /// Whether one holder at a time is promised.
    pub(super) exclusive: bool,
}

pub(super) const PARTS: [Part; 6] = [
    Part {
        name: "redis that keeps its data",
        servers: 1,
        options: "",
        climate: Climate { loses_data: false, skew: 0.0, jumps: false },
        exclusive: true,
    },
    Part {
        name: "redis that loses its data",
        servers: 1,
        options: "?quarantine=on&max_ttl=1s",
        climate: Climate { loses_data: true, skew: 0.0, jumps: false },
        exclusive: true,
    },
    Part {
        name: "redis whose clock jumps",
        servers: 1,
        options: "",
        climate: Climate { loses_data: false, skew: 1.5, jumps: true },
        exclusive: false,
    },
    Part {
        name: "redlock of 3 that keep their data",
        servers: 3,
        options: "?max_ttl=1s",
        climate: Climate { loses_data: false, skew: 0.3, jumps: false },
        exclusive: true,
    },
    Part {
        name: "redlock of 5 that lose their data",
        servers: 5,
        options: "?max_ttl=1s",
        climate: Climate { loses_data: true, skew: 0.3, jumps: false },
        exclusive: true,
    },
    Part {
        name: "redlock of 3 whose clocks jump",
        servers: 3,
        options: "?max_ttl=1s",
        climate: Climate { loses_data: false, skew: 2.5, jumps: true },
        exclusive: false,
    },
];
