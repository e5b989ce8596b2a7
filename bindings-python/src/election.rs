//! Elections: who leads, and what it shows.

use std::sync::Arc;

use leasehold::Client as Core;
use pyo3::prelude::*;

use crate::call::{Answer, Call};
use crate::client::Lock;
use crate::lease::Kind;

#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Election {
    election: leasehold::Election,
    client: Arc<Core>,
}

impl Election {
    pub(crate) fn new(election: leasehold::Election, client: Arc<Core>) -> Self {
        Self { election, client }
    }
}

#[pymethods]
impl Election {
    /// What is taken to campaign.
    fn campaign(&self) -> Lock {
        Lock::new(self.election.locks(), Kind::Term, self.client.clone())
    }

    fn leader(&self) -> Call {
        let election = self.election.clone();
        Call::new(async move { election.leader().await.map(Answer::Leader) })
    }

    fn observe(&self) -> Leaders {
        Leaders { leaders: Arc::new(self.election.observe()), _client: self.client.clone() }
    }
}

/// Who leads, one after the other.
#[pyclass(frozen, module = "leasehold._leasehold")]
pub(crate) struct Leaders {
    leaders: Arc<leasehold::Leaders>,
    _client: Arc<Core>,
}

#[pymethods]
impl Leaders {
    /// Wait for the next; None when nobody leads.
    fn next(&self) -> Call {
        let leaders = self.leaders.clone();
        Call::new(async move { leaders.next().await.map(Answer::Leader) })
    }
}
