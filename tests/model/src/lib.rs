//! An exhaustive model of the lock of several nodes: all that can happen in a
//! small world, one step at a time, and what must never be.
//!
//! It is written from the description of the protocol and shares no code with
//! the library. `node` is what a node does with a message, `client` what a
//! client keeps, `world` what can happen next and what is wrong. `turn` is what a
//! node does for those who share the lock, and begins with the whole protocol of
//! that.
//!
//! How much is there of each is a [`Scenario`]: how many nodes and attempts,
//! which ballots, how far clocks differ, when time ends. Messages are never
//! taken out of the network: what was sent may arrive at any later time, many
//! times, in any order, or never. So it is enough to know what was ever sent.
//!
//! True time passes by ticks, each of them a step. Nodes' clocks keep to it,
//! except that they are set anew at each restart; those of clients may lose
//! ticks, which is all that drift can do wrong: a slow client holds too long,
//! a slow node only keeps others waiting. Bounds are narrow: in a world of
//! whole ticks, a quarantine may be as long as a lease, where a real one must
//! be longer.
//!
//! [`search`] looks at every world within these bounds. With all [`RULES`] in
//! force nothing is wrong in any; each rule, left out, is missed somewhere, and
//! the [`Trace`] tells how.

mod action;
mod client;
mod list;
mod node;
mod rules;
mod scenario;
mod search;
mod trace;
mod turn;
mod world;

pub use list::{large, plantings, scenarios, stepwise};
pub use rules::{Property, RULES, Rule};
pub use scenario::Scenario;
pub use search::{Outcome, search};
pub use trace::Trace;
