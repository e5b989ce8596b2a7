//! What needs more than one process, or a made-up world.

pub mod processes;
pub mod register;
pub mod sim;
pub mod wire;
pub mod world;

/// The README's examples, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
