//! What needs more than one process, or a made-up world.

pub mod bench;
pub mod handing;
pub mod liar;
pub mod own_keys;
pub mod packages;
pub mod patience;
pub mod processes;
pub mod proxy;
pub mod register;
pub mod resp;
pub mod scenario;
pub mod scene;
pub mod servers;
pub mod sim;
pub mod soak;
pub mod wire;
pub mod world;

/// The README's examples, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
