//! What could not be given back to a node, because there was no connection.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::node::Return;
use crate::time::Instant;

/// For each node, until it is connected again or what it holds has expired.
#[derive(Default)]
pub(super) struct Owed {
    returns: Mutex<VecDeque<Debt>>,
}

struct Debt {
    node: usize,
    back: Return,
    until: Instant,
}

impl Owed {
    /// Only as many as can matter, whatever happens.
    const MOST: usize = 4096;

    pub(super) fn add(&self, node: usize, back: &Return, until: Instant, now: Instant) {
        let mut returns = self.returns.lock().unwrap_or_else(PoisonError::into_inner);
        // In about the order in which they end.
        while returns.front().is_some_and(|first| first.until <= now) || returns.len() >= Self::MOST
        {
            returns.pop_front();
        }
        returns.push_back(Debt { node, back: Return { next: None, ..back.clone() }, until });
    }

    pub(super) fn take(&self, node: usize) -> Vec<Return> {
        let mut returns = self.returns.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, rest) = returns.drain(..).partition(|debt| debt.node == node);
        *returns = rest;
        let due: VecDeque<Debt> = due;
        due.into_iter().map(|debt| debt.back).collect()
    }
}
