//! What can happen, one step at a time.

use std::fmt;

use crate::world::ATTEMPTS;

/// One thing that happens. Nodes and attempts are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A tick of true time, which the clocks of some clients (bits) lose.
    Tick { lost_by: u8 },
    /// A client sends votes to all nodes.
    Ask { attempt: usize, ballot: u8 },
    /// A client that would share asks all nodes for this turn, too.
    Want { attempt: usize, turn: u8 },
    /// A client has the answers of a quorum.
    Acquire { attempt: usize, fence: u8 },
    /// A client sends renewals to all nodes.
    Renew { attempt: usize, ballot: u8 },
    /// A client has the answers of a quorum to its renewals.
    Extend { attempt: usize },
    /// A client gives back, at all nodes.
    GiveBack { attempt: usize },
    /// One of its messages arrives, not necessarily for the first time. `wanted`
    /// is the only turn that it would share, or 0.
    Vote { attempt: usize, ballot: u8, wanted: u8, node: usize },
    /// See `Vote`; it gives back what an earlier round came to.
    Yield { attempt: usize, ballot: u8, node: usize },
    /// See `Vote`.
    Renewal { attempt: usize, ballot: u8, node: usize },
    /// See `Vote`.
    Return { attempt: usize, node: usize },
    /// A node restarts, with another clock and perhaps with an older record.
    Restart { node: usize, keeps: bool, ahead: u8 },
    /// A node writes its record to the disk.
    Save { node: usize },
    /// A name by which a client knows another node leads it here from now on.
    Mislead { attempt: usize, node: usize },
}

pub(crate) fn letter(attempt: usize) -> char {
    ['A', 'B', 'C'][attempt]
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tick { lost_by: 0 } => write!(f, "a tick passes"),
            Self::Tick { lost_by } => {
                write!(f, "a tick passes, which these clocks miss:")?;
                let slow = (0..ATTEMPTS).filter(|attempt| lost_by & (1 << attempt) != 0);
                slow.map(letter).try_for_each(|name| write!(f, " {name}"))
            }
            Self::Ask { attempt, ballot } => {
                write!(f, "{} asks for ballot {ballot}", letter(attempt))
            }
            Self::Want { attempt, turn } => write!(f, "{} wants turn {turn}", letter(attempt)),
            Self::Acquire { attempt, fence } => {
                write!(f, "{} has a quorum: acquired, fence {fence}", letter(attempt))
            }
            Self::Renew { attempt, ballot } => {
                write!(f, "{} sends renewals by ballot {ballot}", letter(attempt))
            }
            Self::Extend { attempt } => write!(f, "{} has a quorum: renewed", letter(attempt)),
            Self::GiveBack { attempt } => write!(f, "{} gives back", letter(attempt)),
            Self::Vote { attempt, ballot, wanted: 0, node } => {
                write!(f, "{}'s vote for ballot {ballot} reaches node {node}", letter(attempt))
            }
            Self::Vote { attempt, ballot, wanted, node } => {
                let name = letter(attempt);
                write!(f, "{name}'s vote for ballot {ballot}, turn {wanted} reaches node {node}")
            }
            Self::Yield { attempt, ballot, node } => {
                write!(f, "{}'s return of ballot {ballot} reaches node {node}", letter(attempt))
            }
            Self::Renewal { attempt, ballot, node } => {
                write!(f, "{}'s renewal by ballot {ballot} reaches node {node}", letter(attempt))
            }
            Self::Return { attempt, node } => {
                write!(f, "what {} gives back reaches node {node}", letter(attempt))
            }
            Self::Restart { node, keeps, ahead } => {
                let data = if keeps { "with" } else { "without" };
                write!(f, "node {node} restarts {data} its data, its clock {ahead} ahead")
            }
            Self::Save { node } => write!(f, "node {node} saves its record"),
            Self::Mislead { attempt, node } => {
                write!(f, "{}'s name of another node leads to node {node}", letter(attempt))
            }
        }
    }
}
