//! Where an owner stands: what is known of its node.

use std::sync::Arc;

use super::homes::Home;
use crate::name::{LockName, Owner};
use crate::time::Instant;

/// One of an owner's attempts to have a node. What comes of an earlier one means nothing for
/// the next: answers are waited for by several at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) owner: Owner,
    pub(super) number: u64,
}

/// An owner's node in the line of its lock.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) attempt: Attempt,
    pub(super) home: Arc<Home>,
    /// The session that it lives with.
    pub(super) session: i64,
    pub(super) path: String,
    /// The number of the transaction that created it.
    pub(super) czxid: i64,
    /// Whether it was found to hold the lock.
    pub(super) holds: bool,
    /// The one before it, which it waits for.
    pub(super) before: Option<String>,
    /// How many stood before it, besides the first of all.
    pub(super) ahead: usize,
    /// Over which connection its node is watched.
    pub(super) watched: Option<u64>,
}

impl Place {
    /// The name of its node below that of its lock.
    pub(super) fn node(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// There may be a node, in this session.
pub(super) struct Doubt {
    pub(super) attempt: Attempt,
    pub(super) home: Arc<Home>,
    pub(super) session: i64,
    pub(super) name: LockName,
}

/// What there is of an owner.
pub(super) enum Found {
    Nothing,
    /// It was released or withdrawn.
    Retired,
    /// Its node is being created.
    Asked,
    Doubtful(Doubt),
    Place(Place),
    /// There is one, which is to be deleted before anything else.
    Ending,
}

/// What is left to do for an owner that is gone.
pub(super) enum Left {
    Nothing,
    Asked,
    Doubtful(Doubt),
    Node(Place),
}

/// What a client knows of one owner.
pub(super) struct Entry {
    pub(super) attempt: Attempt,
    pub(super) name: LockName,
    pub(super) home: Arc<Home>,
    pub(super) session: i64,
    pub(super) node: Node,
    /// Its time, and if it is to be deleted, when that is tried in the background.
    pub(super) until: Instant,
    pub(super) is_ending: bool,
    /// When what has set its time was asked for.
    pub(super) asked: Option<Instant>,
}

pub(super) enum Node {
    Asked,
    Doubtful,
    At(Place),
}

impl Entry {
    pub(super) fn doubt(&self) -> Doubt {
        let (attempt, session) = (self.attempt, self.session);
        Doubt { attempt, home: self.home.clone(), session, name: self.name.clone() }
    }

    pub(super) fn place(&self) -> Option<&Place> {
        match &self.node {
            Node::At(place) => Some(place),
            _ => None,
        }
    }

    pub(super) fn place_mut(&mut self) -> Option<&mut Place> {
        match &mut self.node {
            Node::At(place) => Some(place),
            _ => None,
        }
    }
}
