//! Work that is done once per interval.

use std::sync::Arc;

use leasehold::{Client as Core, Run};
use pyo3::prelude::*;

use crate::call::{Answer, Call};
use crate::lease::{Kind, Lease};

#[pyclass(frozen, subclass, module = "leasehold._leasehold")]
#[derive(Clone)]
pub(crate) struct Once {
    once: leasehold::Once,
    name: String,
    client: Arc<Core>,
}

impl Once {
    pub(crate) fn new(once: leasehold::Once, name: String, client: Arc<Core>) -> Self {
        Self { once, name, client }
    }
}

#[pymethods]
impl Once {
    /// The same, for the class that is made of this one.
    #[new]
    fn of(once: &Once) -> Self {
        once.clone()
    }

    /// The name, without the slot.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Answers the lease, or why it is skipped and when to try again.
    fn _begin(&self) -> Call {
        let (once, client) = (self.once.clone(), self.client.clone());
        Call::new(async move {
            Ok(match once.begin().await? {
                Run::Ran(leases) => Answer::Lease(Some(Lease::new(leases, Kind::One, client))),
                Run::Skipped { why, next_in } => Answer::Skipped(why, next_in),
            })
        })
    }
}
