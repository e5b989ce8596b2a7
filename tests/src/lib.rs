//! What needs more than one process, or a made-up world.

pub mod sim;
